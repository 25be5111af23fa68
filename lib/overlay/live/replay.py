"""What came before is not taken again: the last counters of each sender are known exactly.

Deviation from IPsec's window (RFC 4303, section 3.4.3), which refuses whatever is far behind the highest counter: there
the sender is authenticated. Here a stranger can claim to be anybody, and one invented counter would shut the true sender
out for good. So the last WINDOW are refused a second time, and nothing else is.
"""

from __future__ import annotations

from array import array

from overlay.core.bounded import forget_oldest

WINDOW = 64
"""Counters of one sender that are known."""

MAX_SENDERS = 1024
"""Senders that are remembered; the one that was silent for longest is forgotten first."""

_MASK = (1 << 64) - 1


class _Recent:
    """The last counters of one sender, in as little memory as they take."""

    __slots__ = ("_at", "counters")

    def __init__(self) -> None:
        self.counters = array("Q")
        self._at = 0

    def add(self, counter: int) -> None:
        if len(self.counters) < WINDOW:
            self.counters.append(counter)
        else:
            self.counters[self._at] = counter
            self._at = (self._at + 1) % WINDOW


class ReplayGuard:
    """Remembers which counters came. A sender is an identifier and an incarnation."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], _Recent] = {}

    def is_fresh(self, sender: tuple[int, int], counter: int) -> bool:
        """Whether this is the first time; remembers that it came."""
        recent = self._seen.pop(sender, None) or _Recent()
        counter &= _MASK
        fresh = counter not in recent.counters
        if fresh:
            recent.add(counter)
        self._seen[sender] = recent
        forget_oldest(self._seen, MAX_SENDERS)
        return fresh
