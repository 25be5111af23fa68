"""Peers of one test on real sockets: their events, a base port that is theirs, and nothing left behind them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from overlay.peer import Peer
from overlay.ring.events import Event, Forwarded, PingAnswered, PingReceived, PingsSent

PATIENCE_S = 30.0
EXAMPLE = (2, 4, 5, 8, 9, 14, 19)
FIRST_PORT, LAST_PORT, SLOT_PORTS = 13_000, 31_000, 300
PINGS = (PingsSent, PingReceived, PingAnswered, Forwarded)


def is_free(port: int) -> bool:
    """Whether nobody has the port, for TCP and for UDP."""
    return is_free_at("127.0.0.1", port)


def is_free_at(host: str, port: int) -> bool:
    """The same at another loopback address."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, port))
            except OSError:
                return False
    return True


def take_slot(numbers: Sequence[int] = (*EXAMPLE, 15)) -> tuple[int, socket.socket]:
    """A base port at which these peers' ports are free, and the socket whose port says to other test runs that it is taken."""
    slots = range(FIRST_PORT, LAST_PORT - SLOT_PORTS, SLOT_PORTS)
    start = os.getpid() % len(slots)
    for base in [*slots[start:], *slots[:start]]:
        guard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            guard.bind(("127.0.0.1", base + SLOT_PORTS - 1))
        except OSError:
            guard.close()
            continue
        if all(is_free(base + number) for number in numbers):
            return base, guard
        guard.close()
    raise AssertionError("no free base port")


class House:
    """Makes peers and hears them."""

    def __init__(self, root: Path, base_port: int):
        self.root = root
        self.files = root / "files"
        self.files.mkdir()
        self.base_port = base_port
        self.peers: dict[int, Peer] = {}
        self.events: dict[int, list[msgspec.Struct]] = {}
        self._heard = threading.Condition()

    def make(self, number: int, **keywords: Any) -> Peer:
        """A peer, not started. One that was made before with this id has ended."""
        keywords = {"ping_interval_s": 0.5, "base_port": self.base_port, "files": self.files, **keywords}
        peer = Peer(number, on_event=self._hear, **keywords)
        self.peers[number] = peer
        self.events[number] = []
        return peer

    def _hear(self, peer: Peer, event: msgspec.Struct) -> None:
        with self._heard:
            if self.peers.get(peer.id) is peer:
                self.events[peer.id].append(event)
            self._heard.notify_all()

    def ring(self, numbers: Sequence[int] = EXAMPLE, **keywords: Any) -> None:
        """Start these peers as one ring, and wait until each knows both neighbors on both sides."""
        for number in numbers:
            self.make(number, **keywords)
        for index, number in enumerate(numbers):
            self.peers[number].setup(*(numbers[(index + step) % len(numbers)] for step in (1, 2)))
        for number in numbers:
            assert self.peers[number].wait_ready(PATIENCE_S)
        line = list(numbers)
        places = {n: tuple(line[(i + step) % len(line)] for step in (-2, -1, 1, 2)) for i, n in enumerate(line)}
        self.until(lambda: all(self.around(number) == places[number] for number in numbers))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it; every event is a reason to look again, and so is a while without any."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it never came about"
            with self._heard:
                self._heard.wait(0.05)

    def told(self, number: int, *, since: int = 0) -> list[msgspec.Struct]:
        """What a peer told, pings and hops apart."""
        with self._heard:
            return [event for event in self.events[number][since:] if not isinstance(event, PINGS)]

    def hear(self, number: int, *expected: Event) -> None:
        """Wait until a peer told these, in this order, whatever it told between them."""

        def is_there() -> bool:
            events = iter(self.events[number])
            return all(any(event == wanted for event in events) for wanted in expected)

        self.until(is_there)

    def around(self, number: int) -> tuple[int | None, ...]:
        """The four neighbors."""
        view = self.peers[number].view()
        return view.second_predecessor, view.first_predecessor, view.first, view.second


def threads_of(number: int) -> list[str]:
    """The threads of a peer that are left."""
    return [thread.name for thread in threading.enumerate() if thread.name.endswith(f"-{number}")]


def houses(root: Path) -> Iterator[House]:
    """For a fixture."""
    base_port, guard = take_slot()
    house = House(root, base_port)
    with guard:
        yield house
        for peer in house.peers.values():
            peer.kill()
    for number in house.peers:
        assert threads_of(number) == []
