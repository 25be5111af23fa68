"""The long way of a message: faults, order of commands, wrong incarnations, refused and reset connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from overlay.core.codec import Codec, DecodeError
from overlay.core.context import Failure, Reason
from overlay.core.message import CALL, ONE_WAY, REFUSAL, WIRE_VERSION, Contact, Envelope, Message, Refused
from overlay.sim.context import SimContext, reliable
from overlay.sim.world import World

if TYPE_CHECKING:
    from overlay.sim.machine import Machine

KEEPALIVE_S = 5.0
"""So often an idle connection is tried: after so long a crash behind a cut is noticed when the cut is healed."""


class Letter:
    """A message on its way."""

    __slots__ = ("data", "kind", "message", "number", "peer", "sender", "service")

    def __init__(self, sender: Contact, peer: Contact, kind: int, service: str, number: int, message: Message):
        self.sender = sender
        self.peer = peer
        self.kind = kind
        self.service = service
        self.number = number
        self.message = message
        self.data: bytes | None = None


class Post:
    """Carries letters from machine to machine."""

    __slots__ = ("_codecs", "_counter", "_encode", "world")

    def __init__(self, world: World, encode: bool):
        self.world = world
        self._encode = encode
        self._codecs: dict[tuple[type[Message], ...], Codec] = {}
        self._counter = 0

    # Messages ------------------------------------------------------------------------------------------------

    def send(self, machine: Machine, peer: Contact, kind: int, service: str, number: int, message: Message) -> None:
        """Carry a message to whoever is there when it arrives."""
        world = self.world
        agenda = world.agenda
        for observer in world.observers:
            observer.sent(agenda.now, machine.me, peer, kind, service, message)
        is_command = reliable[type(message)]
        delays = world.network.copies(machine.me, peer, is_command)
        if not delays:
            world.dropped(peer, machine.me, "lost")
            return
        if kind == ONE_WAY and not is_command and world.direct:
            context = world.seats[service].get(peer.id)
            if context is not None and context.me == peer:
                for delay in delays:
                    agenda.put((agenda.now + delay, context, machine.me, message))
                return
        letter = Letter(machine.me, peer, kind, service, number, message)
        if self._encode:
            letter.data = self._encoded(machine, letter)
        for delay in delays:
            time = agenda.now + delay
            if is_command:
                time = machine.arrivals[peer.address] = max(time, machine.arrivals.get(peer.address, 0.0))
            agenda.at(time, self._arrive, machine, letter)

    def _arrive(self, source: Machine, letter: Letter) -> None:
        world, peer = self.world, letter.peer
        machine = world.places.get(peer.address)
        if machine is None:
            world.dropped(peer, letter.sender, "nobody is there")
            if letter.kind == CALL and reliable[type(letter.message)] and world.network.passes(peer, letter.sender):
                failure = Failure(Reason.UNREACHABLE, "refused", unsent=True)
                source.later(0, source.node.call_failed, letter.number, failure)
        elif not machine.up:
            machine.hold((world.agenda.now, world.agenda.timer(self._arrive, source, letter), None, None))
        elif machine.me.id != peer.id or peer.boot not in (0, machine.me.boot):
            world.dropped(machine.me, letter.sender, "meant for another incarnation")
            if letter.kind == CALL:
                self._return(source, letter, "this peer lives in another incarnation")
        else:
            self._deliver(machine, source, letter)

    def _deliver(self, machine: Machine, source: Machine, letter: Letter) -> None:
        sender, message = letter.sender, letter.message
        if letter.data is not None:
            try:
                envelope = self._codec(machine).decode(letter.data)
            except DecodeError:
                self.world.dropped(machine.me, sender, "cannot be decoded")
                if letter.kind == CALL:
                    self._return(source, letter, f"{type(message).__name__} is not spoken here")
                return
            sender, message = envelope.sender, envelope.body
        for observer in self.world.observers:
            observer.delivered(self.world.agenda.now, machine.me, sender, letter.kind, letter.service, message)
        machine.node.receive(letter.kind, letter.service, sender, letter.number, message)

    def _return(self, source: Machine, letter: Letter, why: str) -> None:
        """Refuse a call in the name of the contact that was called, for its asker waits for no other."""
        for delay in self.world.network.copies(letter.peer, letter.sender, True):
            arguments = (REFUSAL, letter.service, letter.peer, letter.number, Refused(why))
            source.later(delay, source.node.receive, *arguments)

    def _codec(self, machine: Machine) -> Codec:
        spoken = tuple(dict.fromkeys(machine.node.messages()))
        codec = self._codecs.get(spoken)
        if codec is None:
            codec = self._codecs[spoken] = Codec(spoken)
        return codec

    def _encoded(self, machine: Machine, letter: Letter) -> bytes:
        self._counter += 1
        return self._codec(machine).encode(
            Envelope(
                WIRE_VERSION,
                letter.kind,
                letter.sender,
                letter.peer.id,
                letter.peer.boot,
                letter.service,
                letter.number,
                self._counter,
                letter.message,
            )
        )

    # Connections ---------------------------------------------------------------------------------------------

    def lives(self, peer: Contact) -> bool:
        """Whether this incarnation of a peer is alive."""
        machine = self.world.places.get(peer.address)
        return machine is not None and machine.me.id == peer.id and peer.boot in (0, machine.me.boot)

    def knock(self, context: SimContext, peer: Contact) -> None:
        """Open the connection of a watch; its owner hears where it is refused."""
        context.machine.later(self.world.network.draw(), self._look, context, peer, context.watches[peer])

    def _look(self, context: SimContext, peer: Contact, on_down: Callable[[Contact], None]) -> None:
        """See whether a watched peer lives, again and again while the way is cut."""
        passes = self.world.network.passes
        if not passes(context.me, peer) or not passes(peer, context.me):
            if context.watches.get(peer) is on_down:
                context.machine.later(KEEPALIVE_S, self._look, context, peer, on_down)
        elif not self.lives(peer):
            _went_down(context, peer, on_down)

    def reset(self, gone: Machine) -> None:
        """Every connection of a machine breaks, and whoever has one hears of it; through a cut, once it is healed."""
        world = self.world
        for context in world.watchers.pop(gone.me.address, {}):
            machine = context.machine
            passes = world.network.passes(gone.me, machine.me)
            for peer, on_down in context.watches.items():
                if peer.address != gone.me.address:
                    continue
                if not peer.is_same_peer(gone.me):
                    world.watchers[peer.address][context] = None
                elif passes:
                    machine.later(world.network.draw(), _went_down, context, peer, on_down)
                else:
                    machine.later(KEEPALIVE_S, self._look, context, peer, on_down)
        for machine in world.places.values():
            if machine.node.calls and world.network.passes(gone.me, machine.me):
                for number, call in machine.node.calls.items():
                    if call.peer.is_same_peer(gone.me):
                        failure = Failure(Reason.UNREACHABLE, "the connection was reset")
                        machine.later(world.network.draw(), machine.node.call_failed, number, failure)

    def ask(self, machine: Machine, address: tuple[str, int], found: Callable[[Contact | None], None]) -> None:
        """Who lives at an address: the contact, None when nobody does, and no answer at all when it is silent."""
        network = self.world.network
        there = Contact(machine.me.id, *address)
        if network.passes(machine.me, there):
            self.world.agenda.at(self.world.agenda.now + network.draw(), self._asked, machine, there, found)

    def _asked(self, asker: Machine, there: Contact, found: Callable[[Contact | None], None]) -> None:
        machine = self.world.places.get(there.address)
        if machine is not None and not machine.up:
            again = self.world.agenda.timer(self._asked, asker, there, found)
            machine.hold((self.world.agenda.now, again, None, None))
        elif self.world.network.passes(there, asker.me):
            asker.later(self.world.network.draw(), found, None if machine is None else machine.me)


def _went_down(context: SimContext, peer: Contact, on_down: Callable[[Contact], None]) -> None:
    if context.watches.get(peer) is on_down:
        context.unwatch(peer)
        on_down(peer)
