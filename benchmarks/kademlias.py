"""The package `kademlia` beside our store: the same clients and records. It keeps values in memory, and k = 20 copies."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.stores import p99, rated

HOST = "127.0.0.1"
SMALL_BYTES = 100
CLIENTS = 32


def is_installed() -> bool:
    """Else its column stays empty."""
    return importlib.util.find_spec("kademlia") is not None


@contextlib.asynccontextmanager
async def servers(count: int) -> AsyncIterator[list[Any]]:
    """So many, bootstrapped at the first."""
    logging.getLogger("rpcudp").setLevel(logging.CRITICAL)
    logging.getLogger("kademlia").setLevel(logging.CRITICAL)
    server = importlib.import_module("kademlia.network").Server
    line = [server() for _ in range(count)]
    try:
        for one in line:
            await one.listen(0, HOST)
        first = line[0].transport.get_extra_info("sockname")[:2]
        for one in line[1:]:
            await one.bootstrap([first])
        yield line
    finally:
        for one in line:
            one.stop()


async def operations(count: int) -> dict[str, float]:
    """Figures by the names that `store.operations` gives them; nothing where it is not installed."""
    if not is_installed():
        return {}
    names = [f"name {number}" for number in range(200)]
    found: list[bool] = []
    async with servers(count) as line:

        async def put(number: int, name: str) -> None:
            await line[number % len(line)].set(name, bytes(SMALL_BYTES))

        async def get(number: int, name: str) -> None:
            found.append(await line[number % len(line)].get(name) is not None)

        alone_put, _ = await rated(put, names[:20], 1)
        _, puts = await rated(put, names, CLIENTS)
        alone, _ = await rated(get, names[::-1], 1)
        _, gets = await rated(get, names[::-1] * 5, CLIENTS)
    return {
        "get p50": 1000 * alone[len(alone) // 2],
        "get p99": 1000 * p99(alone),
        "put p50": 1000 * alone_put[len(alone_put) // 2],
        "gets": gets,
        "puts": puts,
        "found": 100 * sum(found) / len(found),
    }


async def deaths(count: int, dead: int) -> dict[str, float]:
    """`dead` of them are gone at once: p99 in seconds of the first pass, and the share in % that was not found."""
    if not is_installed():
        return {}
    names = [f"name {number}" for number in range(200)]
    found: list[bool] = []
    async with servers(count) as line:

        async def put(number: int, name: str) -> None:
            await line[number % len(line)].set(name, bytes(SMALL_BYTES))

        async def get(number: int, name: str) -> None:
            found.append(await asyncio.wait_for(line[number % len(line)].get(name), 60) is not None)

        await rated(put, names, CLIENTS)
        random.Random(5).shuffle(line)
        for one in line[-dead:]:
            one.stop()
        del line[-dead:]
        times, _ = await rated(get, names, CLIENTS)
    return {"p99": p99(times), "not found": 100 * (1 - sum(found) / len(found))}
