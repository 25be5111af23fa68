"""What the peers of the replicated store tell each other, and what they keep.

A record is an Item under a Tag, the first 160 bits of its name's SHA-256. The tag's leading bits are its key in the ring.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec

from overlay.core.message import Command, Contact, Message
from overlay.core.storage import BlobRef
from overlay.ids import Key

MAX_NAME = 1024
INLINE_BYTES = 16 * 1024
"""The longest value that lies in its item, and so in memory; a longer one is a body on disk."""
VALUE_BYTES = 1 << 20
"""The longest value of a record. A longer one is several records (CFS: a file is its blocks)."""
HOLDERS = 8
MAX_COUNTER = 1 << 62
TAG_BYTES = 20
TAG_BITS = 8 * TAG_BYTES
ROWS = 512
"""At most so many rows of (tag, version) in a message: 32 KiB."""
PAGES = 256
PAGE_ROWS = 64
"""So many items are compared by one digest."""
BRING_BYTES = 40 * 1024
"""Of items in one answer, so that it stays below a frame."""

Name = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
Tag = Annotated[bytes, msgspec.Meta(min_length=TAG_BYTES, max_length=TAG_BYTES)]
Tags = Annotated[tuple[Tag, ...], msgspec.Meta(max_length=ROWS)]


def tag_of(name: bytes) -> bytes:
    """Under what a name is kept: 20 bytes."""
    return hashlib.sha256(name).digest()[:TAG_BYTES]


def key_of_tag(tag: bytes, bits: int) -> Key:
    """The key in a ring of at most 160 bits."""
    return Key(int.from_bytes(tag) >> (TAG_BITS - bits))


class Version(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """Of two versions of one name the greater is the newer. No wall clock is in it.

    The counter is the writer's Lamport clock (CACM 1978): greater than that of all the writer was told of before, whatever
    the name. No writer uses a counter twice in one incarnation, so that a version means one content for ever.
    """

    counter: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNTER)] = 0
    writer: Key = Key(0)
    boot: int = 0


NEVER = Version()
"""Older than every version."""


class Item(Message, frozen=True):
    """One version of one record; a tombstone where `gone`."""

    name: Name
    version: Version
    value: Annotated[bytes, msgspec.Meta(max_length=INLINE_BYTES)] = b""
    body: BlobRef | None = None
    """The value where it is too long to lie here."""
    gone: bool = False
    made: float = 0.0
    """Seconds since 1970, by the writer's clock: for forgetting what nobody needs any more, never for order."""
    expires: float = 0.0
    """Seconds since 1970 from which on it counts as deleted; 0: never."""

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.value) if self.body is None else self.body.size


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An item by name and version only."""

    tag: Tag
    version: Version


Holders = Annotated[tuple[Contact, ...], msgspec.Meta(max_length=HOLDERS)]
"""From whom the body of an item can be fetched."""
Rows = Annotated[tuple[Row, ...], msgspec.Meta(max_length=ROWS)]


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A digest over all items behind the page before, up to a tag."""

    upto: Tag
    digest: int


# To the root of a key ---------------------------------------------------------------------------------------------


class Look(Command, frozen=True):
    """What is under this tag? To the root, which asks the others if it must; or to one of them."""

    tag: Tag
    whole: bool
    """Whether the item is wanted, or its version alone."""
    root: bool = True
    """Whether it is the root that is asked: who is none refuses. Else: what is here."""


class Seen(Command, frozen=True):
    """The answer: the newest version that is known, NEVER if none."""

    version: Version
    item: Item | None = None
    holders: Holders = ()
    low: Key = Key(0)
    high: Key = Key(0)
    """The keys (low, high] of which the answerer is the root."""


class Near(Command, frozen=True):
    """Who is nearer to this tag than you are, and who keeps it? Asked when its root does not answer."""

    tag: Tag


class Nearer(Command, frozen=True):
    """The answer, as far as is known there."""

    hops: Holders
    keepers: Holders


class Write(Command, frozen=True):
    """From the origin to the root: see to it that w peers have this durable. Idempotent, for the version is given."""

    item: Item
    holders: Holders


class WriteNewer(Write, frozen=True):
    """The same from an origin that has asked nobody for the newest version: only if this one is newer.

    Refused where nothing was done. Else Written; or Seen, where there is a newer one and so nothing was done; or Begun.
    """


class Written(Command, frozen=True):
    """The answer: so many peers have this or a newer version on disk."""

    copies: int
    clock: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNTER)] = 0
    """The root's, so that the origin's next version is most likely newer than all that is there."""


class Begun(Command, frozen=True):
    """The answer to a WriteNewer that is durable at too few peers, as far as is known."""

    why: str


class Offer(Command, frozen=True):
    """Routed to the root of the first row: is this in good hands, so that I may forget it?"""

    rows: Rows
    leaving: bool


class Offered(Command, frozen=True):
    """The answer: all the right peers have these durable, at least as new as offered."""

    tags: Tags
    keep: bool
    """Whether the one that offers is one of the right peers."""
    low: Key
    high: Key
    """The keys (low, high] for which the answerer speaks."""


# Between the peers of a replica set ---------------------------------------------------------------------------------


class Copy(Command, frozen=True):
    """Keep this. Answered by Done once it, or a newer version, is durable."""

    item: Item
    holders: Holders


class Hold(Command, frozen=True):
    """Somebody is about to forget these and relies on you. Answered by Lacks, from what is durable."""

    rows: Rows


class Lacks(Command, frozen=True):
    """The answer: of these I have an older version, or none."""

    tags: Tags


class Compare(Command, frozen=True):
    """From the root of (low, high]: these are my digests of the items from `first` on. Which differ from yours?"""

    low: Key
    high: Key
    first: Tag
    pages: Annotated[tuple[Page, ...], msgspec.Meta(max_length=PAGES)]
    replica: bool
    """Whether, as the root sees it, the one that is asked is to keep these."""
    settled: bool
    """Whether the root had compared with everybody before, and all had everything."""


class Unequal(Command, frozen=True):
    """The answer: the places of pages that differ."""

    pages: Annotated[tuple[int, ...], msgspec.Meta(max_length=PAGES)]


class Listing(Command, frozen=True):
    """All that I have from `first` up to `last`."""

    first: Tag
    last: Tag
    rows: Rows


class Differ(Command, frozen=True):
    """The answer: of these yours is newer, of those mine is."""

    wanted: Tags
    newer: Tags
    """Not all, if there are more than a message holds."""
    more: bool = False


class Bring(Command, frozen=True):
    """Give me these."""

    tags: Tags


class Brought(Command, frozen=True):
    """The answer: as many as a message holds."""

    items: Annotated[tuple[Item, ...], msgspec.Meta(max_length=ROWS)]
