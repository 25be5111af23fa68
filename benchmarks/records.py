"""Store and Request: how long one takes, how many there are a second, and how fast a large body comes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.peers import Member, ring
from benchmarks.wire import bare_echo

SMALL_BYTES = 100
LARGE_NAME = "0128"
LARGE_BYTES = 100 << 20
PIECE_BYTES = 1 << 20


@contextlib.asynccontextmanager
async def folder(parent: str | None = None) -> AsyncIterator[Path]:
    """A folder that is gone behind the block."""
    with tempfile.TemporaryDirectory(dir=parent) as root:
        yield Path(root)


# Small records -------------------------------------------------------------------------------------------------


async def operations(driver: str, peers: int, clients: int) -> list[Figure]:
    """Every client stores records of its own one after the other, then requests those of another."""
    each = 60 if clients == 1 else 6
    async with folder() as files, ring(driver, peers, files=files) as line:
        names = [f"{number * 7919 % 10_000:04}" for number in range(clients * each)]
        for name in names:
            (files / f"{name}.pdf").write_bytes(os.urandom(SMALL_BYTES))
        stored = await timed(line, names, clients, lambda peer, name: peer.store(name))
        for name in names:
            (files / f"{name}.pdf").unlink()
        fetched = await timed(line, names[::-1], clients, lambda peer, name: peer.request(name))
        durable = bare_durable(files, clients)
    # Half of the way around on the average, and the answer comes straight back.
    hops = bare_echo(500, 1) / (peers / 2 + 1) * clients
    size = f"{clients} client{'s' if clients > 1 else ''}, {peers} peers, {driver}"
    figures = []
    for verb, (times, rate), bare in (
        ("store", stored, {"bare durable writes": durable}),
        ("request", fetched, {"bare durable writes": durable, "bare echoes over as many hops": hops}),
    ):
        times.sort()
        figures += [
            Figure(f"{verb}, {size}", rate, "a second", bare),
            Figure(
                f"{verb}, {size}, p50",
                1000 * statistics.median(times),
                "ms",
                {"p99": 1000 * times[-1 - len(times) // 100]},
            ),
        ]
    return figures


async def timed(
    line: list[Member], names: list[str], clients: int, verb: Callable[[Member, str], Awaitable[object]]
) -> tuple[list[float], float]:
    """The seconds of every operation, and how many there were a second."""
    times: list[float] = []

    async def client(number: int) -> None:
        for name in names[number::clients]:
            began = time.perf_counter()
            await verb(line[number % len(line)], name)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    return times, len(times) / (time.perf_counter() - began)


def bare_durable(folder: Path, clients: int) -> float:
    """Small files a second that are written, synced, renamed and whose folder is synced, as many at once as there are clients."""
    count = 100 // clients + 1

    def write(number: int) -> None:
        fd = os.open(folder, os.O_RDONLY)
        for at in range(count):
            path = folder / f"bare-{number}-{at}"
            with path.open("wb", buffering=0) as file:
                file.write(bytes(SMALL_BYTES))
                os.fsync(file.fileno())
            path.replace(folder / f"durable-{number}")
            os.fsync(fd)
        os.close(fd)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count * clients / (time.perf_counter() - began)


# A large record ------------------------------------------------------------------------------------------------


async def large(driver: str, where: str) -> list[Figure]:
    """100 MiB stored by one peer at another, and requested back; each time hashed, checked and synced."""
    async with folder("/dev/shm" if where == "memory" else None) as files, ring(driver, 2, files=files) as line:
        (files / f"{LARGE_NAME}.pdf").write_bytes(os.urandom(PIECE_BYTES) * (LARGE_BYTES // PIECE_BYTES))
        stored = await rate(line[0].store(LARGE_NAME))
        fetched = await rate(line[0].request(LARGE_NAME))
        file = files / f"{LARGE_NAME}.pdf"
        limits = {
            "bare transfer with SHA-256 and fsync": bare_transfer(file, checked=True),
            "SHA-256 alone": hashing(),
            "socket alone": bare_transfer(file, checked=False),
            "write alone": bare_write(files, synced=False),
            "write and fsync alone": bare_write(files, synced=True),
        }
    return [
        Figure(f"store, {driver}, on {where}", stored, "MiB/s", limits, "203"),
        Figure(f"request, {driver}, on {where}", fetched, "MiB/s", limits, "203"),
    ]


async def rate(operation: Awaitable[object]) -> float:
    """MiB a second of the large record."""
    began = time.perf_counter()
    await operation
    return LARGE_BYTES / PIECE_BYTES / (time.perf_counter() - began)


def bare_transfer(file: Path, *, checked: bool) -> float:
    """MiB a second through a plain socket; `checked`: hashed on the way, into a file that is synced."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            buffer = memoryview(bytearray(PIECE_BYTES))
            with listener.accept()[0] as sock, file.open("rb", buffering=0) as source:
                while count := source.readinto(buffer):
                    sock.sendall(buffer[:count])

        threading.Thread(target=serve).start()
        buffer, hashed = memoryview(bytearray(PIECE_BYTES)), hashlib.sha256()
        copy = file.with_suffix(".copy")
        began = time.perf_counter()
        with socket.create_connection(listener.getsockname()) as sock, copy.open("wb", buffering=0) as target:
            while count := sock.recv_into(buffer):
                if checked:
                    hashed.update(buffer[:count])
                    target.write(buffer[:count])
            os.fsync(target.fileno())
        return LARGE_BYTES / PIECE_BYTES / (time.perf_counter() - began)


def hashing() -> float:
    """MiB a second of SHA-256."""
    data = os.urandom(LARGE_BYTES)
    began = time.perf_counter()
    hashlib.sha256(data)
    return LARGE_BYTES / PIECE_BYTES / (time.perf_counter() - began)


def bare_write(folder: Path, *, synced: bool) -> float:
    """MiB a second that are written to a file, and synced."""
    data = os.urandom(PIECE_BYTES)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        began = time.perf_counter()
        for _ in range(LARGE_BYTES // PIECE_BYTES):
            file.write(data)
        if synced:
            os.fsync(file.fileno())
        return LARGE_BYTES / PIECE_BYTES / (time.perf_counter() - began)
