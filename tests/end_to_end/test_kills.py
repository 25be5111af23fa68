"""Processes are killed and started again under load, again and again: no acknowledged record is lost, and none is torn.

A few rounds here; `make test-slow` runs 200.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overlay import AsyncClient
from overlay.errors import Indefinite, OverlayError, RemoteError
from overlay.store.replicated.config import NotFound
from tests.end_to_end.processes import DEADLINE_S, Program, free_base_port

PEERS, WRITERS, KEYS = 5, 4, 6
CONFIG = "[store]\nsync_s = 1\n[pings]\ninterval_s = 0.5\n"


class Ring:
    """Five peers, each with a folder and a port that stay its own."""

    def __init__(self, folder: Path):
        self._folder = folder
        (folder / "quick.toml").write_text(CONFIG)
        self.base = free_base_port(range(PEERS))
        self.peers: dict[int, Program] = {}
        self._start(0, "create").line("a ring begins here")
        for number in range(1, PEERS):
            self._start(number, f"join --at {self.at[0]}").line("Join request has been accepted")

    @property
    def at(self) -> list[str]:
        return [f"127.0.0.1:{self.base + number}" for number in range(PEERS)]

    def _start(self, number: int, how: str) -> Program:
        line = f"{how} --port {self.base + number} --data p{number} --config quick.toml --files files{number}"
        self.peers[number] = Program(line.split(), self._folder)
        return self.peers[number]

    def kill_and_return(self, number: int) -> None:
        """From one moment to the next; then it comes back with its disk."""
        self.peers[number].signal(signal.SIGKILL)
        self.peers[number].ended()
        self._start(number, "join").line("Join request has been accepted")

    def end(self) -> None:
        for peer in self.peers.values():
            peer.kill()


class Load:
    """Writers that count up, each at keys of its own, and readers. What they read is whole, and at the end, when the ring has
    come to rest, no less than what was acknowledged; a read in the moment of a death may be an older one (docs/store.md)."""

    def __init__(self, at: list[str], seed: int):
        self._at = at
        self._rng = random.Random(seed)
        self._over = threading.Event()
        self.acked: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.wrong: list[str] = []
        self.unknown: list[str] = []
        """Writes of which nobody knows."""
        self.crash: BaseException | None = None
        self.reads = 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def end(self) -> None:
        """Stop, and read everything back."""
        self._over.set()
        self._thread.join()
        if self.crash is not None:
            raise self.crash

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self.crash = error

    async def _run(self) -> None:
        tasks = [self._write(writer) for writer in range(WRITERS)] + [self._read(reader) for reader in range(2)]
        await asyncio.gather(*tasks)
        async with AsyncClient(self._at) as client:
            deadline = time.monotonic() + 4 * DEADLINE_S
            while not (status := await client.status()).complete or len(status.peers) < PEERS:
                assert time.monotonic() < deadline, status
                await asyncio.sleep(0.2)  # between two questions, within the deadline
            for key in sorted(self.sent):
                await self._check(client, key, self.acked.get(key, 0), 4)

    def _client(self, number: int) -> AsyncClient:
        return AsyncClient([*self._at[number:], *self._at[:number]], timeout_s=40.0)

    async def _write(self, writer: int) -> None:
        async with self._client(writer) as client:
            while not self._over.is_set():
                key = f"{writer}/{self._rng.randrange(KEYS)}"
                count = self.sent[key] = self.sent.get(key, 0) + 1
                # Every third value is a body on disk, the others lie in their entry.
                size = 40_000 if count % 3 == 0 else 100
                try:
                    await client.put(key, value_of(key, count, size))
                    self.acked[key] = count
                except (Indefinite, RemoteError) as error:
                    self.unknown.append(f"{key} {count}: {error}")

    async def _read(self, reader: int) -> None:
        async with self._client(reader) as client:
            while not self._over.is_set():
                key = f"{self._rng.randrange(WRITERS)}/{self._rng.randrange(KEYS)}"
                await self._check(client, key, 0, 1)
                self.reads += 1

    async def _check(self, client: AsyncClient, key: str, least: int, tries: int) -> None:
        try:
            value = await client.get(key)
        except NotFound:
            value = b""
        except OverlayError as error:
            if tries > 1:
                await self._check(client, key, least, tries - 1)
            elif least:
                self.wrong.append(f"{key} cannot be read: {error}")
            return
        count, most = int(value[:20] or b"0"), self.sent.get(key, 0)
        if not least <= count <= most:
            self.wrong.append(f"{key} is {count}, and {least} was acknowledged, {most} begun")
        elif count and value != value_of(key, count, len(value)):
            self.wrong.append(f"{key} is torn at {count}")


def value_of(key: str, count: int, size: int) -> bytes:
    """A value that shows whether it is whole."""
    return b"%020d" % count + random.Random(f"{key}/{count}").randbytes(size - 20)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    ring = Ring(tmp_path)
    yield ring
    ring.end()


def kill_rounds(ring: Ring, rounds: int, seed: int) -> Load:
    rng = random.Random(seed)
    load = Load(ring.at, seed)
    try:
        for _ in range(rounds):
            # Until somebody was told of something new since: a round without load shows nothing.
            before, deadline = sum(load.acked.values()), time.monotonic() + 3 * DEADLINE_S
            while sum(load.acked.values()) < before + 5:
                assert load.crash is None and time.monotonic() < deadline, (load.crash, load.unknown[-3:])
                time.sleep(0.05)  # between two looks, within the deadline
            ring.kill_and_return(rng.randrange(PEERS))
    finally:
        load.end()
    return load


def test_nothing_acknowledged_is_lost_while_processes_are_killed(ring: Ring) -> None:
    load = kill_rounds(ring, 3, seed=1)
    assert load.wrong == [] and sum(load.acked.values()) >= 15 and load.reads


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nor_in_two_hundred_rounds(ring: Ring) -> None:
    load = kill_rounds(ring, 200, seed=2)
    print(f"{sum(load.acked.values())} puts acknowledged, {load.reads} reads")
    assert load.wrong == []
