"""Counters for the reporter: an observer of the messages, and of what the peers tell."""

from __future__ import annotations

import threading
import time
from collections import deque

from overlay.app.fleet import Happening
from overlay.core.message import Contact, Message
from overlay.core.trace import Observer

WINDOW_S = 3.0
"""Over how long a rate is taken."""


class Counters(Observer):
    """Messages, deaths, records; and the routes of the last seconds. Fed on the peers' threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.messages = 0
        self.deaths: dict[int, float] = {}
        self.stored = 0
        self.received = 0
        self.route: tuple[float, tuple[int, ...]] = (0.0, ())
        """When the last route was told, and its peers."""
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def sent(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        with self._lock:
            self.messages += 1

    def count(self, happening: Happening) -> None:
        """Something that a peer told."""
        with self._lock:
            match happening.event:
                case "PeerDied":
                    self.deaths[happening.field("peer")] = time.monotonic()
                case "Stored":
                    self.stored += 1
                case "Received":
                    self.received += 1
                case "JoinAccepted":
                    self.deaths.pop(happening.me, None)
            if len(happening.path) > 1:
                self.route = (time.monotonic(), happening.path)

    def rate(self) -> float:
        """Messages a second, lately."""
        now = time.monotonic()
        with self._lock:
            self._marks.append((now, self.messages))
            while len(self._marks) > 2 and self._marks[1][0] < now - WINDOW_S:
                self._marks.popleft()
            (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def totals(self) -> dict[str, float]:
        """For the JSON of the reporter."""
        return {
            "messages": self.messages,
            "messages_per_s": round(self.rate(), 1),
            "deaths": len(self.deaths),
            "stored": self.stored,
            "received": self.received,
        }
