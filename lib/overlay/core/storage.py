"""What may be written durably, and how bytes are named."""

from __future__ import annotations

import msgspec


class BlobRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Bytes by their content."""

    sha256: bytes
    """32 bytes."""
    size: int
    """Bytes."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is kept durably under a key: a few bytes of a protocol's own, and a body if one belongs to it."""

    value: bytes
    blob: BlobRef | None = None


class Write(msgspec.Struct, frozen=True, gc=False):
    """Keep `entry` under `key`; with None, forget the key. A body must have been fetched or found before."""

    key: str
    entry: Entry | None


class Export(msgspec.Struct, frozen=True, gc=False):
    """Put a fetched body where people look for it: under `name` in the shared folder, in the place of what is there."""

    name: str
    blob: BlobRef


Step = Write | Export
Batch = tuple[Step, ...]
"""Done in order; durable as a whole before `on_durable`. After a crash a beginning of it may have been done."""
