"""The outcome of an operation, tied to no loop and no thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from overlay.errors import LocalError

T = TypeVar("T")


class Pending(Generic[T]):
    """Will have a value or an error, once. Whoever settles it runs the callbacks; a driver wraps it for its own world:

    `live.threads.wait` blocks on one, `live.aio.future` awaits one, `sim.Simulation.run_until` runs time towards one.
    """

    __slots__ = ("_callbacks", "_done", "_error", "_value")

    def __init__(self) -> None:
        self._done = False
        self._value: T | None = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Pending[T]], None]] = []

    @property
    def done(self) -> bool:
        """Whether it has its outcome."""
        return self._done

    @property
    def error(self) -> Exception | None:
        """Why it failed; None while it has not."""
        return self._error

    def result(self) -> T:
        """The value, or the error raised; LocalError while there is neither."""
        if not self._done:
            raise LocalError("this operation has no outcome yet; wait for it first")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def resolve(self, value: T) -> bool:
        """Give it its value. False, and nothing happens, when it has an outcome already."""
        return self._settle(value, None)

    def fail(self, error: Exception) -> bool:
        """Give it its error. False, and nothing happens, when it has an outcome already."""
        return self._settle(None, error)

    def when_done(self, callback: Callable[[Pending[T]], None]) -> None:
        """Call back with this Pending once it is done; at once when it already is."""
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def _settle(self, value: T | None, error: Exception | None) -> bool:
        if self._done:
            return False
        self._done, self._value, self._error = True, value, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
        return True


def ignore(*_: object) -> None:
    """The callback of who has no use for what comes, or where nobody is to be told yet."""
