"""Chord on real sockets: 160 bits, eight successors, fingers; every node in this process, on one loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
import statistics
import tempfile
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.rings import Counted
from overlay.core.message import Contact
from overlay.ids import CHORD_BITS, Key
from overlay.live.aio import AsyncioDriver
from overlay.ring.fingers import FingerConfig, Fingers
from overlay.ring.messages import FindFinger
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.store.disk import FolderDisk

CONFIG = RingConfig(bits=CHORD_BITS, successors=8)
LOOK_S = 0.005
STEPS = 4
"""Of a bare lookup: three hops on the average of 128 nodes, and the answer."""
OF_IT = "of it the processor's time"
"""What a time would be on a machine that nobody else uses."""


class Member:
    """One node."""

    def __init__(self, number: int, root: Path, counted: Counted):
        self.disk = FolderDisk(root / f"{number:x}", root, keep=False)
        self.driver = AsyncioDriver(Contact(Key(number), "127.0.0.1", 0), blobs=self.disk, observers=[counted])
        self.parts = RingParts(3.0, CONFIG, fingers=FingerConfig())

    async def start(self) -> None:
        """Be there, in no ring yet."""
        self.driver.open()
        self.disk.open()
        for protocol in self.parts.protocols():
            self.driver.node.add(protocol)
        await self.driver.start()

    async def join(self, known: Member) -> None:
        """Come into the ring of another."""
        place = known.driver.me
        await self.driver.future(self.driver.call(self.parts.admission.join, place.host, place.port, 30.0))

    async def iterative(self, key: int) -> int:
        """The id of the key's root, by asking peer after peer."""
        return int((await self.driver.future(self.driver.call(self.parts.lookups.lookup, key))).root.id)

    async def recursive(self, key: int) -> int:
        """The same by a message that is passed on, each hop acknowledged."""
        routed = self.driver.call(self.parts.router.route, Fingers.name, key, FindFinger())
        return int((await self.driver.future(routed)).root.id)

    def close(self) -> None:
        """Gone, and nobody is told."""
        self.driver.kill()
        self.disk.close()


WAYS: dict[str, Callable[[Member, int], Awaitable[int]]] = {
    "recursive": Member.recursive,
    "iterative": Member.iterative,
}


class Ring:
    """The members, those that live in the order of their ids; and how lookups went."""

    def __init__(self, members: list[Member]):
        self.rng = random.Random(1)
        self.living: dict[int, Member] = {int(member.driver.me.id): member for member in members}
        self.times: list[float] = []
        self.wrong = 0

    def root_of(self, key: int) -> int:
        """By what is known here."""
        line = sorted(self.living)
        return line[bisect_left(line, key) % len(line)]

    async def look_up(self, way: str, key: int | None = None) -> None:
        """A lookup by a random member."""
        wanted = self.rng.getrandbits(CHORD_BITS) if key is None else key
        member, root, began = self.rng.choice(list(self.living.values())), self.root_of(wanted), time.perf_counter()
        try:
            self.wrong += await WAYS[way](member, wanted) != root
        except Exception:
            self.wrong += 1
        self.times.append(time.perf_counter() - began)

    async def clients(self, way: str, clients: int, count: int) -> tuple[list[float], float]:
        """The sorted seconds of so many lookups by so many clients, and lookups a second."""
        self.times.clear()

        async def client() -> None:
            for _ in range(count // clients):
                await self.look_up(way)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        rate = len(self.times) / (time.perf_counter() - began)
        return sorted(self.times), rate

    async def until_right(self) -> None:
        """Until everybody has its successor and predecessor."""
        line = sorted(self.living)
        for at, number in enumerate(line):
            chord = self.living[number].parts.chord
            ahead, behind = line[(at + 1) % len(line)], line[at - 1]
            while chord.first.id != ahead or chord.before is None or chord.before.id != behind:
                await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def started(count: int) -> AsyncIterator[tuple[list[Member], Counted]]:
    """Nodes that are in no ring yet."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rng, counted = random.Random(count), Counted()
    with tempfile.TemporaryDirectory() as root:
        members = [Member(rng.getrandbits(CHORD_BITS), Path(root), counted) for _ in range(count)]
        try:
            for member in members:
                await member.start()
            yield members, counted
        finally:
            for member in members:
                member.close()


async def one_after_the_other(members: list[Member]) -> Ring:
    """A ring of all of them, joined each by way of a random one."""
    ring = Ring(members[:1])
    members[0].parts.chord.begin([], awaited=False)
    for newcomer in members[1:]:
        await newcomer.join(ring.rng.choice(list(ring.living.values())))
        ring.living[int(newcomer.driver.me.id)] = newcomer
    return ring


# Joining ---------------------------------------------------------------------------------------------------------


async def joins(count: int) -> list[Figure]:
    """One after the other, with a lookup of the newcomer's id and one of another key the moment it is in; then all at once."""
    async with started(count) as (members, _):
        ring = Ring(members[:1])
        members[0].parts.chord.begin([], awaited=False)
        spent = 0.0
        for newcomer in members[1:]:
            began = time.perf_counter()
            await newcomer.join(ring.rng.choice(list(ring.living.values())))
            spent += time.perf_counter() - began
            number = int(newcomer.driver.me.id)
            ring.living[number] = newcomer
            await asyncio.gather(
                ring.look_up("recursive", number), ring.look_up("iterative"), ring.look_up("recursive")
            )
        right = 100 * (1 - ring.wrong / len(ring.times))
    async with started(count) as (members, _):
        began, worked = time.perf_counter(), time.process_time()
        members[0].parts.chord.begin([], awaited=False)
        await asyncio.gather(*(newcomer.join(members[0]) for newcomer in members[1:]))
        await Ring(members).until_right()
        at_once, worked = time.perf_counter() - began, time.process_time() - worked
    return [
        Figure("lookups right the moment a join returns", right, f"% of {3 * (count - 1)}"),
        Figure(f"a join, {count} one after the other", 1000 * spent / (count - 1), "ms"),
        Figure(f"{count} join at once by way of one, until the ring is right", at_once, "s", {OF_IT: worked}, "2"),
    ]


# Lookups -----------------------------------------------------------------------------------------------------------


async def lookups(count: int, way: str) -> list[Figure]:
    """By one client and by 32, in a ring that is at rest."""
    async with started(count) as (members, counted):
        ring = await one_after_the_other(members)
        await ring.clients(way, 8, 400)
        before = counted.commands
        alone, one = await ring.clients(way, 1, 1_000)
        each = (counted.commands - before) / len(alone)
        worked = time.process_time()
        crowd, many = await ring.clients(way, 32, 4_000)
        worked = 1000 * (time.process_time() - worked) / len(crowd)
        bare = 1000 * bare_steps()
        wrong = ring.wrong
    return [
        Figure(f"{way}, 1 client, p50", 1000 * statistics.median(alone), "ms", {"four bare UDP steps": bare}, "0.35"),
        Figure(f"{way}, 1 client, p99", 1000 * alone[-1 - len(alone) // 100], "ms", {}, "1.0"),
        Figure(f"{way}, 1 client", one, "a second", {"four bare UDP steps": 1000 / bare}),
        Figure(f"{way}, 32 clients", many, "a second", {"four bare UDP steps": 1000 / bare}, "4,000"),
        Figure(f"{way}, 32 clients, p99", 1000 * crowd[-1 - len(crowd) // 100], "ms"),
        Figure(f"{way}, 32 clients, the processor's time of one", worked, "ms", {"four bare UDP steps": bare}),
        Figure(f"{way}, messages a lookup", each, ""),
        Figure(f"{way}, wrong or failed", wrong, "lookups"),
    ]


def bare_steps() -> float:
    """Seconds for four datagrams one after the other, from socket to socket."""
    with contextlib.ExitStack() as stack:
        line = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(STEPS)]
        for sock in line:
            sock.bind(("127.0.0.1", 0))
        places: list[Any] = [sock.getsockname() for sock in line]
        began = time.perf_counter()
        for _ in range(1_000):
            for at in range(STEPS):
                line[at].sendto(bytes(100), places[(at + 1) % STEPS])
                line[(at + 1) % STEPS].recv(2000)
        return (time.perf_counter() - began) / 1_000


# Death -------------------------------------------------------------------------------------------------------------


async def deaths(count: int, way: str) -> list[Figure]:
    """A fifth dies at once, and 32 clients go on."""
    async with started(count) as (members, _):
        ring = await one_after_the_other(members)
        await ring.clients(way, 8, 400)
        for number in ring.rng.sample(sorted(ring.living), count // 5):
            ring.living.pop(number).driver.kill()
        times, _ = await ring.clients(way, 32, 2_000)
        wrong = ring.wrong
    return [
        Figure(f"{way}, the first 2,000 lookups, p50", 1000 * statistics.median(times), "ms"),
        Figure(f"{way}, the first 2,000 lookups, p99", times[-1 - len(times) // 100], "s", {}, "0.5"),
        Figure(f"{way}, the longest", times[-1], "s"),
        Figure(f"{way}, wrong or failed", wrong, "of 2,000"),
    ]
