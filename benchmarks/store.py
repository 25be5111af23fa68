"""The replicated store: small records, large ones, a fifth of the peers dead at once, and what rest costs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import kademlias
from benchmarks.disk import bare_syncs
from benchmarks.figures import Figure
from benchmarks.peers import Member
from benchmarks.records import bare_write, hashing
from benchmarks.stores import Verb, address, p99, processes, rated, stores, timed, until_complete
from overlay.core.codec import Codec
from overlay.core.message import ONE_WAY, WIRE_VERSION, Contact, Envelope, Message
from overlay.core.trace import Observer
from overlay.errors import Indefinite
from overlay.ids import CHORD_BITS
from overlay.peer.client.aio import AsyncClient
from overlay.store.replicated.config import NotFound, ReplicasConfig
from overlay.store.replicated.messages import key_of_tag, tag_of

RECORDS = 1_000
SMALL_BYTES = 100
MEDIUM_BYTES = 100 << 10
LARGE_BYTES = 100 << 20
CLIENTS = 32
COPIES = 3
REST_S = 12.0
"""A little more than the time between two comparisons."""


def verbs(line: list[Member], size: int = SMALL_BYTES) -> tuple[Verb, Verb]:
    """put and get of clients that are spread over these peers."""
    data = os.urandom(size)

    def peer(number: int) -> Member:
        return line[number % len(line)]

    return (lambda number, name: peer(number).put(name, data)), (lambda number, name: peer(number).get(name))


# Small records -----------------------------------------------------------------------------------------------------


async def operations(driver: str, peers: int, where: str) -> list[Figure]:
    """One client, then 32, put records of 100 bytes; then one, then 32, read them in another order."""
    names = [f"name {number}" for number in range(RECORDS)]
    async with stores(driver, peers, where) as line:
        put, plain = verbs(line)
        found: list[bool] = []

        async def get(number: int, name: str) -> None:
            with contextlib.suppress(NotFound):
                await plain(number, name)
                found.append(True)
                return
            found.append(False)

        alone_put, _ = await rated(put, names[:100], 1)
        _, first_puts = await rated(put, names, CLIENTS)
        _, first_gets = await rated(get, names[::-1], CLIENTS)
        # Every client asks every root once: then each knows whom to ask, and that is what stays.
        once = one_of_each_root(line, names)
        await asyncio.gather(*(timed(get, once, [number]) for number in range(CLIENTS)))
        worked = time.process_time()
        crowd_put, puts = await rated(put, names, CLIENTS)
        put_work = 1000 * (time.process_time() - worked) / len(crowd_put)
        alone, _ = await rated(get, names[::-1], 1)
        worked = time.process_time()
        crowd, gets = await rated(get, names[::-1] * 3, CLIENTS)
        get_work = 1000 * (time.process_time() - worked) / len(crowd)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if where == "memory" else None) as folder:
        bare, bare_ms = bare_syncs(Path(folder), 1)
        bare_8, _ = bare_syncs(Path(folder), 8)
    syncs = {"bare fsync": bare, "by 8 threads": bare_8}
    full = (driver, peers, where) == ("asyncio", 128, "disk")
    other = await kademlias.operations(peers) if full else {}
    aims = (("0.35", "1.0"), ("4,000", "2,400")) if full else (("", ""), ("", ""))

    def beside(name: str, limits: dict[str, float] | None = None) -> dict[str, float]:
        return {**(limits or {}), **({"kademlia": other[name]} if name in other else {})}

    size = f"{peers} peers, {driver}, {where}"
    figures = [
        Figure(f"get, 1 client, {size}, p50", 1000 * alone[len(alone) // 2], "ms", beside("get p50"), aims[0][0]),
        Figure(f"get, 1 client, {size}, p99", 1000 * p99(alone), "ms", beside("get p99"), aims[0][1]),
        Figure(
            f"put, 1 client, {size}, p50",
            1000 * alone_put[len(alone_put) // 2],
            "ms",
            beside("put p50", {"bare fsync": bare_ms}),
        ),
        Figure(f"gets, {CLIENTS} clients, {size}", gets, "a second", beside("gets"), aims[1][0]),
        Figure(f"puts, {CLIENTS} clients, {size}", puts, "a second", beside("puts", syncs), aims[1][1]),
        Figure(f"gets, {CLIENTS} clients, the first {len(names):,}, {size}", first_gets, "a second", beside("gets")),
        Figure(f"puts, {CLIENTS} clients, the first {len(names):,}, {size}", first_puts, "a second", beside("puts")),
        Figure(f"the processor's time of a get, {size}", get_work, "ms"),
        Figure(f"the processor's time of a put, {size}", put_work, "ms"),
    ]
    if full:
        share = 100 * sum(found) / len(found)
        figures.append(Figure(f"gets that found their record, {size}", share, "%", beside("found")))
    return figures


def one_of_each_root(line: Sequence[Member], names: Sequence[str]) -> list[str]:
    """A name of every peer that is the root of any."""
    ids = sorted(peer.id for peer in line)
    roots: dict[int, str] = {}
    for name in names:
        key = key_of_tag(tag_of(name.encode()), CHORD_BITS)
        roots.setdefault(bisect_left(ids, key) % len(ids), name)
    return list(roots.values())


async def apart(peers: int) -> list[Figure]:
    """The same with each peer in a process, and its share of the clients there."""
    each, at_once = RECORDS // peers, CLIENTS // peers
    data = os.urandom(SMALL_BYTES)
    shares = [[f"name {at} {number}" for number in range(each)] for at in range(peers)]
    async with processes(peers) as line:

        async def everywhere(turn: int, verb: str, *more: Any) -> float:
            began = time.perf_counter()
            jobs = [process.do(verb, shares[(at + turn) % peers], at_once, *more) for at, process in enumerate(line)]
            done = await asyncio.gather(*jobs)
            return sum(map(len, done)) / (time.perf_counter() - began)

        puts = await everywhere(0, "put", data)
        await everywhere(1, "get")
        gets = await everywhere(2, "get")
        alone = sorted(await line[0].do("get", shares[1] * 5, 1))
    with tempfile.TemporaryDirectory() as folder:
        syncs = {"bare fsync": bare_syncs(Path(folder), 1)[0], "by 8 threads": bare_syncs(Path(folder), 8)[0]}
    size = f"{peers} processes"
    return [
        Figure(f"get, 1 client, {size}, p50", 1000 * alone[len(alone) // 2], "ms"),
        Figure(f"get, 1 client, {size}, p99", 1000 * p99(alone), "ms"),
        Figure(f"gets, {CLIENTS} clients, {size}", gets, "a second"),
        Figure(f"puts, {CLIENTS} clients, {size}", puts, "a second", syncs),
    ]


# Large ones --------------------------------------------------------------------------------------------------------


async def large(peers: int, megabytes: int = LARGE_BYTES >> 20) -> list[Figure]:
    """Records of 100 KiB by four clients; 100 MiB by one client that is no peer, in segments. Each at three peers."""
    names = [f"name {number}" for number in range(80)]
    async with stores("asyncio", peers) as line:
        put, get = verbs(line, MEDIUM_BYTES)
        put_times, puts = await rated(put, names, 4)
        get_times, gets = await rated(get, names[::-1], 4)
        value = os.urandom(megabytes << 20)
        async with AsyncClient(address(line[0])) as client:
            began = time.perf_counter()
            await client.put_file(io.BytesIO(value), "large")
            put_rate = megabytes / (time.perf_counter() - began)
            began = time.perf_counter()
            whole = await client.get("large")
            get_rate = megabytes / (time.perf_counter() - began)
        if whole != value:
            raise ValueError("what came is not what was stored")
    with tempfile.TemporaryDirectory() as folder:
        limits = {"write and fsync alone, three times": bare_write(Path(folder), synced=True) / COPIES}
    read_limits = {"SHA-256 alone": hashing()}
    return [
        Figure("put of 100 KiB, 4 clients, p50", 1000 * put_times[len(put_times) // 2], "ms", {"a second": puts}),
        Figure("get of 100 KiB, 4 clients, p50", 1000 * get_times[len(get_times) // 2], "ms", {"a second": gets}),
        Figure(f"put of {megabytes} MiB", put_rate, "MiB/s", limits),
        Figure(f"get of {megabytes} MiB", get_rate, "MiB/s", read_limits),
    ]


# Deaths ------------------------------------------------------------------------------------------------------------


async def deaths(count: int) -> list[Figure]:
    """A fifth dies at once; 32 clients of those that live read every record, and again when the store says it is complete."""
    names, dead = [f"name {number}" for number in range(RECORDS)], count // 5
    missed: set[str] = set()
    async with stores("asyncio", count) as line:
        put, _ = verbs(line)
        await rated(put, names, CLIENTS)
        random.Random(5).shuffle(line)
        for peer in line[-dead:]:
            peer.kill()
        living = line[:-dead]
        _, plain = verbs(living)

        async def get(number: int, name: str) -> None:
            try:
                await plain(number, name)
            except (NotFound, Indefinite):
                missed.add(name)
            else:
                missed.discard(name)

        began = time.perf_counter()
        times, _ = await rated(get, names, CLIENTS)
        first = len(missed)
        await until_complete(living)
        repaired = time.perf_counter() - began
        await rated(get, sorted(missed), CLIENTS)
    share = dead * (dead - 1) * (dead - 2) / (count * (count - 1) * (count - 2))
    other = await kademlias.deaths(count, dead)
    beside = {"kademlia (k = 20), % of its": other["not found"]} if other else {}
    return [
        Figure("first pass, p50", 1000 * times[len(times) // 2], "ms"),
        Figure("first pass, p99", p99(times), "s", {"kademlia": other["p99"]} if other else {}),
        Figure("first pass, the longest", times[-1], "s"),
        Figure("first pass, not found", first, f"of {len(names)}", beside),
        Figure("every peer says that the store is complete again, after", repaired, "s"),
        Figure(
            "records lost",
            len(missed),
            f"of {len(names)}",
            {f"by chance, all three of {dead} dead of {count}": share * len(names), "p^k": 0.2**3 * len(names)},
        ),
    ]


# Rest --------------------------------------------------------------------------------------------------------------


class Weighed(Observer):
    """Counts messages and their bytes, envelope included; what UDP, TCP and IP add is not in it."""

    def __init__(self) -> None:
        self.messages = self.bytes = 0
        self.codec: Codec | None = None

    def sent(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        """See `Observer`."""
        if self.codec is not None:
            envelope = Envelope(
                WIRE_VERSION, kind or ONE_WAY, node, peer.id, peer.boot, service, 1 << 20, 1 << 20, message
            )
            self.messages += 1
            self.bytes += len(self.codec.encode(envelope))


async def rest(count: int) -> list[Figure]:
    """What a peer sends and computes when nobody asks anything: a ring without the store, and with records in it."""
    figures = []
    for what, store, records in (
        ("no store", None, 0),
        (f"{RECORDS:,} records", ReplicasConfig(), RECORDS),
    ):
        weighed = Weighed()
        async with stores("asyncio", count, observers=[weighed], store=store) as line:
            if records:
                await rated(verbs(line)[0], [f"name {number}" for number in range(records)], CLIENTS)
            # The end of the joins, and of the comparisons that follow writes.
            await asyncio.sleep(4)
            weighed.codec = Codec(tuple(dict.fromkeys(line[0]._driver.node.messages())))
            worked, began = time.process_time(), time.perf_counter()
            await asyncio.sleep(REST_S)
            took = (time.perf_counter() - began) * count
            share, messages, size = (time.process_time() - worked) / took, weighed.messages / took, weighed.bytes / took
        figures += [
            Figure(f"messages, {what}", messages, "a second and peer"),
            Figure(f"bytes, {what}", size, "a second and peer"),
            Figure(f"processor, {what}", 100 * share, "% of a core"),
        ]
    return figures
