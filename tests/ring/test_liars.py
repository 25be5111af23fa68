"""Forged messages move no pointer and take no life (HOSTILE.md, row 7), whoever they claim to be from.

Forged answers are the live drivers' to refuse: one is taken only on the way that its question went (tests/live).
"""

from __future__ import annotations

import random

import msgspec
import pytest

from overlay.core.codec import pack
from overlay.core.message import CALL, ONE_WAY, Contact, Message
from overlay.ids import Key
from overlay.ring.events import DepartureReceived, JoinAccepted, PeerDied, SuccessorsChanged
from overlay.ring.messages import (
    Admit,
    Alive,
    Answer,
    Ask,
    Depart,
    Forward,
    Join,
    JoinRequest,
    Meet,
    Neighbors,
    Ping,
    Pong,
    SuccessorChange,
)
from overlay.store.messages import Durable, Fetched, Have, Version
from tests.rings import EXAMPLE, SimRing

SERVICES = {
    "pings": (Ping, Pong, Alive),
    "ring": (Ask, SuccessorChange, Depart),
    "join": (Admit, JoinRequest),
    "route": (Forward, Answer),
    "records": (Durable, Fetched, Have),
}


class Liar:
    """Invents messages from all sorts of senders, about all sorts of peers."""

    def __init__(self, ring: SimRing, seed: int):
        self.ring = ring
        self.rng = random.Random(seed)
        self.members = [peer.contact for peer in ring.live()]

    def contact(self) -> Contact:
        """A member, a member in another life or at another address, or nobody at all."""
        member = self.rng.choice(self.members)
        number = self.rng.randrange(256)
        nobody = Contact(Key(number), "127.0.0.66", 12000 + number, self.rng.choice((0, 1, 99)))
        return self.rng.choice(
            (
                member,
                nobody,
                msgspec.structs.replace(member, boot=0),
                msgspec.structs.replace(member, boot=member.boot + 1),
                msgspec.structs.replace(member, host="127.0.0.66"),
                msgspec.structs.replace(member, id=Key(number)),
            )
        )

    def contacts(self) -> tuple[Contact, ...]:
        return tuple(self.contact() for _ in range(self.rng.randrange(4)))

    def message(self, kind: type[Message]) -> Message:
        number, key = self.rng.choice((0, 1, 2, 3, 1 << 40)), Key(self.rng.randrange(256))
        picture = Neighbors(self.contacts(), self.contacts(), self.rng.random() < 0.8, self.rng.random() < 0.3)
        made: dict[type[Message], Message] = {
            Ping: Ping(number, self.rng.randrange(3), number, number),
            Pong: Pong(number, self.rng.randrange(3), number, number, picture),
            Admit: Admit(number, self.contacts(), self.contacts()),
            JoinRequest: JoinRequest(self.contact(), number),
            Forward: Forward(
                number,
                1,
                key,
                self.rng.random() < 0.5,
                self.rng.random() < 0.5,
                "ring",
                self.contact(),
                (key,) * self.rng.randrange(3),
                pack(self.rng.choice((Join(self.contact(), number), Meet(self.contact()), Depart()))),
            ),
            Answer: Answer(number, (key,), pack(Depart())),
            Durable: Durable("2067", Version(number)),
            Fetched: Fetched("2067"),
            Have: Have("2067"),
        }
        return made[kind] if kind in made else kind()

    def lie(self) -> None:
        """One forged message, to one member."""
        service = self.rng.choice(list(SERVICES))
        kind = self.rng.choice(SERVICES[service])
        sender, victim = self.contact(), self.rng.choice(self.members)
        node = self.ring.sim.nodes[victim]
        shape = self.rng.choice((CALL, ONE_WAY))
        node.receive(shape, service, sender, self.rng.randrange(100), self.message(kind))


@pytest.mark.parametrize("seed", range(4))
def test_forged_messages_move_no_pointer(seed: int) -> None:
    ring = SimRing(seed)
    ring.form(EXAMPLE)
    ring.sim.run_for(10)
    liar = Liar(ring, seed)
    ring.sim.run_until(ring.peers[8].records.store("2067"), 10)
    for peer in ring.live():
        peer.events.clear()
    before = [(p.id, p.parts.chord.shown, p.parts.chord.before) for p in ring.live()]
    for _ in range(600):
        ring.sim.call_soon(liar.lie)
        ring.sim.run_for(0.1)
        assert [(p.id, p.parts.chord.shown, p.parts.chord.before) for p in ring.live()] == before
    ring.sim.run_for(60)
    assert [(p.id, p.parts.chord.shown, p.parts.chord.before) for p in ring.live()] == before
    told = [
        e
        for p in ring.live()
        for k in (PeerDied, DepartureReceived, SuccessorsChanged, JoinAccepted)
        for e in p.told(k)
    ]
    assert not told
    assert ring.sim.run_until(ring.peers[2].records.request("2067"), 30)
