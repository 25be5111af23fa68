"""What a protocol is written against, and nothing that touches a clock, a socket or a disk."""
