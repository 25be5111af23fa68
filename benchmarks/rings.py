"""Rings in one process: how long they take to form, what a peer costs, and how soon a death is noticed."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.peers import begin, peers, ring, until_right
from overlay.core.trace import Observer

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


# N peers to one right ring -------------------------------------------------------------------------------------


async def form(driver: str, count: int) -> list[Figure]:
    """From the first socket to the last right pointer."""
    async with peers(driver, count) as line:
        began = time.perf_counter()
        await begin(line)
        await until_right(line)
        took_s = time.perf_counter() - began
    beat = "1.0" if count == 128 else ""
    return [Figure(f"{count} peers, {driver}", took_s, "s", {"bare sockets": bare_ring(count)}, beat)]


def bare_ring(count: int) -> float:
    """Seconds to open a TCP and a UDP socket each and to hear once from both neighbors ahead."""
    began = time.perf_counter()
    tcp = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    udp = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(count)]
    for sock in udp:
        sock.bind(("127.0.0.1", 0))
    places = [sock.getsockname() for sock in udp]
    for at in range(count):
        for step in (1, 2):
            udp[at].sendto(b"ping", places[(at + step) % count])
    for _ in range(2):
        for sock in udp:
            sock.sendto(b"pong", sock.recvfrom(100)[1])
    for sock in udp:
        sock.recv(100), sock.recv(100)
    took_s = time.perf_counter() - began
    for sock in (*tcp, *udp):
        sock.close()
    return took_s


# Memory and processor ------------------------------------------------------------------------------------------


def resident_kib() -> float:
    """The memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


async def memory(driver: str, count: int) -> list[Figure]:
    """What each peer beyond the first costs in a ring that has stood for three rounds."""
    async with ring(driver, 1, ping_interval_s=1.0):
        await asyncio.sleep(1)
        one = resident_kib()
    async with ring(driver, count, ping_interval_s=1.0):
        await asyncio.sleep(3)
        each, threads = (resident_kib() - one) / (count - 1), threading.active_count() / count
    bare = {"threads": "three bare threads", "asyncio": "bare endpoints"}[driver]
    beside = subprocess.run([sys.executable, "-c", BARE[driver], str(count)], capture_output=True, check=True)
    return [
        Figure(f"a peer, {driver}", each, "KiB", {bare: float(beside.stdout)}, "48" if driver == "asyncio" else "96"),
        Figure(f"threads a peer, {driver}", threads, ""),
    ]


BARE = {
    "threads": """
import sys, threading
def kib(): return int(open("/proc/self/statm").read().split()[1]) * 4
threading.stack_size(1 << 20)
count, over = int(sys.argv[1]), threading.Event()
before = kib()
for _ in range(3 * count): threading.Thread(target=over.wait).start()
print((kib() - before) / count)
over.set()
""",
    "asyncio": """
import asyncio, sys
def kib(): return int(open("/proc/self/statm").read().split()[1]) * 4
async def main(count):
    loop = asyncio.get_running_loop()
    open_pair = lambda: (
        loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
        loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0)),
    )
    kept = [await made for made in open_pair()]
    before = kib()
    for _ in range(count): kept += [await made for made in open_pair()]
    print((kib() - before) / count)
asyncio.run(main(int(sys.argv[1])))
""",
}


async def idle(driver: str, count: int) -> list[Figure]:
    """The processor's time of a ring that nobody asks anything, a peer."""
    counted = Counted()
    async with ring(driver, count, observers=[counted]):
        await asyncio.sleep(2)
        before, sent = time.process_time(), counted.datagrams
        await asyncio.sleep(6)
        share = (time.process_time() - before) / 6 / count
        rate = (counted.datagrams - sent) / 6 / count
    bare = bare_datagram_s() * 2 * rate
    what = f"a peer of {count}, {driver}, 3 s between pings"
    return [
        Figure(what, 100 * share, "% of a core", {"bare datagrams, as many": 100 * bare}, "0.01"),
        Figure(f"datagrams sent, {driver}", rate, "a second and peer"),
    ]


def bare_datagram_s() -> float:
    """Seconds of the processor for one datagram out, or one in."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        began = time.process_time()
        for _ in range(5000):
            sock.sendto(bytes(300), sock.getsockname())
            sock.recv(2000)
        return (time.process_time() - began) / 10_000


class Counted(Observer):
    """Counts what is sent, by kind."""

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}

    @property
    def datagrams(self) -> int:
        """Pings and their answers."""
        return self.kinds.get("Ping", 0) + self.kinds.get("Pong", 0)

    @property
    def commands(self) -> int:
        """Everything else."""
        return sum(self.kinds.values()) - self.datagrams

    def sent(self, now: float, node: Any, peer: Any, kind: int, service: str, message: Any) -> None:
        """See `Observer`."""
        name = type(message).__name__
        self.kinds[name] = self.kinds.get(name, 0) + 1


# Death ---------------------------------------------------------------------------------------------------------


async def death(driver: str, interval_s: float) -> list[Figure]:
    """From a kill until the first peer says so, and until none has the dead one among its neighbors."""
    counted, told, chance = Counted(), [], random.Random(1)
    heard: dict[str, Any] = {"on_event": lambda peer, event: told.append((time.perf_counter(), event))}
    first: list[float] = []
    everybody: list[float] = []
    async with ring(driver, 32, ping_interval_s=interval_s, observers=[counted], **heard) as line:
        sent, began = counted.datagrams, time.perf_counter()
        await asyncio.sleep(2 * interval_s)
        rate = (counted.datagrams - sent) / (time.perf_counter() - began) / len(line)
        for _ in range(4):
            await asyncio.sleep(chance.random() * interval_s)
            victim = line.pop(chance.randrange(len(line)))
            told.clear()
            began = time.perf_counter()
            victim.kill()
            await until_right(line)
            everybody.append(time.perf_counter() - began)
            first.append(min(at for at, event in told if type(event).__name__ == "PeerDied") - began)
    beside = {"datagrams sent a second and peer": rate}
    what = f"of 32 peers, {driver}, {interval_s:g} s between pings"
    return [
        Figure(f"first, {what}", statistics.median(first), "s", beside, "1.0"),
        Figure(f"by all, {what}", statistics.median(everybody), "s", beside, "3.9"),
    ]
