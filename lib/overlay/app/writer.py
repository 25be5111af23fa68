"""Writes for threads that must not wait: a pipe that nobody reads, or a terminal that stands still, holds up nobody."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

HELD_CHARACTERS = 4 << 20
"""So much is held for a reader who is slow; what comes then is lost."""


class Writer(threading.Thread):
    """Calls `write` with what was added, in order, on a thread of its own; `lost` with how many texts found no room."""

    def __init__(self, write: Callable[[bool, str], None], lost: Callable[[int], None]):
        super().__init__(name="writer", daemon=True)
        self._write, self._tell_lost = write, lost
        self._held: deque[tuple[bool, str]] = deque()
        """The first one is being written."""
        self._size = 0
        self._lost = 0
        self._moved = False
        self._news = threading.Condition()

    def add(self, standard: bool, text: str) -> None:
        """Have it written to stdout, or to stderr; never waits."""
        with self._news:
            if self._held and self._size + len(text) > HELD_CHARACTERS:
                self._lost += 1
                return
            self._held.append((standard, text))
            self._size += len(text)
            self._news.notify_all()

    def run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._held)
                standard, text = self._held[0]
            self._write(standard, text)
            with self._news:
                self._held.popleft()
                self._size -= len(text)
                self._moved = True
                # Told when the reader has come up with us, or there would be no room to tell it either.
                lost, self._lost = (0, self._lost) if self._held else (self._lost, 0)
                self._news.notify_all()
            if lost:
                self._tell_lost(lost)

    def drain(self, stall_s: float) -> bool:
        """Wait until all is written, as long as anything is within each `stall_s`; whether it is."""
        with self._news:
            while self._held:
                self._moved = False
                if not self._news.wait_for(lambda: self._moved, stall_s):
                    return False
        return True
