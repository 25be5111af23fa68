"""Who the others are: one file a protocol."""
