"""The callbacks that a node waits for, by time."""

from __future__ import annotations

import heapq
import math

from overlay.core.context import Timer

LEAST_PURGE = 64


class Timers(list[tuple[float, int, Timer]]):
    """A heap: when, in which order they were added, and what. Everything happens inside the node's monitor."""

    __slots__ = ("_added", "_purge_at")

    def __init__(self) -> None:
        super().__init__()
        self._added = 0
        self._purge_at = LEAST_PURGE

    @property
    def next_at(self) -> float:
        """When the first one goes off; infinite without one."""
        return self[0][0] if self else math.inf

    def add(self, when: float, timer: Timer) -> None:
        """Plan one. Now and then the cancelled ones are thrown away."""
        self._added += 1
        heapq.heappush(self, (when, self._added, timer))
        if len(self) > self._purge_at:
            self[:] = [entry for entry in self if entry[2].active]
            heapq.heapify(self)
            self._purge_at = max(LEAST_PURGE, 2 * len(self))

    def take(self, now: float) -> Timer | None:
        """The first one, if it is due."""
        return heapq.heappop(self)[2] if self and self[0][0] <= now else None
