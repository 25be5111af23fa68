"""Key-based routing, what an overlay owes an application (Dabek et al. 2003; K1 and K2), on all drivers."""

from __future__ import annotations

import itertools

import pytest

from overlay.core.message import Command, Contact, Message
from overlay.core.pending import Pending
from overlay.kbr import Pass, Route, Stop
from overlay.ring.fingers import FingerConfig
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from tests.conformance.worlds import Peer, World

NUMBERS = range(0, 256, 32)


class Word(Command, frozen=True):
    text: str


class Probe:
    """An application that writes down its upcalls."""

    name = "probe"
    messages: tuple[type[Message], ...] = (Word,)

    def __init__(self, me: int):
        self.me = me
        self.forwarded: list[int] = []
        self.delivered: list[str] = []
        self.neighbors: list[tuple[int, bool]] = []
        self.verdict: Stop | Contact | None = None

    def forward(self, key: int, message: Message, next_hop: Contact) -> Pass | Stop:
        self.forwarded.append(int(next_hop.id))
        return self.verdict if isinstance(self.verdict, Stop) else Pass(self.verdict or next_hop)

    def deliver(self, message: Message, route: Route) -> Message:
        assert isinstance(message, Word)
        self.delivered.append(message.text)
        return Word(f"{message.text} at {self.me}")

    def update(self, neighbor: Contact, joined: bool) -> None:
        self.neighbors.append((int(neighbor.id), joined))


class Member:
    """A peer of the ring."""

    def __init__(self, world: World, number: int):
        self.parts = RingParts(0.5, RingConfig(successors=4), fingers=FingerConfig(fix_s=0.5))
        self.probe = Probe(number)
        self.parts.router.register(self.probe)
        self.peer: Peer = world.add(number, protocols=self.parts.protocols())

    def until(self, right: object) -> Pending[None]:
        """Resolved once a predicate, asked again and again, holds."""
        found: Pending[None] = Pending()

        def look() -> None:
            if right():  # type: ignore[operator]
                found.resolve(None)
            else:
                self.parts.chord.ctx.after(0.05, look)

        look()
        return found


class Ring:
    """Eight peers with fingers, which came in one by one."""

    def __init__(self, world: World):
        self.world = world
        self.members: dict[int, Member] = {}
        for number in NUMBERS:
            member = self.members[number] = Member(world, number)
            if number:
                first = self.members[0].peer.me
                world.wait(
                    member.peer, world.do(member.peer, member.parts.admission.join, first.host, first.port, 20.0)
                )
            else:
                world.do(member.peer, lambda chord=member.parts.chord: chord.begin([], awaited=False))
        for number, member in self.members.items():
            ahead = [(number + 32 * step) % 256 for step in (1, 2, 3, 4)]
            self.wait(member, lambda m=member, a=ahead: [c.id for c in m.parts.chord.successors] == a)
        self.wait(self.members[0], lambda: 128 in [c.id for c in self.members[0].parts.fingers.line])  # type: ignore[union-attr]

    def wait(self, member: Member, right: object) -> None:
        self.world.wait(member.peer, self.world.do(member.peer, member.until, right))

    def me(self, number: int) -> Contact:
        return self.members[number].peer.me

    def route(self, start: int, key: int, hint: int | None = None) -> tuple[str, tuple[int, ...]]:
        member = self.members[start]
        there = None if hint is None else self.me(hint)
        pending = self.world.do(member.peer, lambda: member.parts.router.route("probe", key, Word("word"), hint=there))
        answered = self.world.wait(member.peer, pending)
        assert isinstance(answered.answer, Word)
        return answered.answer.text, tuple(int(number) for number in answered.path)


@pytest.fixture
def ring(world: World) -> Ring:
    return Ring(world)


def test_k1_delivered_once_at_the_root_by_way_of_hint_redirection_and_stop(ring: Ring) -> None:
    probes = {number: member.probe for number, member in ring.members.items()}
    answer, path = ring.route(0, 170)
    assert answer == "word at 192"
    assert path[0] == 0 and path[-1] == 192 and len(path) <= 4
    assert {number: probe.delivered for number, probe in probes.items() if probe.delivered} == {192: ["word"]}
    assert [probes[hop].forwarded for hop in path[:-1]] == [[after] for after in path[1:]]

    assert ring.route(0, 170, hint=32)[1][:2] == (0, 32)
    probes[0].verdict = ring.me(64)
    assert ring.route(0, 170)[1][:2] == (0, 64)
    assert probes[192].delivered == ["word"] * 3
    probes[0].verdict = Stop("not this way")
    with pytest.raises(Exception, match="not this way"):
        ring.route(0, 170)


def test_k2_when_the_first_of_a_replica_set_die_the_next_is_the_root(ring: Ring) -> None:
    before = ring.members[160]
    replicas = ring.world.do(before.peer, before.parts.router.replica_set, 170, 3)
    assert [replica.id for replica in replicas] == [192, 224, 0]
    local = ring.world.do(before.peer, before.parts.router.local_lookup, 170, 2)
    assert [hop.id for hop in local] == [192, 224]
    for dead, heir in itertools.pairwise(replicas):
        ring.world.kill(ring.members[int(dead.id)].peer)
        there = ring.members[int(heir.id)]
        ring.wait(there, lambda there=there: there.parts.router.range() == (160, int(there.peer.me.id)))
        assert ring.route(32, 170)[0] == f"word at {heir.id}"
    assert (192, False) in before.probe.neighbors
