"""Events, views and rings as JSON lines. The README documents the schema; VERSION grows when a field changes meaning."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from overlay.app.terminal import Line
from overlay.core.message import Contact, Message
from overlay.ids import DECIMAL_BITS, Key, in_full

VERSION = 1
EXACT_BITS = 53
"""Whole numbers of more bits are not the same to every reader of JSON; ours are ids, and become text."""

_encoder = msgspec.json.Encoder()


def plain(value: Any) -> Any:
    """A value in the types of JSON, with names for fields: a Contact is {"id", "host", "port"}. A long id is text."""
    if isinstance(value, Contact):
        return {"id": plain(Key(value.id)), "host": value.host, "port": value.port}
    if isinstance(value, msgspec.Struct):
        fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        return {"kind": type(value).__name__, **fields} if isinstance(value, Message) else fields
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, int) and value.bit_length() > (DECIMAL_BITS if isinstance(value, Key) else EXACT_BITS):
        return in_full(value)
    if isinstance(value, Key):
        return int(value)
    return value.hex() if isinstance(value, bytes) else value


def make(event: str, **fields: Any) -> dict[str, Any]:
    """An object of the schema."""
    return {"v": VERSION, "at": round(time.time(), 3), "event": event, **{k: plain(v) for k, v in fields.items()}}


def event_object(me: int, event: msgspec.Struct, lines: tuple[Line, ...]) -> dict[str, Any]:
    """What happened at the peer `me`, with the lines that people are shown for it."""
    return make(type(event).__name__, me=me, **plain(event), lines=[[line.kind, line.text] for line in lines])


def encode(thing: dict[str, Any]) -> str:
    """One line."""
    return _encoder.encode(thing).decode()
