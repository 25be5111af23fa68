"""The same inputs over real sockets, to a peer on its three threads."""

from __future__ import annotations

import contextlib
import random
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from overlay.live.frames import frame
from overlay.peer import Peer
from tests.fuzz.corpus import load
from tests.fuzz.mutate import mutate
from tests.fuzz.still import ME
from tests.fuzz.targets import TARGETS, split
from tests.peer.support import PATIENCE_S

TCP, UDP = b"t", b"u"
CHECK_EVERY = 500


class Victim:
    """A peer alone in its ring, with a record."""

    def __init__(self, folder: Path):
        (folder / "0004.pdf").write_bytes(b"the original")
        self.folder = folder
        self.crashes: list[str] = []
        self.peer = Peer(int(ME.id), base_port=0, files=folder, on_crash=lambda peer, why: self.crashes.append(why))
        self.peer.setup(int(ME.id), int(ME.id))
        assert self.peer.wait_ready(PATIENCE_S)
        self.done("store")
        self.address = self.peer.contact.address
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def done(self, verb: str) -> None:
        """Have it do something honest."""
        outcome = getattr(self.peer, verb)("0004")
        outcome.wait(PATIENCE_S)

    def close(self) -> None:
        self.udp.close()
        self.peer.kill()

    def send(self, way: bytes, data: bytes) -> None:
        """One input."""
        if way == UDP:
            for datagram in split(data):
                with contextlib.suppress(OSError):
                    self.udp.sendto(datagram, self.address)
            return
        with contextlib.suppress(ConnectionError), socket.create_connection(self.address, PATIENCE_S) as sock:
            sock.sendall(data)

    def check(self) -> None:
        """It lives, with all its threads, and does what it is asked."""
        alive = {thread.name for thread in threading.enumerate()}
        wanted = {f"{name}-{ME.id}" for name in ("tcp-command", "udp-ping-server", "udp-ping-client")}
        assert not self.crashes, self.crashes[0]
        assert wanted <= alive, f"a thread is dead: {wanted - alive}"
        self.done("request")
        assert (self.folder / "received_0004.pdf").read_bytes() == b"the original"


@contextlib.contextmanager
def victim() -> Iterator[Victim]:
    """One, and nothing of it is left."""
    with tempfile.TemporaryDirectory() as folder:
        one = Victim(Path(folder))
        try:
            yield one
        finally:
            one.close()


def inputs(chance: random.Random, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Which way, and what."""
    known = {way: load(TARGETS[name]) for way, name in ((TCP, "tcp"), (UDP, "udp"))}
    for _ in range(count):
        way = chance.choice((TCP, UDP))
        target = TARGETS["tcp" if way == TCP else "udp"]
        yield way, mutate(target, chance.choice(known[way]), chance, known[way])


def play(sent: Sequence[tuple[bytes, bytes]]) -> None:
    """Send them all to one peer; AssertionError when it does not get over it."""
    with victim() as one:
        for number, (way, data) in enumerate(sent, 1):
            one.send(way, data)
            if number % CHECK_EVERY == 0 or number == len(sent):
                one.check()


def packed(sent: Sequence[tuple[bytes, bytes]]) -> bytes:
    """All of it as one input, to be kept."""
    return b"".join(frame(way + data) for way, data in sent)


def replay(data: bytes) -> None:
    """The same again."""
    play([(piece[:1], piece[1:]) for piece in split(data)])
