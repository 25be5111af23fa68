"""What came before is not taken again: a window of counters for each sender."""

from __future__ import annotations

WINDOW = 64
"""So far may packets overtake each other (the width of IPsec's window, RFC 4303 section 3.4.3)."""

MAX_SENDERS = 1024
"""Senders that are remembered; the one that was silent for longest is forgotten first."""


class ReplayGuard:
    """Remembers which counters came. A sender is an identifier and an incarnation."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[int, int]] = {}

    def is_fresh(self, sender: tuple[int, int], counter: int) -> bool:
        """Whether this is the first time; remembers that it came."""
        highest, bits = self._seen.pop(sender, (-1, 0))
        behind = highest - counter
        if behind < 0:
            highest, bits, fresh = counter, (bits << min(-behind, WINDOW) | 1) & ((1 << WINDOW) - 1), True
        elif behind < WINDOW and not bits >> behind & 1:
            bits, fresh = bits | 1 << behind, True
        else:
            fresh = False
        self._seen[sender] = highest, bits
        if len(self._seen) > MAX_SENDERS:
            del self._seen[next(iter(self._seen))]
        return fresh
