"""Transfers for people: bytes, rate, time left. Time is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from overlay.app.narrator import size_text

SMOOTH = 0.3
"""How much of a new rate counts: a toolbar that jumps is not read."""


class Progress:
    """Remembers where each transfer was a moment ago."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int, float]] = {}

    def texts(self, transfers: Iterable[Any], now: float) -> list[str]:
        """`4103: 1.0 MiB of 4.0 MiB, 2.0 MiB/s, 2 s left`, a transfer each."""
        current = {transfer.name: transfer for transfer in transfers}
        self._seen = {name: seen for name, seen in self._seen.items() if name in current}
        return [self._text(transfer, now) for transfer in current.values()]

    def _text(self, transfer: Any, now: float) -> str:
        before, done, rate = self._seen.get(transfer.name, (now, transfer.done_bytes, 0.0))
        if now - before >= 0.2:
            fresh = (transfer.done_bytes - done) / (now - before)
            rate = fresh if not rate else SMOOTH * fresh + (1 - SMOOTH) * rate
            before, done = now, transfer.done_bytes
        self._seen[transfer.name] = (before, done, rate)
        text = f"{transfer.name}: {size_text(transfer.done_bytes)} of {size_text(transfer.size)}"
        if rate <= 0:
            return text
        left = (transfer.size - transfer.done_bytes) / rate
        return f"{text}, {size_text(int(rate))}/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """`5 s`, `2 min 5 s`, `3 h 7 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
