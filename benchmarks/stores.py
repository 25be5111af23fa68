"""Rings of real peers that have the replicated store, in this process or in several, and clients that time themselves."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.peers import KINDS, Member
from overlay.ids import CHORD_BITS
from overlay.peer.address import show_address
from overlay.peer.aio import AsyncPeer
from overlay.peer.preset import chord
from overlay.store.disk import Index
from overlay.store.replicated.config import ReplicasConfig

LOOK_S = 0.05
PATIENCE_S = 120.0
Verb = Callable[[int, str], Awaitable[object]]
"""What the client of this number does with a name."""


# In this process -------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def stores(driver: str, count: int, where: str = "disk", **place: Any) -> AsyncIterator[list[Member]]:
    """One ring of 160 bits that keeps three copies, of which every peer says that it is complete.

    `where`: "disk", each with an index of its own; "one index" for all; "memory", a file system in memory.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rng = random.Random(count)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if where == "memory" else None) as root:
        if where == "one index":
            place["index"] = Index(Path(root) / "index.db")
        place = {"files": Path(root), "preset": chord(), "store": ReplicasConfig(), **place}
        line: list[Member] = [KINDS[driver](rng.getrandbits(CHORD_BITS), **place) for _ in range(count)]
        try:
            await line[0].create()
            await asyncio.gather(*(peer.join(address(line[0]), PATIENCE_S) for peer in line[1:]))
            if place["store"] is not None:
                await until_complete(line)
            yield line
        finally:
            for peer in line:
                peer.kill()


def address(peer: Member | AsyncPeer) -> str:
    """Where others find it."""
    return show_address(peer.contact.host, peer.contact.port)


async def until_complete(line: Sequence[Member]) -> None:
    """Until every peer says that all is where it belongs, several times one after the other."""
    deadline, quiet = time.monotonic() + PATIENCE_S, 0
    while quiet < 5:
        quiet = quiet + 1 if all(peer.store_status().complete for peer in line) else 0
        if time.monotonic() > deadline:
            raise TimeoutError(f"the store was not complete after {PATIENCE_S:g} s")
        await asyncio.sleep(LOOK_S)


# Clients ---------------------------------------------------------------------------------------------------------


async def timed(verb: Verb, names: Sequence[str], clients: Sequence[int]) -> list[float]:
    """These clients go through the names, one each at a time; the seconds of every operation."""
    times: list[float] = []
    left = iter(names)

    async def client(number: int) -> None:
        for name in left:
            began = time.perf_counter()
            await verb(number, name)
            times.append(time.perf_counter() - began)

    await asyncio.gather(*map(client, clients))
    return times


async def rated(verb: Verb, names: Sequence[str], clients: int) -> tuple[list[float], float]:
    """The sorted seconds, and operations a second."""
    began = time.perf_counter()
    times = await timed(verb, names, range(clients))
    return sorted(times), len(times) / (time.perf_counter() - began)


def p99(times: Sequence[float]) -> float:
    """Of sorted ones."""
    return times[-1 - len(times) // 100]


# In several processes --------------------------------------------------------------------------------------------


class Process:
    """A peer in a process of its own, and the clients that ask it."""

    def __init__(self, number: int, root: str):
        context = get_context("spawn")
        self._line, other = context.Pipe()
        self._process = context.Process(target=_process, args=(number, root, other), daemon=True)
        self._process.start()
        other.close()

    async def do(self, *command: Any) -> Any:
        """One command of `_process`; its result."""
        self._line.send(command)
        return await asyncio.to_thread(self._line.recv)

    def kill(self) -> None:
        """Gone."""
        self._process.kill()
        self._process.join()


def _process(number: int, root: str, line: Connection) -> None:
    asyncio.run(_serve(number, root, line))


async def _serve(number: int, root: str, line: Connection) -> None:
    """Do what we are told, until we are killed."""
    id = random.Random(number).getrandbits(CHORD_BITS)
    peer = AsyncPeer(id, files=Path(root), preset=chord(), store=ReplicasConfig())
    result: Any = None
    while True:
        match await asyncio.to_thread(line.recv):
            case ("create",):
                await peer.create()
                result = address(peer)
            case ("join", known):
                await peer.join(known, PATIENCE_S)
            case ("complete",):
                result = peer.store_status().complete
            case ("put", names, clients, data):
                result = await timed(lambda _, name, data=data: peer.put(name, data), names, range(clients))
            case ("get", names, clients):
                result = await timed(lambda _, name: peer.get(name), names, range(clients))
        line.send(result)


@contextlib.asynccontextmanager
async def processes(count: int) -> AsyncIterator[list[Process]]:
    """As `stores`, each peer in a process."""
    with tempfile.TemporaryDirectory() as root:
        line = [Process(number, root) for number in range(count)]
        try:
            known = await line[0].do("create")
            await asyncio.gather(*(process.do("join", known) for process in line[1:]))
            quiet, deadline = 0, time.monotonic() + PATIENCE_S
            while quiet < 5:
                complete = await asyncio.gather(*(process.do("complete") for process in line))
                quiet = quiet + 1 if all(complete) else 0
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the store was not complete after {PATIENCE_S:g} s")
                await asyncio.sleep(LOOK_S)
            yield line
        finally:
            for process in line:
                process.kill()
