"""A peer that only writes down what it is asked, and says what a test has it say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from overlay.core.pending import Pending
from overlay.errors import LocalError


class FakeView(msgspec.Struct, frozen=True):
    """The fields of a PeerView."""

    id: int
    second_predecessor: int | None
    first_predecessor: int | None
    first: int | None
    second: int | None
    successors: tuple[int, ...]
    records: tuple[str, ...]
    transfers: tuple[Any, ...]
    awaited: tuple[int, ...]


class FakePeer:
    """The Peer of the application layer's dreams: everything works when the test resolves it."""

    made: ClassVar[list[FakePeer]] = []

    def __init__(self, id: int, *, on_event: Callable[[Any, Any], None] | None = None, **options: Any):
        if id == 66:
            raise LocalError("Peer 66 is already running at 127.0.0.1:12066")
        self.id = id
        self.options = options
        self.on_event = on_event
        self.on_crash = options.get("on_crash")
        self.ready: Pending[None] = Pending()
        self.closed = threading.Event()
        self.asked: list[tuple[Any, ...]] = []
        self.pending: dict[str, Pending[Any]] = {}
        FakePeer.made.append(self)

    def _ask(self, *what: Any) -> Pending[Any]:
        self.asked.append(what)
        return self.pending.setdefault(what[0], Pending())

    def setup(self, first: int | str, second: int | str) -> None:
        self.asked.append(("setup", first, second))

    def join(self, known: int | str, timeout_s: float = 5.0) -> Pending[Any]:
        return self._ask("join", known)

    def store(self, name: str) -> Pending[Any]:
        return self._ask("store", name)

    def request(self, name: str) -> Pending[Any]:
        return self._ask("request", name)

    def ring(self, timeout_s: float = 10.0) -> Pending[Any]:
        return self._ask("ring")

    def quit(self, timeout_s: float = 60.0) -> Pending[Any]:
        return self._ask("quit")

    def cancel(self, name: str | None = None) -> int:
        self.asked.append(("cancel", name))
        return 1

    def kill(self) -> None:
        self.asked.append(("kill",))
        self.closed.set()

    def view(self) -> Any:
        return FakeView(
            id=self.id,
            second_predecessor=19,
            first_predecessor=2,
            first=5,
            second=8,
            successors=(5, 8),
            records=("2067",),
            transfers=(),
            awaited=(),
        )

    def tell(self, event: msgspec.Struct) -> None:
        assert self.on_event is not None
        self.on_event(self, event)
