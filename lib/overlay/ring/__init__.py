"""The classroom ring: Chord with pings, join, quit and abrupt leave."""
