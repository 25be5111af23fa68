"""The classroom's ring, the same in the simulator, on threads and on asyncio."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overlay.core.pending import Pending
from overlay.peer.parts import PeerParts
from overlay.store.events import Received, Stored
from tests.conformance.test_drivers import BODY
from tests.conformance.worlds import Peer, World

RING = (2, 40, 80, 150, 220)


class Member:
    """A peer of the ring, as the scenario sees it."""

    def __init__(self, world: World, number: int):
        self.parts = PeerParts(0.5)
        self.world = world
        self.peer: Peer = world.add(number, {f"{number:04}.pdf": BODY}, protocols=self.parts.protocols())
        self.place = (self.peer.me.id, *self.peer.me.address)

    def do(self, verb: Callable[..., Pending[object]], *args: object) -> object:
        """What an operation of this peer comes to."""
        return self.world.wait(self.peer, self.world.do(self.peer, verb, *args))

    def around(self) -> tuple[int | None, ...]:
        view = self.parts.view()
        return view.second_predecessor, view.first_predecessor, view.first, view.second

    def has(self, *neighbors: int) -> Pending[object]:
        """Resolved once these are its neighbors."""
        found: Pending[object] = Pending()

        def look() -> None:
            if self.around() == neighbors:
                found.resolve(None)

        self.parts.ring.chord.on_change.append(look)
        look()
        return found


def until_right(line: Sequence[Member]) -> None:
    """Every member has its two neighbors on both sides."""
    line = sorted(line, key=lambda member: member.peer.me.id)
    ids = [int(member.peer.me.id) for member in line] * 2
    for at, member in enumerate(line):
        member.do(member.has, ids[at - 2], ids[at - 1], ids[at + 1], ids[at + 2])


def test_a_ring_forms_takes_in_heals_lets_go_and_keeps_what_it_was_given(world: World) -> None:
    ring = [Member(world, number) for number in RING]
    for at, member in enumerate(ring):
        places = [ring[(at + step) % len(ring)].place for step in (1, 2)]
        world.do(member.peer, member.parts.setup, places)
    until_right(ring)
    assert ring[0].do(ring[0].parts.records.store, "0002") == Stored("0002", 2, len(BODY))
    assert ring[0].do(ring[0].parts.records.store, "0150") == Stored("0150", 150, 0)

    newcomer = Member(world, 100)
    newcomer.do(newcomer.parts.join, ring[0].place, 20.0)
    ring.append(newcomer)
    until_right(ring)
    assert newcomer.do(newcomer.parts.records.store, "0100") == Stored("0100", 100, len(BODY))

    world.kill(ring.pop(2).peer)
    until_right(ring)
    for member in ring:
        assert member.do(member.parts.records.request, "0100") == Received("0100", len(BODY))
        assert world.file(member.peer, "received_0100.pdf") == BODY

    leaver = ring.pop()
    left: Pending[object] = Pending()
    world.do(leaver.peer, leaver.parts.leave, lambda: left.resolve(None))
    world.wait(leaver.peer, left)
    world.stop(leaver.peer)
    until_right(ring)
    assert ring[1].do(ring[1].parts.records.request, "0100") == Received("0100", len(BODY))
