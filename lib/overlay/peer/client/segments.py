"""Values of any size: a long one is cut into segments, which are records of their own, spread over the ring.

As in CFS (Dabek et al., SOSP 2001, section 3), a file is its blocks, each under a key of its own, and a first block that says
which they are: here the `Index`, in the place of the value. It is written last, so a reader finds all segments or an
older version. Segments have names that no two versions share, so that nobody reads half of one and half of another.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import msgspec

from overlay.errors import RemoteError
from overlay.store.replicated.messages import VALUE_BYTES

SEGMENT_BYTES = VALUE_BYTES
"""What is longer is cut. CFS has 8 KiB, for latency; ours are whole files rather than parts of a file system, and each segment
costs a dozen messages, three connections and nine syncs of a disk."""
RESERVED = b"\0"
"""How the names of segments begin, and no others."""

MAGIC = b"\0overlay, in segments\x01"
ID_BYTES = 16
INDEX_BYTES = len(MAGIC) + ID_BYTES + 8 + 4 + 32


class Index(msgspec.Struct, frozen=True):
    """What stands in the place of a long value."""

    id: bytes
    """Of this version: 16 bytes of chance."""
    size: int
    """Bytes of the value."""
    sha256: bytes
    """Of the whole value."""
    segment_bytes: int = SEGMENT_BYTES

    def pack(self) -> bytes:
        """INDEX_BYTES bytes."""
        return MAGIC + self.id + self.size.to_bytes(8) + self.segment_bytes.to_bytes(4) + self.sha256

    @property
    def count(self) -> int:
        """How many segments there are."""
        return -(-self.size // self.segment_bytes)

    def names(self) -> Iterator[bytes]:
        """The segments' names, in order."""
        return (segment_name(self.id, number) for number in range(self.count))


def new_id() -> bytes:
    """For one version of one value."""
    return secrets.token_bytes(ID_BYTES)


def segment_name(id: bytes, number: int) -> bytes:
    """The name of a segment."""
    return RESERVED + id + number.to_bytes(8)


def needs_segments(value: bytes) -> bool:
    """Whether a value cannot lie in its record as it is: too long, or it looks as an index does."""
    return len(value) > SEGMENT_BYTES or value.startswith(MAGIC)


def index_in(value: bytes) -> Index | None:
    """The index in the place of a value; None where it is the value itself. RemoteError for one that cannot be."""
    if not value.startswith(MAGIC):
        return None
    at = len(MAGIC)
    id, size = value[at : at + ID_BYTES], int.from_bytes(value[at + ID_BYTES : at + ID_BYTES + 8])
    segment_bytes = int.from_bytes(value[at + ID_BYTES + 8 : at + ID_BYTES + 12])
    if len(value) != INDEX_BYTES or not 0 < segment_bytes <= VALUE_BYTES:
        raise RemoteError("the record's list of segments is damaged")
    return Index(id, size, value[-32:], segment_bytes)
