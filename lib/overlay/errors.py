"""What can go wrong, told apart by whose fault it is."""

from __future__ import annotations


class OverlayError(Exception):
    """The root of every error that this package raises on purpose."""


class LocalError(OverlayError):
    """Your call or your input was wrong, or this machine could not do it; trying again alone does not help."""


class NotThere(LocalError):
    """What was named does not exist on this machine; it could be read if it did."""


class NoSpace(LocalError):
    """There is no room for it on this machine's disk, or within the quota of it."""


class RemoteError(OverlayError):
    """A peer answered that it will not, or sent what it must not."""


class Indefinite(OverlayError):
    """Nobody knows whether it was done: it timed out, or the peer could not be reached."""
