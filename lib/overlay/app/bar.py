"""A progress bar on stderr, where somebody looks at it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType

from overlay.app.narrator import size_text
from overlay.app.progress import duration
from overlay.app.terminal import is_terminal

DRAW_S = 0.1
FIRST_S = 0.3
"""What is done sooner shows no bar."""
WIDTH = 24


class Bar:
    """`bar(done, size)` while it goes on, as a context manager; gone at the end."""

    def __init__(self, name: str, size: int | None = None, *, hidden: bool = False, unit: str = "bytes"):
        self._name = name if len(name) <= 30 else f"{name[:27]}..."
        self._size = size
        self._bytes = unit == "bytes"
        self._unit = unit
        self._live = not hidden and is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._began = time.monotonic()
        self._drawn = self._began + FIRST_S - DRAW_S
        self._seen = False

    def __call__(self, done: int, size: int | None = None, note: str = "") -> None:
        """So much is done; `note` comes at the end."""
        now = time.monotonic()
        if self._live and now - self._drawn >= DRAW_S:
            self._drawn = now
            self._seen = True
            text = self.text(done, size if size is not None else self._size, now - self._began) + note
            sys.stderr.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()

    def text(self, done: int, size: int | None, seconds: float) -> str:
        """The line."""
        rate = done / seconds if seconds else 0.0
        speed = f"{self._amount(int(rate))}/s"
        if not size:
            return f"{self._name} {self._amount(done)}, {speed}"
        full = min(WIDTH, WIDTH * done // size)
        bar = "━" * full + "─" * (WIDTH - full)
        left = f", {duration((size - done) / rate)} left" if rate else ""
        return f"{self._name} {bar} {done / size:4.0%} of {self._amount(size)}, {speed}{left}"

    def _amount(self, amount: int) -> str:
        return size_text(amount) if self._bytes else f"{amount:,} {self._unit}"

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live = False
        if self._seen:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
