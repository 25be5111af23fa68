"""A Machine: what one simulated node runs on. It is the node's Host, and may be paused, stopped or crash."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from overlay.core.context import Failure, OnFailed, Reason
from overlay.core.message import ONE_WAY, Contact, Message
from overlay.core.node import Node
from overlay.core.storage import Entry
from overlay.sim.agenda import Event, Home, SimTimer
from overlay.sim.context import NO_HANDLERS, SimContext
from overlay.sim.disk import Disk
from overlay.sim.world import World

WALL_START_S = 1_700_000_000
WALL_SKEW_S = 5.0
"""Wall clocks are wrong by up to so much, in either direction."""


class Machine(Home):
    """Alive from start to stop or crash; up while it is alive and not paused."""

    __slots__ = (
        "_rng", "alive", "arrivals", "contexts", "disk", "held", "listeners", "me", "node", "over",
        "wall_offset", "was_stored", "world",
    )  # fmt: skip

    def __init__(self, world: World, me: Contact, disk: Disk):
        super().__init__(up=False)
        self.world = world
        self.me = me
        self.disk = disk
        self.alive = False
        self.over = False
        self.contexts: list[SimContext] = []
        self.held: list[Event] = []
        self.arrivals: dict[tuple[str, int], float] = {}
        """When the last command to an address arrives there; none overtakes it."""
        self.listeners: list[Callable[[msgspec.Struct], None]] = []
        self.was_stored: Mapping[str, Mapping[str, Entry]] = {}
        self._rng: random.Random | None = None
        skew = random.Random(f"{world.seed}/wall/{me.host}:{me.port}").uniform(-WALL_SKEW_S, WALL_SKEW_S)
        self.wall_offset = WALL_START_S + skew
        self.node = Node(me, self)

    @property
    def rng(self) -> random.Random:
        """The disk's chances; made on first use, for a stream takes 2.5 KiB, and there may be a million machines."""
        if self._rng is None:
            self._rng = random.Random(f"{self.world.seed}/machine/{self.me.host}:{self.me.port}/{self.me.boot}")
        return self._rng

    # Its life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Power on, and start the node."""
        self.disk.begin()
        self.was_stored = {service: self.disk.stored(service) for service in self.disk.entries}
        self.alive = True
        self.world.places[self.me.address] = self
        self._set_up(True)
        self.node.start()

    def pause(self) -> None:
        """Like SIGSTOP: nothing runs here, and what comes waits."""
        if self.alive:
            self._set_up(False)

    def resume(self) -> None:
        """Everything that waited happens now, in its order."""
        if self.alive and not self.up:
            self._set_up(True)
            held, self.held = self.held, []
            for _, *what in held:
                self.world.agenda.put((self.world.agenda.now, *what))

    def stop(self) -> None:
        """A clean end: the node says goodbye, and what it had begun to write is written."""
        self.node.stop()
        self.disk.flush()
        self._end()

    def crash(self) -> None:
        """Gone between two events, with everything that is not durable."""
        self.disk.crash(self.rng)
        self._end()

    def _end(self) -> None:
        self._set_up(False)
        self.alive = False
        self.over = True
        self.node.running = False
        self.held.clear()
        del self.world.places[self.me.address]
        for context in self.contexts:
            for peer in tuple(context.watches):
                context.unwatch(peer)
        self.world.post.reset(self)

    def _set_up(self, up: bool) -> None:
        self.up = up
        for context in self.contexts:
            self._seat(context)

    def unseat(self, context: SimContext) -> None:
        """A protocol was taken out of the node: nothing reaches it any more."""
        self.contexts.remove(context)
        context.handlers, context.seats = NO_HANDLERS, {}
        seats = self.world.seats[context.service]
        if seats.get(self.me.id) is context:
            del seats[self.me.id]

    def _seat(self, context: SimContext) -> None:
        context.handlers = context.protocol.handlers if self.up else NO_HANDLERS
        seats = self.world.seats[context.service]
        # Boot 0 has no seat: what is sent to it may be meant for the next incarnation.
        if self.up and self.world.direct and self.me.boot:
            context.seats = seats if self.world.network.plain else {}
            seats[self.me.id] = context
        else:
            context.seats = {}
            if seats.get(self.me.id) is context:
                del seats[self.me.id]

    # The node's host -----------------------------------------------------------------------------------------

    def context(self, node: Node, service: str) -> SimContext:
        context = SimContext(self, node, service, node.protocols[service])
        self.contexts.append(context)
        self._seat(context)
        return context

    def transmit(self, node: Node, peer: Contact, kind: int, service: str, number: int, message: Message) -> None:
        if self.alive:
            self.world.post.send(self, peer, kind, service, number, message)

    def after(self, node: Node, delay_s: float, callback: Callable[..., None], args: tuple[Any, ...]) -> SimTimer:
        return self.later(delay_s, callback, *args)

    def dropped(self, node: Node, why: str, sender: Contact | None) -> None:
        self.world.dropped(self.me, sender, why)

    # Events that are not simply a handler --------------------------------------------------------------------

    def later(self, delay_s: float, callback: Callable[..., None], *args: Any) -> SimTimer:
        """Call back here, unless this machine is gone by then."""
        agenda = self.world.agenda
        return agenda.at(agenda.now + delay_s, callback, *args, home=self)

    def hold(self, event: Event) -> None:
        if self.alive:
            self.held.append(event)

    def unheard(self, context: SimContext, sender: Contact, message: Message) -> None:
        if self.up:
            self.node.receive(ONE_WAY, context.service, sender, 0, message)
        elif self.alive:
            self.held.append((self.world.agenda.now, context, sender, message))
        else:
            self.world.dropped(self.me, sender, "nobody is there")

    def answer(self, context: SimContext, peer: Contact, answer: object) -> None:
        if isinstance(answer, Message):
            context.send(peer, answer)

    def listen(self, *listeners: Callable[[msgspec.Struct], None]) -> None:
        """Have these told of what the node's protocols notify."""
        self.listeners += listeners
        for context in self.contexts:
            context.heard = bool(self.listeners or self.world.observers)

    def notify(self, service: str, event: msgspec.Struct) -> None:
        """Tell observers now, and listeners when the handler has returned."""
        for observer in self.world.observers:
            observer.notified(self.world.agenda.now, self.me, service, event)
        for listener in self.listeners:
            self.later(0, listener, event)

    def meet(
        self, host: str, port: int, on_contact: Callable[[Contact], None], on_failed: OnFailed, timeout_s: float
    ) -> None:
        """Ask who lives at an address; one of the two callbacks is called, once."""
        patience = self.later(timeout_s, on_failed, Failure(Reason.TIMEOUT))

        def settle(callback: Callable[[Any], None], outcome: object) -> None:
            if patience.active:
                patience.cancel()
                callback(outcome)

        def found(contact: Contact | None) -> None:
            if contact is None:
                settle(on_failed, Failure(Reason.UNREACHABLE, f"nobody answers at {host}:{port}"))
            else:
                settle(on_contact, contact)

        self.world.post.ask(self, (host, port), found)
