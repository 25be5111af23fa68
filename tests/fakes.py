"""A Context that only writes down what it is told: unit tests of one protocol need nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from overlay.core.context import Context, Failure, OnFailed, Reason, Timer, Transfer
from overlay.core.message import Contact, Message
from overlay.core.node import Node
from overlay.core.protocol import Protocol
from overlay.core.storage import Batch, BlobRef, Entry
from overlay.ids import Key


def contact(number: int, boot: int = 1) -> Contact:
    """The contact of peer `number` in the assignment's address plan."""
    return Contact(Key(number), "127.0.0.1", 12000 + number, boot)


class Call(NamedTuple):
    """An open question."""

    peer: Contact
    request: Message
    on_reply: Callable[[Any], None]
    on_failed: OnFailed
    timeout_s: float


class FakeContext(Context):
    """Keeps effects in lists; time passes when the test says so."""

    def __init__(self, me: Contact, service: str = "test"):
        super().__init__(FakeHost(self, me), service, seed=0)  # type: ignore[arg-type]
        self.sent: list[tuple[Contact, Message]] = []
        self.calls: list[Call] = []
        self.events: list[msgspec.Struct] = []
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.timers: list[tuple[float, Timer]] = []
        self.watched: dict[Contact, Callable[[Contact], None]] = {}
        self.durable: dict[str, Entry] = {}
        self.batches: list[tuple[Batch, Callable[[], None], OnFailed]] = []
        self.fetches: list[tuple[Transfer, Callable[[], None], OnFailed]] = []
        self.files: dict[str, BlobRef] = {}
        self.time = 0.0

    @property
    def now(self) -> float:
        return self.time

    @property
    def wall(self) -> float:
        return 1_000_000 + self.time

    def send(self, peer: Contact, message: Message) -> None:
        self.sent.append((peer, message))

    def call(
        self,
        peer: Contact,
        request: Message,
        on_reply: Callable[[Any], None],
        on_failed: OnFailed,
        *,
        timeout_s: float,
    ) -> None:
        self.calls.append(Call(peer, request, on_reply, on_failed, timeout_s))

    def after(self, delay_s: float, callback: Callable[..., None], *args: Any) -> Timer:
        timer = Timer(callback, args)
        self.timers.append((self.time + delay_s, timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass and run the timers that come due, in order."""
        end = self.time + seconds
        while True:
            due = sorted((when, index) for index, (when, _) in enumerate(self.timers) if when <= end)
            if not due:
                break
            when, index = due[0]
            _, timer = self.timers.pop(index)
            self.time = max(self.time, when)
            if timer.callback is not None:
                callback, args = timer.callback, timer.args
                timer.cancel()
                callback(*args)
        self.time = end

    def watch(self, peer: Contact, on_down: Callable[[Contact], None]) -> None:
        self.watched[peer] = on_down

    def unwatch(self, peer: Contact) -> None:
        self.watched.pop(peer, None)

    def stored(self) -> Mapping[str, Entry]:
        return self.durable

    def persist(self, batch: Batch, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        self.batches.append((batch, on_durable, on_failed))

    def find_blob(self, name: str, on_found: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        if name in self.files:
            self.after(0, on_found, self.files[name])
        else:
            self.after(0, on_failed, Failure(Reason.NOT_THERE, f"there is no file {name}"))

    def make_blob(self, data: bytes, on_made: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        self.after(0, on_made, BlobRef(hashlib.sha256(data).digest(), len(data)))

    def read_blob(self, ref: BlobRef, on_read: Callable[[bytes], None], on_failed: OnFailed) -> None:
        self.after(0, on_failed, Failure(Reason.NOT_THERE))

    def fetch_blob(
        self,
        peer: Contact,
        ref: BlobRef,
        start: int,
        end: int,
        on_done: Callable[[], None],
        on_failed: OnFailed,
    ) -> Transfer:
        transfer = Transfer(peer, ref)
        self.fetches.append((transfer, on_done, on_failed))
        return transfer

    def notify(self, event: msgspec.Struct) -> None:
        self.events.append(event)

    def record(self, what: str, **fields: Any) -> None:
        self.records.append((what, fields))

    def take_sent(self) -> list[tuple[Contact, Message]]:
        """What was sent since the last time."""
        taken, self.sent = self.sent, []
        return taken


class FakeHost:
    """Just enough of a node for Context's constructor."""

    def __init__(self, ctx: FakeContext, me: Contact):
        self.ctx = ctx
        self.me = me


def alone(protocol: Protocol, me: Contact) -> FakeContext:
    """A protocol on a fake context, not started."""
    protocol.ctx = ctx = FakeContext(me, protocol.service)
    return ctx


__all__ = ["Call", "FakeContext", "Node", "alone", "contact"]
