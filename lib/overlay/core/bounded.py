"""A bound on what is remembered."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def forget_oldest(entries: dict[K, V], most: int) -> V | None:
    """After an entry was put in: forget the one that was put in first if there are more than `most`. Its value."""
    return entries.pop(next(iter(entries))) if len(entries) > most else None
