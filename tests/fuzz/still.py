"""A peer whose threads never start: what comes is handed in, what would go out is thrown away, and it is made in no time."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

from overlay.core.blobstore import BlobStore
from overlay.core.context import Failure, OnFailed, Reason, Transfer
from overlay.core.message import Contact, Envelope, Message
from overlay.core.storage import Batch, BlobRef
from overlay.ids import Key
from overlay.live.connection import Connection
from overlay.live.gate import BodyRequest
from overlay.live.threads import ThreadDriver
from overlay.live.traffic import Traffic
from overlay.live.wire import Wire
from overlay.peer.parts import PeerParts

ME = Contact(Key(4), "127.0.0.1", 4, 7)
NEIGHBORS = (8, 14)
REF = BlobRef(bytes(32), 834)
TIMERS = 12
"""So many of them fire after each input: deadlines pass, and periodic work meets what the input left."""


class Still(ThreadDriver):
    """Member 4 of a ring of three, with a Store and a Request of its own on their way."""

    def __init__(self) -> None:
        super().__init__(ME, blobs=cast(BlobStore, NoDisk()))
        self.parts = PeerParts(1.0)
        for protocol in self.parts.protocols():
            self.node.add(protocol)
        self.traffic = Traffic(self)
        self.traffic.wire = cast(Wire, NoWire())
        self.bodies = NoBodies()  # type: ignore[assignment]
        self.call(self.node.start)
        self.call(self.parts.setup, [(Key(number), "127.0.0.1", number) for number in NEIGHBORS])
        for work in (self.parts.records.store, self.parts.records.request):
            self.call(work, "2067")

    @classmethod
    def busy(cls) -> Still:
        """One that has asked, and waits for answers."""
        driver = cls()
        driver.let_time_pass()
        return driver

    def let_time_pass(self) -> None:
        """The next timers fire, whenever they are due."""
        for _ in range(min(TIMERS, len(self._timers))):
            timer = self._timers.take(math.inf)
            assert timer is not None
            self.call(timer.fire)

    def _act(self, datagrams: Any) -> None:
        assert self.traffic is not None
        self.traffic._frames.clear()
        self._tell()

    def _timer_added(self, when: float) -> None:
        """No thread sleeps until then."""

    def crash(self) -> None:
        """What would end a peer ends the run."""
        error = sys.exc_info()[1]
        assert error is not None
        raise error

    def persist(self, service: str, batch: Batch, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        self.after(self.node, 0, on_durable, ())

    def find_blob(self, name: str, on_found: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        if name == "2067.pdf":
            self.after(self.node, 0, on_found, (REF,))
        else:
            self.after(self.node, 0, on_failed, (Failure(Reason.LOCAL, "no such file"),))

    def fetch_blob(
        self, transfer: Transfer, start: int, end: int, on_done: Callable[[], None], on_failed: OnFailed
    ) -> Transfer:
        if transfer.ref.size % 2:
            self.after(self.node, 0, on_failed, (Failure(Reason.UNREACHABLE),))
        else:
            self.after(self.node, 0, on_done, ())
        return transfer


class NoDisk:
    """Keeps nothing."""

    def entries(self, service: str) -> dict[str, Any]:
        return {}


class NoWire:
    """Carries nothing."""

    def proven(self, connection: Connection) -> None:
        connection.proven = True

    def release(self, connection: Connection) -> socket.socket:
        connection.open = False
        return connection.sock


class NoBodies:
    """Sends nothing; bodies are asked for on real sockets."""

    def serve(self, envelope: Envelope[Message], request: BodyRequest, sock: socket.socket, host: str) -> None:
        assert request.ref is not None


def incoming() -> Connection:
    """A stranger's connection."""
    return Connection(cast(Wire, NoWire()), cast(socket.socket, None), ("127.0.0.1", 9), 0.0, outgoing=False)


def outgoing(driver: Still) -> Connection:
    """The connection on which all of its questions went out."""
    place = ("127.0.0.1", NEIGHBORS[0])
    connection = Connection(cast(Wire, NoWire()), cast(socket.socket, None), place, 0.0, outgoing=True)
    connection.outstanding.update(dict.fromkeys([*driver.node.calls, *driver.hellos._open]))
    return connection
