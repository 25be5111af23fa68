"""One face for three drivers: peers with a Talker, driven by a test that waits without knowing what for time is made of."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from overlay.core.message import Contact
from overlay.core.node import Node
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.ids import Key
from overlay.live import serving
from overlay.live.aio import AsyncioDriver
from overlay.live.driver import Driver
from overlay.live.threads import ThreadDriver
from overlay.sim import Faults, Simulation
from tests.live.support import PATIENCE_S, Folder, Talker

T = TypeVar("T")


class Peer:
    """A peer of a world, with a Talker unless it was given protocols. What is done with it goes through `World.do`."""

    def __init__(self, node: Node, driver: Driver | None = None):
        self.node = node
        self.driver = driver
        self.told: list[msgspec.Struct] = []

    @property
    def me(self) -> Contact:
        return self.node.me

    @property
    def talk(self) -> Talker:
        talk = self.node.protocols["talk"]
        assert isinstance(talk, Talker)
        return talk


class World(ABC):
    """What the scenarios need of a driver."""

    @abstractmethod
    def add(
        self,
        number: int,
        files: Mapping[str, bytes] | None = None,
        *,
        before: Peer | None = None,
        protocols: Sequence[Protocol] = (),
    ) -> Peer:
        """Start a peer; `before` is its life before, whose place and disk it takes."""

    @abstractmethod
    def do(self, peer: Peer, function: Callable[..., T], *args: Any) -> T:
        """Run something inside the node, as one handler."""

    @abstractmethod
    def wait(self, peer: Peer, pending: Pending[T]) -> T:
        """Its outcome, in good time."""

    @abstractmethod
    def kill(self, peer: Peer) -> None:
        """Gone, without a word."""

    @abstractmethod
    def stop(self, peer: Peer) -> None:
        """Gone, in good order."""

    @abstractmethod
    def file(self, peer: Peer, name: str) -> bytes:
        """What lies in the peer's shared folder."""

    @abstractmethod
    def pause(self, peer: Peer) -> Callable[[], None]:
        """Let it stand still, until what is returned is called."""

    def add_one_that_pauses(self, number: int) -> Peer:
        """A peer for `pause`."""
        return self.add(number)

    @abstractmethod
    def lose(self, peer: Peer, number: int) -> None:
        """From now on one datagram in so many that are sent to this peer vanishes."""

    @abstractmethod
    def drops(self, peer: Peer) -> Mapping[str, int]:
        """What went nowhere at this peer, by reason; in the simulator at any of them."""

    @abstractmethod
    def dying(self, peer: Peer, at: int) -> contextlib.AbstractContextManager[None]:
        """The peer dies when so many bytes of a body have left it; it is dead behind the block."""

    def close(self) -> None:
        """All peers are gone."""

    # What scenarios say often --------------------------------------------------------------------------------

    def ask(self, peer: Peer, other: Contact, message: Any, timeout_s: float = PATIENCE_S) -> Any:
        return self.wait(peer, self.do(peer, peer.talk.ask, other, message, timeout_s))

    def hears(self, peer: Peer, count: int) -> list[Any]:
        """What it has heard, once that is so many things."""
        self.wait(peer, self.do(peer, peer.talk.until, lambda: len(peer.talk.heard) >= count))
        return peer.talk.heard


class SimulatedWorld(World):
    """In virtual time, every message through the codec."""

    def __init__(self, path: Path):
        self.network = Faults()
        self.sim = Simulation(seed=1, network=self.network, encode=True)

    def add(
        self,
        number: int,
        files: Mapping[str, bytes] | None = None,
        *,
        before: Peer | None = None,
        protocols: Sequence[Protocol] = (),
    ) -> Peer:
        if before is not None:
            return self._listened(Peer(self.sim.restart(before.me, lambda _: protocols or [Talker()])))
        contact = Contact(Key(number), "127.0.0.1", 12000 + number, 1)
        node = self.sim.add(contact, *(protocols or [Talker()]), files=files)
        peer = self._listened(Peer(node))
        self.sim.start(node)
        return peer

    def _listened(self, peer: Peer) -> Peer:
        self.sim.listen(peer.me, peer.told.append)
        return peer

    def do(self, peer: Peer, function: Callable[..., T], *args: Any) -> T:
        return function(*args)

    def wait(self, peer: Peer, pending: Pending[T]) -> T:
        self.sim.run_until(pending, PATIENCE_S)
        return pending.result()

    def kill(self, peer: Peer) -> None:
        self.sim.crash(peer.me)

    def stop(self, peer: Peer) -> None:
        self.sim.stop(peer.me)

    def file(self, peer: Peer, name: str) -> bytes:
        content = self.sim.files(peer.me)[name]
        assert isinstance(content, bytes)
        return content

    def pause(self, peer: Peer) -> Callable[[], None]:
        self.sim.pause(peer.me)
        return lambda: self.sim.resume(peer.me)

    def lose(self, peer: Peer, number: int) -> None:
        self.network.loss = 1 / number

    def drops(self, peer: Peer) -> Mapping[str, int]:
        return self.sim.drops

    @contextlib.contextmanager
    def dying(self, peer: Peer, at: int) -> Iterator[None]:
        self.sim.at(self.sim.now + at / self.network.rate, self.sim.crash, peer.me)
        yield


class LiveWorld(World):
    """What the two live worlds share: loopback, and folders."""

    kind: type[Driver]

    def __init__(self, path: Path):
        self.path = path
        self.peers: list[Peer] = []

    def add(
        self,
        number: int,
        files: Mapping[str, bytes] | None = None,
        *,
        before: Peer | None = None,
        protocols: Sequence[Protocol] = (),
    ) -> Peer:
        folder = Folder(self.path / str(number))
        for name, content in (files or {}).items():
            (folder.path / name).write_bytes(content)
        port = 0
        if before is not None:
            assert before.driver is not None
            self.kill(before)
            port, folder = before.me.port, before.driver.blobs  # type: ignore[assignment]
        told: list[msgspec.Struct] = []
        driver = self.kind(Contact(Key(number), "127.0.0.1", port), blobs=folder, on_event=told.append)
        driver.open()
        for protocol in protocols or [Talker()]:
            driver.node.add(protocol)
        peer = Peer(driver.node, driver)
        peer.told = told
        self.peers.append(peer)
        self.start(peer)
        return peer

    @abstractmethod
    def start(self, peer: Peer) -> None:
        """Start its driver."""

    def do(self, peer: Peer, function: Callable[..., T], *args: Any) -> T:
        assert peer.driver is not None
        return peer.driver.call(function, *args)

    def file(self, peer: Peer, name: str) -> bytes:
        return (self.path / str(peer.me.id) / name).read_bytes()

    def lose(self, peer: Peer, number: int) -> None:
        assert peer.driver is not None and peer.driver.traffic is not None
        count, received = itertools.count(), peer.driver.traffic.received_datagram

        def lossy(data: bytes | memoryview) -> None:
            if next(count) % number:
                received(data)

        peer.driver.traffic.received_datagram = lossy  # type: ignore[method-assign]

    def drops(self, peer: Peer) -> Mapping[str, int]:
        assert peer.driver is not None
        return peer.driver.drops

    @contextlib.contextmanager
    def dying(self, peer: Peer, at: int) -> Iterator[None]:
        class Dying(serving.Sending):
            def send(self, buffer: memoryview) -> bool:
                return self._at < at and super().send(buffer)

        before, serving.Sending = serving.Sending, Dying  # type: ignore[misc]
        try:
            yield
        finally:
            serving.Sending = before  # type: ignore[misc]
        self.kill(peer)

    def close(self) -> None:
        for peer in self.peers:
            self.kill(peer)


class ThreadsWorld(LiveWorld):
    """Three threads a peer."""

    kind = ThreadDriver

    def start(self, peer: Peer) -> None:
        threads(peer).start()

    def wait(self, peer: Peer, pending: Pending[T]) -> T:
        return threads(peer).wait(pending, PATIENCE_S)

    def kill(self, peer: Peer) -> None:
        threads(peer).kill()

    def stop(self, peer: Peer) -> None:
        threads(peer).stop()

    def pause(self, peer: Peer) -> Callable[[], None]:
        stands, over = threading.Event(), threading.Event()

        def stand_still() -> None:
            stands.set()
            over.wait(PATIENCE_S)

        threading.Thread(target=self.do, args=(peer, stand_still), daemon=True).start()
        assert stands.wait(PATIENCE_S)
        return over.set


class AsyncioWorld(LiveWorld):
    """All peers on one loop, which runs while the test waits."""

    kind = AsyncioDriver

    def __init__(self, path: Path):
        super().__init__(path)
        self.loop = asyncio.new_event_loop()
        self.apart: LoopApart | None = None
        """The loop of the one that pauses: standing still, it would stop all that live on its loop."""

    def start(self, peer: Peer) -> None:
        if self.apart is not None:
            asyncio.run_coroutine_threadsafe(aio(peer).start(), self.apart.loop).result(PATIENCE_S)
        else:
            self.loop.run_until_complete(aio(peer).start())

    def add_one_that_pauses(self, number: int) -> Peer:
        self.apart = LoopApart()
        return self.add(number)

    def wait(self, peer: Peer, pending: Pending[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(aio(peer).future(pending), PATIENCE_S))

    def kill(self, peer: Peer) -> None:
        aio(peer).kill()

    def stop(self, peer: Peer) -> None:
        self.loop.run_until_complete(aio(peer).stop())

    def pause(self, peer: Peer) -> Callable[[], None]:
        assert self.apart is not None
        over = threading.Event()
        self.apart.loop.call_soon_threadsafe(over.wait, PATIENCE_S)
        return over.set

    def close(self) -> None:
        if self.apart is not None:
            self.apart.end()
        super().close()
        with contextlib.closing(self.loop):
            assert not asyncio.all_tasks(self.loop)


class LoopApart:
    """A loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        with contextlib.closing(self.loop):
            assert not asyncio.all_tasks(self.loop)


def threads(peer: Peer) -> ThreadDriver:
    assert isinstance(peer.driver, ThreadDriver)
    return peer.driver


def aio(peer: Peer) -> AsyncioDriver:
    assert isinstance(peer.driver, AsyncioDriver)
    return peer.driver
