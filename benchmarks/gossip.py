"""A hundred nodes of an unstructured network on real sockets in this process: broadcasts, a massacre, and what rest costs."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import fmean, median, pstdev

from benchmarks.figures import Figure
from benchmarks.rings import bare_datagram_s, resident_kib
from overlay.core.message import Contact, Message
from overlay.core.trace import Observer
from overlay.gossip.detection.swim import Swim
from overlay.live.aio import AsyncioDriver
from overlay.peer.unstructured.aio import Dissemination, Membership, get_dissemination_service, join_network
from overlay.peer.unstructured.common import NoDisk, id_of

HOST = "127.0.0.1"
LOOK_S = 0.005
PATIENCE_S = 20.0
BROADCASTS = 20
KINDS = {(True, True): "lpbcast", (True, False): "MON", (False, True): "Plumtree", (False, False): "Brisa"}
BEAT = {"Plumtree": ("28 ms", "9"), "MON": ("", "27")}
AFTER_DEATHS = {"Plumtree": ("80", "36"), "Brisa": ("62", "61")}
DIGESTS_S = 14.0
ROUNDS_S, LATER_S = 5.0, 16.0
"""As UnsServ was measured: what was delivered in five rounds right after deaths, and 16 s later."""


class Sent(Observer):
    """Counts messages by the kind of service that sent them."""

    def __init__(self) -> None:
        self.by: Counter[str] = Counter()

    def sent(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        self.by[service.partition("/")[0]] += 1


class Crowd:
    """The nodes, and when each heard what."""

    def __init__(self) -> None:
        self.networks: list[Membership] = []
        self.services: list[Dissemination] = []
        self.heard: list[dict[bytes, float]] = []
        self.sent = Sent()
        self.alive: list[int] = []

    async def broadcast(self, data: bytes, patience_s: float = PATIENCE_S) -> tuple[float, float]:
        """One, from somebody: the share of the others that it reached, and after how many seconds the last."""
        source = self.alive[data[0] * 7 % len(self.alive)]
        others = [number for number in self.alive if number != source]
        began = time.perf_counter()
        await self.services[source].broadcast(data)
        while time.perf_counter() - began < patience_s and not all(data in self.heard[other] for other in others):
            await asyncio.sleep(LOOK_S)
        times = [self.heard[other][data] - began for other in others if data in self.heard[other]]
        return len(times) / len(others), max(times, default=0.0)


@asynccontextmanager
async def crowd(count: int, *, is_extreme: bool, many_to_many: bool) -> AsyncIterator[Crowd]:
    """So many nodes in one network, that have had a few seconds."""
    nodes = Crowd()
    for number in range(count):
        first = [nodes.networks[0].my_node] if nodes.networks else []
        network = await join_network((HOST, 0), "bench", first, is_extreme, observers=[nodes.sent])
        nodes.networks.append(network)
        heard: dict[bytes, float] = {}
        nodes.heard.append(heard)
        nodes.services.append(
            await get_dissemination_service(
                network,
                "bench",
                many_to_many=many_to_many,
                broadcast_handler=lambda data, heard=heard: heard.setdefault(data, time.perf_counter()),
            )
        )
        nodes.alive.append(number)
    await asyncio.sleep(5)
    try:
        yield nodes
    finally:
        for number in nodes.alive:
            await nodes.networks[number].leave()


async def broadcasts(is_extreme: bool, many_to_many: bool, count: int) -> list[Figure]:
    """Broadcasts of a few bytes, then a fifth of the nodes is killed."""
    kind = KINDS[is_extreme, many_to_many]
    async with crowd(count, is_extreme=is_extreme, many_to_many=many_to_many) as nodes:
        # A tree is made by its first broadcasts.
        for number in range(5):
            await nodes.broadcast(bytes((number, 0)))
        before = nodes.sent.by[kind.lower()]
        results = [await nodes.broadcast(bytes((number, 1))) for number in range(BROADCASTS)]
        # Digests go on for a while after everybody has heard.
        await asyncio.sleep(DIGESTS_S)
        each = (nodes.sent.by[kind.lower()] - before) / BROADCASTS / count
        kill(nodes, count // 5)
        after = [(await nodes.broadcast(bytes((number, 2)), ROUNDS_S))[0] for number in range(5)]
        await asyncio.sleep(LATER_S)
        later = [(await nodes.broadcast(bytes((number, 3)), ROUNDS_S))[0] for number in range(5)]
    last, datagrams = BEAT.get(kind, ("", ""))
    at_once, in_time = AFTER_DEATHS.get(kind, ("", ""))
    return [
        Figure(f"{kind}: last receipt", 1000 * median(took for _, took in results), "ms", beat=last),
        Figure(f"{kind}: reached", 100 * fmean(share for share, _ in results), "%"),
        Figure(f"{kind}: messages of a broadcast, a node", each, "", beat=datagrams),
        Figure(f"{kind}: reached right after 20 % were killed", 100 * fmean(after), "%", beat=at_once),
        Figure(f"{kind}: reached {LATER_S:g} s later", 100 * fmean(later), "%", beat=in_time),
    ]


def kill(nodes: Crowd, count: int) -> list[int]:
    """So many nodes are gone from one moment to the next."""
    dead = random.Random(3).sample(nodes.alive, count)
    nodes.alive = [number for number in nodes.alive if number not in dead]
    for number in dead:
        nodes.networks[number]._home.driver.kill()
    return dead


async def membership(is_extreme: bool, count: int) -> list[Figure]:
    """Links, what they cost at rest, and how long the dead are remembered."""
    kind = "Newscast" if is_extreme else "HyParView"
    before = resident_kib()
    async with crowd(count, is_extreme=is_extreme, many_to_many=True) as nodes:
        each = (resident_kib() - before) / count
        known = Counter(node.address_info for network in nodes.networks for node in network.get_neighbours())
        degrees = [known[network.my_node.address_info] for network in nodes.networks]
        used, sent = time.process_time(), nodes.sent.by.total()
        await asyncio.sleep(5)
        idle = (time.process_time() - used) / 5 / count
        rate = (nodes.sent.by.total() - sent) / 5 / count
        gone = {nodes.networks[number].my_node for number in kill(nodes, count // 5)}
        began = time.perf_counter()
        await until(
            lambda: not any(node in gone for number in nodes.alive for node in nodes.networks[number].get_neighbours())
        )
        clean = time.perf_counter() - began
    bare = 100 * bare_datagram_s() * 2 * rate
    return [
        Figure(f"{kind}: deviation of the in-degree, mean {fmean(degrees):.1f}", pstdev(degrees), ""),
        Figure(f"{kind}: no link to the 20 % that were killed", clean, "s", beat="14.6" if is_extreme else "3.9"),
        Figure(f"{kind}: memory of a node", each, "KiB"),
        Figure(f"{kind}: messages sent at rest", rate, "a second and node"),
        Figure(f"{kind}: processor at rest, a node", 100 * idle, "% of a core", {"bare datagrams, as many": bare}),
    ]


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again."""
    began = time.perf_counter()
    while not holds():
        assert time.perf_counter() - began < PATIENCE_S * 3, "it never came true"
        await asyncio.sleep(LOOK_S)


async def swim(count: int) -> list[Figure]:
    """A group that meets at one address; then one member dies."""
    members: list[tuple[AsyncioDriver, Swim]] = []
    began, used = time.perf_counter(), time.process_time()
    for number in range(count):
        protocol = Swim("bench")
        driver = AsyncioDriver(Contact(id_of(HOST, number), HOST, 0), blobs=NoDisk())
        driver.node.add(protocol)
        await driver.start()
        first = [members[0][0].me.address] if members else []
        await driver.future(driver.call(protocol.join, first))
        members.append((driver, protocol))
    await until(lambda: all(len(protocol.neighbors()) == count - 1 for _, protocol in members))
    together, used = time.perf_counter() - began, time.process_time() - used
    await asyncio.sleep(2)
    victim, _ = members.pop(count // 2)
    began = time.perf_counter()
    victim.kill()
    await until(lambda: all(len(protocol.neighbors()) == count - 2 for _, protocol in members))
    known = time.perf_counter() - began
    for driver, _ in members:
        driver.kill()
    return [
        Figure(
            f"SWIM: {count} members, all see all",
            together,
            "s",
            {"of which this process computed": used},
            "2.9 (memberlist)",
        ),
        Figure(f"SWIM: a death is known to all {count - 1}", known, "s", beat="15 (memberlist)"),
    ]
