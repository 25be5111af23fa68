"""Bodies that come."""

from __future__ import annotations

from collections.abc import Callable

from overlay.core.context import OnFailed, Transfer


class Pulls:
    def __init__(self, driver: object): ...

    def start(
        self, transfer: Transfer, start: int, end: int, on_done: Callable[[], None], on_failed: OnFailed
    ) -> Transfer:
        raise NotImplementedError

    def cancel_all(self) -> None: ...
