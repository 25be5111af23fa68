"""Real sockets: the drivers."""
