"""One face for three drivers: peers with a Talker, driven by a test that waits without knowing what for time is made of."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from overlay.core.message import Contact
from overlay.core.node import Node
from overlay.core.pending import Pending
from overlay.ids import Key
from overlay.live.aio import AsyncioDriver
from overlay.live.driver import Driver
from overlay.live.threads import ThreadDriver
from overlay.sim import Simulation
from tests.live.support import PATIENCE_S, Folder, Talker

T = TypeVar("T")


class Peer:
    """A peer of a world. `talk` is its protocol; what is done with it goes through `World.do`."""

    def __init__(self, node: Node, talk: Talker, driver: Driver | None = None):
        self.node = node
        self.talk = talk
        self.driver = driver
        self.told: list[msgspec.Struct] = []

    @property
    def me(self) -> Contact:
        return self.node.me


class World(ABC):
    """What the scenarios need of a driver."""

    pauses = True

    @abstractmethod
    def add(self, number: int, files: Mapping[str, bytes] | None = None, before: Peer | None = None) -> Peer:
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
        self.sim = Simulation(seed=1, encode=True)

    def add(self, number: int, files: Mapping[str, bytes] | None = None, before: Peer | None = None) -> Peer:
        talk = Talker()
        if before is not None:
            return self._listened(Peer(self.sim.restart(before.me, lambda _: [talk]), talk))
        contact = Contact(Key(number), "127.0.0.1", 12000 + number, 1)
        node = self.sim.add(contact, talk, files=files)
        peer = self._listened(Peer(node, talk))
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


class LiveWorld(World):
    """What the two live worlds share: loopback, and folders."""

    kind: type[Driver]

    def __init__(self, path: Path):
        self.path = path
        self.peers: list[Peer] = []

    def add(self, number: int, files: Mapping[str, bytes] | None = None, before: Peer | None = None) -> Peer:
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
        talk = Talker()
        driver.node.add(talk)
        peer = Peer(driver.node, talk, driver)
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
    pauses = False

    def __init__(self, path: Path):
        super().__init__(path)
        self.loop = asyncio.new_event_loop()

    def start(self, peer: Peer) -> None:
        self.loop.run_until_complete(aio(peer).start())

    def wait(self, peer: Peer, pending: Pending[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(aio(peer).future(pending), PATIENCE_S))

    def kill(self, peer: Peer) -> None:
        aio(peer).kill()

    def stop(self, peer: Peer) -> None:
        self.loop.run_until_complete(aio(peer).stop())

    def pause(self, peer: Peer) -> Callable[[], None]:
        raise NotImplementedError("one that stands still on a loop stops all of them")

    def close(self) -> None:
        super().close()
        with contextlib.closing(self.loop):
            assert not asyncio.all_tasks(self.loop)


def threads(peer: Peer) -> ThreadDriver:
    assert isinstance(peer.driver, ThreadDriver)
    return peer.driver


def aio(peer: Peer) -> AsyncioDriver:
    assert isinstance(peer.driver, AsyncioDriver)
    return peer.driver
