"""Peers to program with."""
