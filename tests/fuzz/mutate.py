"""Inputs out of other inputs: bytes are bent, and so are the values that msgpack makes of them, at any depth."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tests.fuzz.targets import MESSAGES, Target, frame, split

MAX_BYTES = 8192
INTEGERS = (0, 1, -1, 2, 4, 8, 14, 127, 128, 255, 256, 65535, 65536, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
TEXTS = (
    "",
    "0159",
    "2067",
    "٠١٥٩",
    "../a",
    "a\0b",
    "\x1b[2J",
    "127.0.0.1",
    "::1",
    "0.0.0.0",
    "x" * 65,
    "records",
    "ring",
)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    0.5,
    float("nan"),
    float("inf"),
    b"",
    bytes(32),
    bytes(64),
    bytes(65),
    [],
    {},
)
TAGS = tuple(kind.__name__ for kind in MESSAGES)

Chance = random.Random


def mutate(target: Target, data: bytes, chance: Chance, others: Sequence[bytes]) -> bytes:
    """One more input."""
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        other = chance.choice(others)
        if chance.random() < 0.2:
            data = _bent(data, chance, other)
        elif target.framed:
            data = _stream(data, chance, other)
        else:
            data = _message(data, chance, other)
    return data[:MAX_BYTES]


def _stream(data: bytes, chance: Chance, other: bytes) -> bytes:
    pieces, more = list(split(data)) or [b""], list(split(other)) or [b""]
    at = chance.randrange(len(pieces))
    match chance.randrange(8):
        case 0:
            pieces.insert(at, chance.choice(more))
        case 1:
            pieces.insert(at, pieces[at])
        case 2 if len(pieces) > 1:
            del pieces[at]
        case 3:
            chance.shuffle(pieces)
        case _:
            pieces[at] = _message(pieces[at], chance, chance.choice(more))
    return b"".join(frame(piece) for piece in pieces[:8])


def _message(data: bytes, chance: Chance, other: bytes) -> bytes:
    try:
        value = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _bent(data, chance, other)
    try:
        donor = msgspec.msgpack.decode(other)
    except (msgspec.DecodeError, ValueError, RecursionError):
        donor = None
    try:
        return msgspec.msgpack.encode(_tree(value, chance, donor))
    except (OverflowError, ValueError, RecursionError, TypeError):
        return _bent(data, chance, other)


def _tree(value: Any, chance: Chance, donor: Any) -> Any:
    """The value with one place in it changed."""
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        grown = list(value)
        match chance.randrange(12):
            case 0:
                del grown[at]
            case 1:
                grown.insert(at, value[at])
            case 2:
                grown.append(_leaf(chance, donor))
            case _:
                grown[at] = _tree(value[at], chance, donor)
        return grown
    if isinstance(value, bytes) and value and chance.random() < 0.7:
        # A message may travel inside another one.
        return _message(value, chance, b"")
    if isinstance(value, int) and chance.random() < 0.4:
        return max(-(2**63), min(2**64 - 1, value + chance.choice((-1, 1, 256, -256))))
    return _leaf(chance, donor)


def _leaf(chance: Chance, donor: Any) -> Any:
    choices: tuple[Callable[[], Any], ...] = (
        lambda: chance.choice(INTEGERS),
        lambda: chance.choice(TEXTS),
        lambda: chance.choice(TAGS),
        lambda: chance.choice(OTHERS),
        lambda: _part(donor, chance),
    )
    return chance.choice(choices)()


def _part(value: Any, chance: Chance) -> Any:
    """Some part of a value of another input."""
    while isinstance(value, list) and value and chance.random() < 0.8:
        value = chance.choice(value)
    return value


def _bent(data: bytes, chance: Chance, other: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((1, 1, 2, 4, 16)))
    match chance.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + chance.randbytes(chance.choice((1, 2, 4, 8))) + data[at:]
        case 3:
            return data[:end] + data[at:]
        case 4:
            start = chance.randrange(len(other) + 1)
            return data[:at] + other[start : start + 64] + data[at:]
        case _:
            bent = bytearray(data)
            for place in range(at, end):
                bent[place] ^= 1 << chance.randrange(8)
            return bytes(bent)
