"""The key space: whole numbers modulo 2**bits, laid around a circle. Everything here is pure."""

from __future__ import annotations

import hashlib

CLASSROOM_BITS = 8
"""The assignment's ring: identifiers 0..255."""

CHORD_BITS = 160
"""SHA-1's width, the papers' default."""


DECIMAL_BITS = 32
"""Ids of up to so many bits are shown in decimal."""
WIDTHS = (64, 128, CHORD_BITS)
"""Longer ones in hexadecimal, and then as wide as the next of these, so that ids of one ring are shown alike."""


class Key(int):
    """A point on the circle. An `int` in every respect; a type of its own so that 160 bits pass through the wire."""

    __slots__ = ()


def between(low: int, key: int, high: int) -> bool:
    """Whether `key` lies strictly inside the clockwise interval (low, high).

    The interval (a, a) is the whole circle without a (ZV15, section II).
    """
    if low < high:
        return low < key < high
    return key > low or key < high


def owns(low: int, key: int, high: int) -> bool:
    """Whether `key` lies in the clockwise interval (low, high]: the keys of the peer `high` behind the peer `low`."""
    return key == high or between(low, key, high)


def distance(start: int, end: int, bits: int) -> int:
    """Steps clockwise from `start` to `end` on a circle of 2**bits points."""
    return (end - start) % (1 << bits)


def digits(key: int, base_bits: int, bits: int) -> tuple[int, ...]:
    """The key's digits in base 2**base_bits, most significant first (PA01, section 2.1)."""
    mask = (1 << base_bits) - 1
    return tuple(key >> shift & mask for shift in range(bits - base_bits, -1, -base_bits))


def key_of(name: bytes, bits: int = CHORD_BITS) -> Key:
    """The key of a name: the leading `bits` of its SHA-1 digest (CH01, section 4.2); of at most 160 bits."""
    if not 0 < bits <= CHORD_BITS:
        raise ValueError(f"a key of a name has 1 to {CHORD_BITS} bits, not {bits}")
    return Key(int.from_bytes(hashlib.sha1(name, usedforsecurity=False).digest()) >> (CHORD_BITS - bits))


def in_full(key: int) -> str:
    """A key as text: decimal if it has few bits, else all its hexadecimal digits."""
    length = key.bit_length()
    if length <= DECIMAL_BITS:
        return str(key)
    return f"{key:0{next((width for width in WIDTHS if length <= width), length) // 4}x}"


def label(key: int) -> str:
    """A key for people: decimal if it has few bits, else its first eight hexadecimal digits."""
    return str(key) if key.bit_length() <= DECIMAL_BITS else in_full(key)[:8]
