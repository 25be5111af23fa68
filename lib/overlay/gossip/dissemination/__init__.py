"""Telling everybody: one file a protocol."""
