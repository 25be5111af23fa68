"""What travels: contacts, messages, and the envelope around a message."""

from __future__ import annotations

import functools
from typing import Generic, TypeVar

import msgspec

from overlay.ids import Key

WIRE_VERSION = 1
"""Raised when an older peer could no longer understand us; a Hello with another version is refused by name."""

ONE_WAY, CALL, REPLY, REFUSAL = range(4)
"""What an envelope is: a message that wants no answer, a question, its answer, its refusal."""

M = TypeVar("M")


class Contact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A peer as others know it: where it is, and which of its lives is meant."""

    id: Key
    host: str
    port: int
    boot: int = 0
    """The incarnation, growing from one start to the next. 0: not known yet, any incarnation is meant."""

    def is_same_peer(self, other: Contact) -> bool:
        """Whether both name one incarnation of one peer at one address, as far as both tell it."""
        return (
            self.id == other.id
            and (self.boot == other.boot or not self.boot or not other.boot)
            and self.port == other.port
            and self.host == other.host
        )

    @property
    def address(self) -> tuple[str, int]:
        """`(host, port)`."""
        return self.host, self.port


@functools.lru_cache(1024)
def shared(contact: Contact) -> Contact:
    """An equal contact, which may be kept here already: hundreds of peers in one process name each other."""
    return contact


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """What one protocol tells another. The class name is the tag on the wire."""


class Datagram(Message, frozen=True):
    """A message that may vanish, come twice or come out of order (UDP)."""


class Command(Message, frozen=True):
    """A message that arrives in order or whose sender hears that it may not have (TCP)."""


class Done(Command, frozen=True):
    """The answer to a call that needs no other."""


class Refused(Command, frozen=True):
    """The answer of a handler that will not do what a call asks."""

    reason: str


class Hello(Command, frozen=True):
    """Who are you? The first words to a peer of which only the address is known."""

    version: int = WIRE_VERSION


class Welcome(Command, frozen=True):
    """The answer to a Hello: who lives at the address that was called."""

    contact: Contact


class Envelope(msgspec.Struct, Generic[M], frozen=True, array_like=True, gc=False):
    """One message on its way."""

    version: int
    kind: int
    """ONE_WAY, CALL, REPLY or REFUSAL."""
    sender: Contact
    to: Key
    boot: int
    """The incarnation of `to` that is meant, so that a stale pointer does not reach the next life; 0: any."""
    service: str
    number: int
    """Matches an answer to its call; 0 in one-way messages."""
    counter: int
    """Grows with everything that this incarnation of the sender sends, so that a replay is recognised."""
    body: M
