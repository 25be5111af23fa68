"""A Pending for programs with threads: it can be waited for, and asked from any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from overlay.core.pending import Pending
from overlay.errors import Indefinite

T = TypeVar("T")


class Outcome(Pending[T]):
    """As its base, and thread-safe. Callbacks run on the thread that settles it, or on the caller's if it is done."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def wait(self, timeout_s: float) -> T:
        """Block until it is done; its value, or its error raised. Indefinite when it is not done by then."""
        done = threading.Event()
        self.when_done(lambda _: done.set())
        if not done.wait(timeout_s):
            raise Indefinite(f"no outcome within {timeout_s} s")
        return self.result()

    def follow(self, other: Pending[T]) -> None:
        """Have the outcome that another one has by now."""
        if other.error is not None:
            self.fail(other.error)
        else:
            self.resolve(other.result())

    def when_done(self, callback: Callable[[Pending[T]], None]) -> None:
        """Call back with this once it is done; at once when it already is."""
        with self._lock:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def _settle(self, value: T | None, error: Exception | None) -> bool:
        with self._lock:
            if self._done:
                return False
            self._value, self._error, self._done = value, error, True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
        return True
