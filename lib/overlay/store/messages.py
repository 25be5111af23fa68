"""What the keepers of records tell each other."""

from __future__ import annotations

from typing import Annotated

import msgspec

from overlay.core.message import Command, Contact
from overlay.core.storage import BlobRef

Name = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}$", max_length=4)]


class Version(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """Of two copies of one name the greater is the newer. No clock is in it."""

    counter: int = 0
    writer: int = 0


def rank(ref: BlobRef, version: Version) -> tuple[bool, Version]:
    """Of two copies of one name the greater is to be kept: the newer, but never a placeholder in the place of bytes."""
    return ref.size > 0, version


class Store(Command, frozen=True):
    """Routed to the key's root: take this record; its bytes are at `holder`."""

    name: Name
    ref: BlobRef
    holder: Contact


class Move(Command, frozen=True):
    """The same for a record that exists already and is to change its keeper."""

    name: Name
    ref: BlobRef
    holder: Contact
    version: Version


class Placed(Command, frozen=True):
    """The root's answer: its place is here, I am fetching this version."""

    version: Version
    size: int | None = None
    """Bytes of what stays here in the place of an empty placeholder."""


class Declined(Command, frozen=True):
    """The root's answer: not now."""

    why: str


class Durable(Command, frozen=True):
    """Is your copy, of this version or a newer one, on disk? Answered by Done or, after a while, by Coming."""

    name: Name
    version: Version


class Coming(Command, frozen=True):
    """Not yet, but it is on its way, or being looked for."""


class Request(Command, frozen=True):
    """Routed to the key's root: who has this record?"""

    name: Name


class Wanted(Command, frozen=True):
    """To a root that answered a Request by Coming: have you found it? Answered by Holding, Missing or Coming."""

    name: Name


class Holding(Command, frozen=True):
    """The answer: this peer has it."""

    name: Name
    ref: BlobRef
    holder: Contact


class Missing(Command, frozen=True):
    """The answer: nobody has it."""

    name: Name


class Have(Command, frozen=True):
    """To a neighbor: is this record with you still? Answered by Holding or Missing."""

    name: Name


class Fetched(Command, frozen=True):
    """To the holder: the whole file has arrived."""

    name: Name
