"""The runner's peers: in this process, or each in one of its own; which is which, only `make` knows."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any
from typing import Protocol as Interface

import msgspec

from overlay.app import jsonlines
from overlay.app.narrator import narrate
from overlay.app.terminal import Line
from overlay.core.pending import Pending
from overlay.errors import LocalError


class Happening(msgspec.Struct, frozen=True):
    """What one of the peers told."""

    me: int
    event: str
    lines: tuple[Line, ...]
    path: tuple[int, ...] = ()
    """The route, of an event that has one."""
    source: Any = None
    """The event itself, or the JSON object that another process wrote of it."""

    def field(self, name: str) -> Any:
        """A field of the event."""
        return self.source[name] if isinstance(self.source, dict) else getattr(self.source, name)

    def as_object(self) -> dict[str, Any]:
        """For programs."""
        if isinstance(self.source, dict):
            return self.source
        return jsonlines.event_object(self.me, self.source, self.lines)


class Member(Interface):
    """What the runner asks of a peer; `Peer` is one, and so is a peer in a process of its own."""

    @property
    def ready(self) -> Pending[None]: ...
    def setup(self, first: int | str, second: int | str) -> None: ...
    def join(self, known: int | str, timeout_s: float = 5.0) -> Pending[None]: ...
    def store(self, name: str) -> Pending[Any]: ...
    def request(self, name: str) -> Pending[Any]: ...
    def cancel(self, name: str | None = None) -> int: ...
    def ring(self, timeout_s: float = 10.0) -> Pending[Any]: ...
    def view(self) -> Any: ...
    def quit(self, timeout_s: float = 60.0) -> Pending[None]: ...
    def kill(self) -> None: ...


def happening_of(me: int, event: msgspec.Struct) -> Happening:
    """An event of a peer of this process."""
    path = tuple(int(id) for id in getattr(event, "path", ()))
    return Happening(me, type(event).__name__, narrate(event), path, event)


def successors_of(index: int, peers: Sequence[int]) -> tuple[int, int]:
    """The two that follow on the ring; in a ring of one or two, the peer itself takes the missing places."""
    count = len(peers)
    return peers[(index + 1) % count], peers[(index + 2) % count]


def summary(peers: Sequence[int]) -> list[str]:
    """`Launching nodes: ` and a line a peer."""
    lines = [f"■ (Peer[{id}]->{'->'.join(map(str, successors_of(i, peers)))})" for i, id in enumerate(peers)]
    return ["Launching nodes: ", *lines]


class Fleet:
    """Starts peers, finds them by id, ends them. Used on the main loop only; `tell` is called on the peers' threads."""

    def __init__(
        self,
        options: argparse.Namespace,
        make: Callable[..., Member],
        tell: Callable[[Happening], None],
        crashed: Callable[[int, str], None],
        **more: Any,
    ):
        self.members: dict[int, Member] = {}
        self.killed: set[int] = set()
        self._options = options
        self._make = make
        self._tell = tell
        self._crashed = crashed
        self._more = more

    def _new(self, id: int) -> Member:
        if id in self.members:
            raise LocalError(f"peer {id} is running already")
        options = self._options
        return self._make(
            id,
            ping_interval_s=options.interval,
            host=options.host,
            bind=options.bind,
            base_port=options.base_port,
            files=options.files,
            keep=options.keep,
            on_event=lambda peer, event: self._tell(happening_of(id, event)),
            on_crash=lambda peer, why: self._crashed(id, why),
            **self._more,
        )

    def launch(self, peers: Sequence[int]) -> None:
        """Start them all as one ring; all or none."""
        try:
            for index, id in enumerate(peers):
                self.members[id] = member = self._new(id)
                member.setup(*successors_of(index, peers))
        except BaseException:
            self.kill_all()
            raise

    def join(self, id: int, known: int | str) -> Pending[None]:
        """Start one more."""
        member = self._new(id)
        self.members[id] = member
        self.killed.discard(id)
        try:
            pending = member.join(known)
        except BaseException:
            self.kill(id)
            raise
        return pending

    def get(self, id: int) -> Member:
        """The member; LocalError where there is none of that id."""
        if id not in self.members:
            mine = ", ".join(map(str, sorted(self.members)))
            raise LocalError(f"peer {id} is not one of this runner's: {mine or 'none is left'}")
        return self.members[id]

    def forget(self, id: int, member: Member) -> None:
        """It has left."""
        if self.members.get(id) is member:
            del self.members[id]

    def kill(self, id: int) -> None:
        """Gone."""
        member = self.get(id)
        del self.members[id]
        self.killed.add(id)
        member.kill()

    def kill_all(self) -> None:
        """All at once; that the last ones see the others die is no news then."""
        self._tell = lambda happening: None
        for id in list(self.members):
            self.kill(id)

    def views(self) -> dict[int, Any]:
        """A picture of each, by id in order."""
        return {id: member.view() for id, member in sorted(self.members.items())}
