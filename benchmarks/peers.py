"""Rings of real peers in this process, on threads or on one loop, driven by the same coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.peer import Peer, PeerView
from overlay.peer.aio import AsyncPeer
from overlay.store.replicated.config import Status

FIRST_PORT, LAST_PORT, SLOT_PORTS = 13_000, 31_000, 300
"""The slots of the tests, so that neither takes the other's ports."""

LOOK_S = 0.005


class Threaded:
    """A `Peer` with the verbs of an `AsyncPeer`."""

    def __init__(self, id: int, **place: Any):
        self.peer = Peer(id, **place)

    @property
    def id(self) -> int:
        """0 to 255."""
        return self.peer.id

    @property
    def contact(self) -> Contact:
        """See `Peer`."""
        return self.peer.contact

    def view(self) -> PeerView:
        """See `Peer`."""
        return self.peer.view()

    async def setup(self, first: int, second: int) -> None:
        """See `Peer`."""
        self.peer.setup(first, second)

    async def create(self) -> Any:
        """See `Peer`."""
        return await done(self.peer.create())

    async def join(self, known: int | str, timeout_s: float = 5.0) -> None:
        """See `Peer`."""
        await done(self.peer.join(known, timeout_s))

    async def ready(self) -> None:
        """See `AsyncPeer`."""
        await done(self.peer.ready)

    async def store(self, name: str) -> Any:
        """See `Peer`."""
        return await done(self.peer.store(name))

    async def request(self, name: str) -> Any:
        """See `Peer`."""
        return await done(self.peer.request(name))

    async def put(self, name: str, value: bytes) -> Any:
        """See `Peer`."""
        return await done(self.peer.put(name, value))

    async def get(self, name: str) -> Any:
        """See `Peer`."""
        return await done(self.peer.get(name))

    def store_status(self) -> Status:
        """See `Peer`."""
        return self.peer.store_status()

    def kill(self) -> None:
        """See `Peer`."""
        self.peer.kill()


async def done(pending: Pending[Any]) -> Any:
    """What a Pending of another thread comes to."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    pending.when_done(lambda _: loop.call_soon_threadsafe(over.set))
    await over.wait()
    return pending.result()


Member = Threaded | AsyncPeer
KINDS: dict[str, type[Threaded] | type[AsyncPeer]] = {"threads": Threaded, "asyncio": AsyncPeer}


@contextlib.contextmanager
def free_base() -> Iterator[int]:
    """A base port at which all 256 ports are free, and nobody's else while the block runs."""
    slots = range(FIRST_PORT, LAST_PORT - SLOT_PORTS, SLOT_PORTS)
    start = os.getpid() % len(slots)
    for base in [*slots[start:], *slots[:start]]:
        with socket.socket(type=socket.SOCK_DGRAM) as guard:
            try:
                guard.bind(("127.0.0.1", base + SLOT_PORTS - 1))
            except OSError:
                continue
            if all(is_free(base + number) for number in range(256)):
                yield base
                return
    raise OSError("no 256 ports in a row are free")


def is_free(port: int) -> bool:
    """Whether nobody has this port of 127.0.0.1."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def spread(count: int) -> list[int]:
    """So many ids, evenly around the circle."""
    return [number * 256 // count for number in range(count)]


@contextlib.asynccontextmanager
async def peers(driver: str, count: int, **place: Any) -> AsyncIterator[list[Member]]:
    """Peers that are not started, with folders of their own below `files`; killed behind the block."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as root, free_base() as base_port:
        place = {"base_port": base_port, "files": Path(root), **place}
        line: list[Member] = [KINDS[driver](number, **place) for number in spread(count)]
        try:
            yield line
        finally:
            for peer in line:
                peer.kill()


@contextlib.asynccontextmanager
async def ring(driver: str, count: int, **place: Any) -> AsyncIterator[list[Member]]:
    """The same as one right ring."""
    async with peers(driver, count, **place) as line:
        await begin(line)
        await until_right(line)
        yield line


def setups(line: Sequence[Any]) -> list[Awaitable[None]]:
    """What makes them one ring, peer by peer."""
    ids = [peer.id for peer in line] * 3
    return [peer.setup(ids[at + 1], ids[at + 2]) for at, peer in enumerate(line)]


async def begin(line: Sequence[Member]) -> None:
    """Set them up as one ring."""
    await asyncio.gather(*setups(line))


def is_wrong_in(line: Sequence[Any]) -> Callable[[Any], bool]:
    """Whether a peer does not have the two successors and the first predecessor that it should have."""
    ids = [peer.id for peer in line] * 3
    wanted = {peer.id: (ids[at - 1], ids[at + 1], ids[at + 2]) for at, peer in enumerate(line)}

    def is_wrong(peer: Any) -> bool:
        view = peer.view()
        return (view.first_predecessor, view.first, view.second) != wanted[peer.id]

    return is_wrong


async def until_right(line: Sequence[Member], timeout_s: float = 120.0) -> None:
    """Until each of them has its two successors and its first predecessor."""
    is_wrong = is_wrong_in(line)
    deadline, wrong = time.monotonic() + timeout_s, list(line)
    while wrong := [peer for peer in wrong if is_wrong(peer)] or [peer for peer in line if is_wrong(peer)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not one right ring after {timeout_s} s: {[peer.id for peer in wrong]}")
        await asyncio.sleep(LOOK_S)
