"""What a client asks a peer of the replicated store, and what it is answered. All of it are calls, over TCP."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from overlay.core.message import Command, Message
from overlay.ids import Key
from overlay.store.replicated.config import Listed, Status
from overlay.store.replicated.messages import MAX_NAME, NEVER, VALUE_BYTES, Name, Version

SERVICE = "desk"

MISSING: Final = "missing"
UNKNOWN: Final = "unknown"
FULL: Final = "full"
WRONG: Final = "wrong"
BUSY: Final = "busy"
AWAY: Final = "away"
Kind = Literal["missing", "unknown", "full", "wrong", "busy", "away"]
"""Why it was not done: there is no such record; nobody knows whether it was; no room; it cannot be; not now; not here now."""

MAX_VALUE = VALUE_BYTES
PART_BYTES = 40 * 1024
"""Of a value in one message."""

LIST_BYTES = 40 * 1024
"""Of names in one answer, so that it stays below a frame."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


PartOfValue = Annotated[bytes, msgspec.Meta(max_length=PART_BYTES)]
Ticket = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class PutPart(Command, frozen=True):
    """A part of a value that is to be put. Answered by Done; in order, from the beginning."""

    ticket: Ticket
    """The client's own number for this value."""
    offset: int
    data: PartOfValue


class PutRecord(Command, frozen=True):
    """Store this value."""

    name: Name
    value: PartOfValue
    """Its end, where parts have come before."""
    after: Version = NEVER
    """The greatest version that the session was told of."""
    ttl_s: Seconds = 0.0
    """0: for ever."""
    ticket: Ticket = 0
    """Of the parts that have come before; 0: none have."""


class DeleteRecord(Command, frozen=True):
    """Delete this record."""

    name: Name
    after: Version = NEVER


class Kept(Command, frozen=True):
    """The answer to both: it is durable."""

    version: Version
    copies: int


class GetRecord(Command, frozen=True):
    """Read this record."""

    name: Name


class Record(Command, frozen=True):
    """The answer."""

    version: Version
    value: bytes
    """Its beginning, where there is more of it."""
    expires: float = 0.0
    size: int = 0
    """Of the whole value."""
    ticket: int = 0
    """What the rest is fetched by."""


class GetPart(Command, frozen=True):
    """The part of a value from here on."""

    ticket: int
    offset: int


class Part(Command, frozen=True):
    """The answer."""

    data: bytes


class ListRecords(Command, frozen=True):
    """Which records are you the root of? Those behind a name, in the order of their bytes."""

    behind: Annotated[bytes, msgspec.Meta(max_length=MAX_NAME)] = b""


class Records(Command, frozen=True):
    """The answer: as many as a message holds."""

    listed: tuple[Listed, ...]
    more: bool
    low: Key
    high: Key
    """The keys (low, high] that the answerer speaks for."""


class AskStatus(Command, frozen=True):
    """How is your part of the store?"""


class StatusIs(Command, frozen=True):
    """The answer."""

    status: Status
    copies: int
    durable: int


class Failed(Command, frozen=True):
    """The answer to any of these where it was not done."""

    kind: Kind
    why: Annotated[str, msgspec.Meta(max_length=512)]
    version: Version = NEVER
    """Of the deletion, where a record is missing."""


QUESTIONS: tuple[type[Message], ...] = (PutPart, PutRecord, DeleteRecord, GetRecord, GetPart, ListRecords, AskStatus)
ANSWERS: tuple[type[Message], ...] = (Kept, Record, Part, Records, StatusIs, Failed)
