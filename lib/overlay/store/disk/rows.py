"""An entry as bytes: a hash, then service, key and entry. A row of the index, and a small file of its own in earlier versions."""

from __future__ import annotations

import hashlib

import msgspec

from overlay.core.storage import Entry
from overlay.errors import LocalError

MAX_ENTRY_BYTES = 1 << 20

Place = tuple[str, str]
"""Service and key."""


class _Row(msgspec.Struct, array_like=True):
    service: str
    key: str
    entry: Entry


def check_key(key: str) -> str:
    """The key, if it can be written; LocalError otherwise."""
    try:
        key.encode()
    except UnicodeEncodeError:
        raise LocalError(f"{key[:80]!a} is no text") from None
    return key


def encode(service: str, key: str, entry: Entry) -> bytes:
    """LocalError where it is too large, or the key is no text."""
    data = msgspec.msgpack.encode(_Row(service, check_key(key), entry))
    if len(data) > MAX_ENTRY_BYTES - 32:
        raise LocalError(f"an entry of {len(data)} bytes is too large to keep")
    return hashlib.sha256(data).digest() + data


def decode(data: bytes, place: Place | None = None) -> tuple[Place, Entry] | None:
    """None of bytes that are not what was written, or belong to another place."""
    try:
        row = msgspec.msgpack.decode(data[32:], type=_Row)
    except msgspec.DecodeError:
        return None
    found = row.service, row.key
    if hashlib.sha256(data[32:]).digest() != data[:32] or (place is not None and place != found):
        return None
    return found, row.entry


def file_name(place: Place) -> str:
    """What the file of an entry was called."""
    return hashlib.sha256("\0".join(place).encode()).hexdigest()[:40]
