"""A hundred nodes: every broadcast reaches all, with a tenth of the datagrams lost, and again after 30 % were killed at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from overlay import get_dissemination_service, join_network
from overlay.gossip.base import Service
from overlay.gossip.membership.hyparview import HyParView
from overlay.gossip.membership.peer_sampling import PeerSampling
from overlay.live.traffic import Traffic
from overlay.peer.unstructured import simulated
from overlay.peer.unstructured.aio import Dissemination, Membership
from overlay.sim import Network
from overlay.sim.faults import Faults
from tests.gossip.test_programs import LOCAL, both_editions, until

NODES = 100
ROUNDS = 10
PATIENCE_S = 200.0
CALM = {True: {"gossiping_frequency": 1.0}, False: {}}
"""A hundred nodes share what a busy machine has left: Newscast takes its time."""


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of all datagrams does not arrive."""
    chance, receive = random.Random(7), Traffic.received_datagram

    def received_datagram(self: Traffic, data: bytes) -> None:
        if chance.random() >= 0.1:
            receive(self, data)

    monkeypatch.setattr(Traffic, "received_datagram", received_datagram)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Counter[Service]:
    """How often each node has begun an exchange of views: a busy machine has fewer rounds, not other ones."""
    count: Counter[Service] = Counter()

    def count_of(act: Callable[[Any], None]) -> Callable[[Any], None]:
        def counted(self: Service) -> None:
            count[self] += 1
            act(self)

        return counted

    monkeypatch.setattr(PeerSampling, "gossip", count_of(PeerSampling.gossip))
    monkeypatch.setattr(HyParView, "shuffle", count_of(HyParView.shuffle))
    return count


class Hundred:
    """The nodes, each with both of its edition's services, and what was heard."""

    def __init__(self) -> None:
        self.networks: list[Membership] = []
        self.services: list[tuple[Dissemination, Dissemination]] = []
        self.heard: list[tuple[set[bytes], set[bytes]]] = []
        self.alive = list(range(NODES))

    async def begin(self, is_extreme: bool) -> None:
        """Everybody is in, and known."""
        for _ in self.alive:
            first = [self.networks[0].my_node] if self.networks else []
            network = await join_network(LOCAL, "n", first, is_extreme, **CALM[is_extreme])
            many, one = set[bytes](), set[bytes]()
            self.networks.append(network)
            self.heard.append((many, one))
            self.services.append(
                (
                    await get_dissemination_service(network, "many", broadcast_handler=many.add),
                    await get_dissemination_service(network, "one", many_to_many=False, broadcast_handler=one.add),
                )
            )
        # Newscast: whoever has just come is known to one, and to more when it has exchanged views.
        await until(lambda: all(count >= 1 + 4 * is_extreme for count in self.known().values()))

    def known(self) -> Counter[Any]:
        """How many know each of those that live."""
        links = Counter(node for number in self.alive for node in self.networks[number].get_neighbours())
        return Counter({number: links[self.networks[number].my_node] for number in self.alive})

    async def reaches_all(self, data: bytes, *kinds: int) -> None:
        """A broadcast from somebody, many-to-many (0), one-to-many (1)."""
        source = self.alive[data[0] % len(self.alive)]
        for kind in kinds:
            await self.services[source][kind].broadcast(data)
        others = [self.heard[number] for number in self.alive if number != source]
        await until(lambda: all(data in both[kind] for both in others for kind in kinds))

    def kill(self, count: int) -> set[Any]:
        """So many at once."""
        dead = set(random.Random(3).sample(self.alive, count))
        self.alive = [number for number in self.alive if number not in dead]
        for number in dead:
            self.networks[number]._home.driver.kill()
        return {self.networks[number].my_node for number in dead}


@pytest.mark.timeout(PATIENCE_S + 20)
@pytest.mark.usefixtures("lossy")
@both_editions
def test_every_broadcast_reaches_all_and_a_massacre_is_overcome_in_ten_rounds(
    is_extreme: bool, rounds: Counter[Service]
) -> None:
    async def main() -> None:
        nodes = Hundred()
        await nodes.begin(is_extreme)
        for number in range(5):
            await nodes.reaches_all(bytes((number * 17,)), 0, 1)
        rounds.clear()
        gone = nodes.kill(NODES * 3 // 10)
        await nodes.reaches_all(b"x", 0)
        await until(lambda: not any(gone & set(nodes.networks[number].get_neighbours()) for number in nodes.alive))
        assert max(rounds.values(), default=0) <= ROUNDS
        for number in range(3):
            await nodes.reaches_all(bytes((200 + number,)), 0, 1)
        for number in nodes.alive:
            await nodes.networks[number].leave()

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


@pytest.mark.parametrize("many_to_many", [True, False], ids=["many", "one"])
@both_editions
def test_every_broadcast_in_virtual_time_also_right_after_a_massacre(is_extreme: bool, many_to_many: bool) -> None:
    world = simulated.World(5, Faults(Network(), loss=0.1))
    heard: list[list[bytes]] = [[] for _ in range(NODES)]
    networks, services = [], []
    for number in range(NODES):
        first = [networks[0].my_node] if networks else []
        networks.append(world.join_network(("10.0.0.1", 4000 + number), "n", first, is_extreme))
        handler = heard[number].append
        services.append(
            world.get_dissemination_service(networks[-1], "s", many_to_many=many_to_many, broadcast_handler=handler)
        )
    world.run_for(5)
    alive = list(range(NODES))

    def reaches_all(data: bytes) -> None:
        source = alive[data[0] % len(alive)]
        services[source].broadcast(data)
        for _ in range(20):
            world.run_for(0.5)
            if all(data in heard[number] for number in alive if number != source):
                break
        assert all(heard[number].count(data) == (number != source) for number in alive)

    for number in range(3):
        reaches_all(bytes((number * 31,)))
    dead = set(random.Random(3).sample(alive, NODES * 3 // 10))
    alive = [number for number in alive if number not in dead]
    for number in dead:
        world.sim.crash(networks[number]._home.node)
    killed_at = world.sim.now
    # Links and trees still lead to the dead.
    reaches_all(b"x")
    world.run_for(max(0, killed_at + ROUNDS * (0.2 if is_extreme else 1.0) - world.sim.now))
    gone = {networks[number].my_node for number in dead}
    assert not any(gone & set(networks[number].get_neighbours()) for number in alive)
    for number in range(3):
        reaches_all(bytes((number * 37 + 100,)))
