"""Records: which peer keeps what, and the bytes on disk."""
