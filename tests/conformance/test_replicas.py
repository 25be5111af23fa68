"""The replicated store, the same in the simulator, on threads and on asyncio."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from overlay.core.pending import Pending
from overlay.peer.parts import PeerParts
from overlay.store.replicated.config import Acked, Got, NotFound, ReplicasConfig
from overlay.store.replicated.replicas import Replicas
from tests.conformance.worlds import Peer, World

CONFIG = ReplicasConfig(sync_s=1.0)


class Keeper:
    """A peer with a store, as the scenario sees it."""

    def __init__(self, world: World, number: int):
        self.parts = PeerParts(0.5, store=CONFIG)
        self.world = world
        self.peer: Peer = world.add(number, protocols=self.parts.protocols())
        self.place = (self.peer.me.id, *self.peer.me.address)

    @property
    def store(self) -> Replicas:
        assert self.parts.replicas is not None
        return self.parts.replicas

    def do(self, verb: Callable[..., Pending[object]], *args: object) -> object:
        """What an operation of this peer comes to."""
        return self.world.wait(self.peer, self.world.do(self.peer, verb, *args))

    def is_complete(self, members: int) -> Pending[object]:
        """Resolved once it sees so many others, and all that it is responsible for is where it belongs."""
        done: Pending[object] = Pending()

        def look() -> None:
            others = self.parts.ring.router.neighbor_set()
            if len(others) == members and self.store.status().complete:
                done.resolve(None)
            else:
                self.store.ctx.after(0.1, look)

        look()
        return done


def until_complete(ring: Sequence[Keeper]) -> None:
    for keeper in ring:
        keeper.do(keeper.is_complete, len(ring) - 1)


def test_what_was_put_is_read_everywhere_whoever_dies_or_leaves(world: World) -> None:
    ring = [Keeper(world, number) for number in (2, 60, 120, 180, 240)]
    for at, keeper in enumerate(ring):
        world.do(keeper.peer, keeper.parts.setup, [ring[(at + step) % len(ring)].place for step in (1, 2)])
    until_complete(ring)

    values = {f"name {number}": b"value %d" % number * 100 for number in range(11)}
    values["long"] = bytes(range(256)) * 3000
    for at, (name, value) in enumerate(values.items()):
        acked = ring[at % 5].do(ring[at % 5].store.put, name, value)
        assert isinstance(acked, Acked)
        assert acked.copies == 3
    first = ring[0].do(ring[0].store.get, "name 3")
    assert isinstance(first, Got)
    second = ring[4].do(ring[4].store.put, "name 3", b"second")
    assert isinstance(second, Acked)
    assert second.version > first.version
    values["name 3"] = b"second"
    ring[1].do(ring[1].store.delete, "name 4")
    del values["name 4"]
    until_complete(ring)

    world.kill(ring.pop(1).peer)
    until_complete(ring)
    leaver = ring.pop(2)
    left: Pending[object] = Pending()
    world.do(leaver.peer, leaver.parts.leave, lambda: left.resolve(None), 30.0)
    world.wait(leaver.peer, left)
    assert leaver.store.left_behind() == 0
    world.stop(leaver.peer)
    until_complete(ring)

    assert [world.do(keeper.peer, keeper.store.status).keys for keeper in ring] == [12, 12, 12]
    listed = {listed.name.decode() for keeper in ring for listed in world.do(keeper.peer, keeper.store.list)}
    assert listed == set(values)
    for keeper in ring:
        for name, value in values.items():
            got = keeper.do(keeper.store.get, name)
            assert isinstance(got, Got)
            assert got.value == value
        with pytest.raises(NotFound):
            keeper.do(keeper.store.get, "name 4")
