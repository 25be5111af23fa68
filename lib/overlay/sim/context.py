"""The Context of a simulated protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from overlay.core.context import Context, Failure, OnFailed, Reason, Transfer
from overlay.core.message import ONE_WAY, Command, Contact, Message
from overlay.core.node import Node
from overlay.core.protocol import Answer, Protocol
from overlay.core.storage import Batch, BlobRef, Entry
from overlay.ids import Key
from overlay.sim import bodies
from overlay.sim.agenda import BUCKET_S, SimTimer

if TYPE_CHECKING:
    from overlay.sim.machine import Machine

Handlers = Mapping[type[Message], Callable[..., Answer]]
NO_HANDLERS: Handlers = {}


class _Reliable(dict[type, bool]):
    """Whether a message class is a Command; asked of the class once."""

    def __missing__(self, kind: type) -> bool:
        self[kind] = answer = issubclass(kind, Command)
        return answer


reliable = _Reliable()


class SimContext(Context):
    """Plans what a protocol does as events.

    `seats` are the contexts of the same service that a datagram reaches without further ado, by id. A node that is
    not up has no seat and no handlers. Where the network has faults or somebody observes, `seats` stays empty:
    then everything goes the long way, by `Post`.
    """

    __slots__ = ("agenda", "delays", "handlers", "heard", "machine", "protocol", "seats", "watches")

    def __init__(self, machine: Machine, node: Node, service: str, protocol: Protocol):
        world = machine.world
        super().__init__(node, service, world.seed)
        self.machine = machine
        self.protocol = protocol
        self.agenda = world.agenda
        self.delays = world.network.delays
        self.handlers = NO_HANDLERS
        # Kept here, for each object more that an event touches is a cache line.
        self.heard = bool(machine.listeners or world.observers)
        self.seats: dict[Key, SimContext] = {}
        self.watches: dict[Contact, Callable[[Contact], None]] = {}

    @property
    def now(self) -> float:
        return self.agenda.now

    @property
    def wall(self) -> float:
        return self.machine.wall_offset + self.agenda.now

    def send(self, peer: Contact, message: Message) -> None:
        # Flat on purpose: no call but the draw, and few objects touched, for it is half of what a simulation does.
        target = self.seats.get(peer.id)
        if target is None or (target.me is not peer and target.me != peer) or reliable[type(message)]:
            self.machine.transmit(self.node, peer, ONE_WAY, self.service, 0, message)
            return
        agenda = self.agenda
        time = agenda.now + next(self.delays)
        agenda.buckets[time // BUCKET_S].append((time, target, self.me, message))

    def after(self, delay_s: float, callback: Callable[..., None], *args: Any) -> SimTimer:
        agenda = self.agenda
        time = agenda.now + delay_s if delay_s > 0 else agenda.now
        timer = SimTimer(callback, args, self.machine)
        agenda.buckets[time // BUCKET_S].append((time, timer, None, None))
        return timer

    def meet(
        self, host: str, port: int, on_contact: Callable[[Contact], None], on_failed: OnFailed, *, timeout_s: float
    ) -> None:
        self.machine.meet(host, port, on_contact, on_failed, timeout_s)

    def watch(self, peer: Contact, on_down: Callable[[Contact], None]) -> None:
        self.watches[peer] = on_down
        self.machine.world.watchers[peer.address][self] = None
        self.machine.world.post.knock(self, peer)

    def unwatch(self, peer: Contact) -> None:
        if self.watches.pop(peer, None) is not None:
            self.machine.world.watchers[peer.address].pop(self, None)

    def close(self) -> None:
        for peer in tuple(self.watches):
            self.unwatch(peer)
        self.machine.unseat(self)

    def stored(self) -> Mapping[str, Entry]:
        return self.machine.was_stored.get(self.service, {})

    def persist(self, batch: Batch, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        machine, disk = self.machine, self.machine.disk
        done_at = disk.plan(self.now, machine.rng, self.service, batch)
        self.agenda.at(done_at, disk.finish, on_durable, on_failed, home=machine)

    def find_blob(self, name: str, on_found: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        disk = self.machine.disk
        body = disk.files.get(name)
        if name in disk.unreadable:
            self.after(0, on_failed, Failure(Reason.LOCAL, f"{name} cannot be read"))
        elif body is None:
            self.after(0, on_failed, Failure(Reason.NOT_THERE, f"there is no file {name}"))
        else:
            disk.offered[body.ref.sha256] = body
            self.after(body.ref.size / disk.hash_rate, on_found, body.ref)

    def make_blob(self, data: bytes, on_made: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        disk = self.machine.disk
        if disk.full:
            self.after(0, on_failed, Failure(Reason.NO_SPACE, "no space left on the disk"))
        else:
            self.after(self.machine.rng.uniform(*disk.write_s), on_made, disk.make(data))

    def read_blob(self, ref: BlobRef, on_read: Callable[[bytes], None], on_failed: OnFailed) -> None:
        body = self.machine.disk.body(ref.sha256)
        if body is None or body.ref != ref or not isinstance(body.content, bytes):
            self.after(0, on_failed, Failure(Reason.NOT_THERE, "the body is not here"))
        else:
            self.after(0, on_read, body.content)

    def fetch_blob(
        self, peer: Contact, ref: BlobRef, start: int, end: int, on_done: Callable[[], None], on_failed: OnFailed
    ) -> Transfer:
        return bodies.fetch(self.machine, peer, ref, start, end, on_done, on_failed)

    def scrub(
        self,
        on_rotten: Callable[[str, BlobRef | None], None],
        on_done: Callable[[], None],
        *,
        bytes_per_s: float,
    ) -> Callable[[], None]:
        disk = self.machine.disk

        def look() -> None:
            for key, ref in disk.scrub(self.service):
                self.after(0, on_rotten, key, ref)
            self.after(0, on_done)

        return self.after(sum(body.ref.size for body in disk.bodies.values()) / bytes_per_s, look).cancel

    def notify(self, event: msgspec.Struct) -> None:
        if self.heard:
            self.machine.notify(self.service, event)

    def record(self, what: str, **fields: Any) -> None:
        for observer in self.machine.world.observers:
            observer.recorded(self.agenda.now, self.me, self.service, what, fields)
