"""What the records tell the layer above."""

from __future__ import annotations

from overlay.ring.events import Event


class StoreAccepted(Event, frozen=True):
    """At the responsible peer: this record's place is here."""

    name: str


class StorePlaced(Event, frozen=True):
    """At the peer that stores: the record's place is found."""

    name: str
    peer: int
    path: tuple[int, ...]


class Stored(Event, frozen=True):
    """At the peer that stored: the record is durable at the responsible peer."""

    name: str
    peer: int
    size: int
    """Bytes that are there: an empty placeholder does not take the place of a file."""


class PlaceholderMade(Event, frozen=True):
    """At the peer that stores: there is no such file, an empty placeholder is stored in its place."""

    name: str


class StoreFailed(Event, frozen=True):
    """At the peer that stores."""

    name: str
    why: str


class FileHere(Event, frozen=True):
    """At the responsible peer: a requested file is stored here."""

    name: str


class Sending(Event, frozen=True):
    """At the responsible peer."""

    name: str
    peer: int


class Sent(Event, frozen=True):
    """At the responsible peer: the asker has the whole file."""

    name: str


class Awaited(Event, frozen=True):
    """At the asker: the responsible peer needs a while to look for the file."""

    name: str
    peer: int


class FileFound(Event, frozen=True):
    """At the asker."""

    name: str
    peer: int
    path: tuple[int, ...]


class Receiving(Event, frozen=True):
    """At the asker."""

    name: str
    peer: int
    size: int


class Received(Event, frozen=True):
    """At the asker: the copy is complete, checked and on disk."""

    name: str
    size: int


class NotStored(Event, frozen=True):
    """At the responsible peer and at the asker: nobody holds this name."""

    name: str


class RequestFailed(Event, frozen=True):
    """At the asker."""

    name: str
    why: str


class TookOver(Event, frozen=True):
    """A record that is ours to keep came from another peer."""

    name: str
    peer: int


class LeftBehind(Event, frozen=True):
    """At a peer that is about to end: these records are still here, and nowhere else."""

    names: tuple[str, ...]
    peer: int
    folder: str
    why: str
    """Why the last one that was offered was not taken; empty where there is nobody else."""


class HandedOver(Event, frozen=True):
    """A record that is another peer's to keep is durable there, and ours is gone."""

    name: str
    peer: int
