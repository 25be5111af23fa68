"""The desk: what a peer of a replicated store does for clients, which are no peers."""
