"""What the live drivers share: the monitor around a node, and its Context's effects.

Whoever enters holds the lock, runs one handler, and only afterwards, outside, sends datagrams, wakes the wire and tells
the layer above. What differs, threads or one loop, is in `threads` and in `aio`.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from overlay.core.blobstore import BlobStore
from overlay.core.codec import MAX_DATAGRAM_BYTES
from overlay.core.context import Failure, OnFailed, Timer, Transfer, failure_of
from overlay.core.message import Contact, Message
from overlay.core.node import Node
from overlay.core.storage import Batch, BlobRef
from overlay.core.trace import Observer
from overlay.errors import LocalError
from overlay.live.addresses import family_of, open_pair
from overlay.live.connection import Address
from overlay.live.context import LiveContext
from overlay.live.gate import Gate
from overlay.live.pull import Pulls
from overlay.live.serving import Bodies
from overlay.live.small import made, read
from overlay.live.timers import Timers
from overlay.live.traffic import Traffic
from overlay.live.waker import Latch
from overlay.live.watching import Hellos, Watches
from overlay.live.workers import DISK, SCRUBS, Lane

T = TypeVar("T")
_ToWrite = tuple[str, Batch, Callable[[], None], OnFailed]
"""A service, what it wants to be durable, and whom to tell."""

DATAGRAM_BYTES = MAX_DATAGRAM_BYTES + 1
"""Room for a datagram; whatever is longer than a message may be is dropped unread."""

FLUSH_S = 2.0
"""A clean stop gives what was sent so long to leave."""

DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
log = logging.getLogger(__name__)
_last_boot = 0


def next_boot() -> int:
    """An incarnation: the milliseconds since 1970, and more than any before in this process."""
    global _last_boot
    _last_boot = max(_last_boot + 1, time.time_ns() // 1_000_000)
    return _last_boot


class Driver:
    """A node with real time, sockets and a disk. Not started, it has a port and takes protocols by `node.add`."""

    __slots__ = (
        "_crashed", "_events", "_later", "_listener", "_lock", "_on_crash", "_on_event", "_other_udp", "_owner",
        "_telling", "_timers", "_to_write", "_udp", "blobs",
        "bodies", "closed", "disk", "drops",
        "hellos", "me", "node", "observers", "pulls", "source", "traffic", "watches",
    )  # fmt: skip

    def __init__(
        self,
        me: Contact,
        *,
        blobs: BlobStore,
        bind: str | None = None,
        observers: Sequence[Observer] = (),
        on_event: Callable[[msgspec.Struct], None] | None = None,
        on_crash: Callable[[str], None] | None = None,
    ):
        if family_of(me.host) is None:
            raise LocalError(f"{me.host} is not the numeric address of one machine, and cannot be advertised")
        self.me = Contact(me.id, me.host, me.port, me.boot or next_boot())
        self.node = Node(self.me, self)
        self.blobs = blobs
        self.observers = tuple(observers)
        self.drops: Counter[str] = Counter()
        self.hellos = Hellos(self)
        self.watches = Watches(self)
        self.pulls = Pulls(self)
        self.bodies = Bodies(self)
        self.disk = Lane(DISK)
        self.traffic: Traffic | None = None
        self.closed = Latch()
        """Nothing of this peer is left: no thread, no socket."""
        self._crashed = False
        self.source = bind or me.host
        """The address of ours that is listened on and connected from."""
        self._on_event = on_event
        self._on_crash = on_crash
        self._listener: socket.socket | None = None
        self._udp: socket.socket | None = None
        self._other_udp: socket.socket | None = None
        """What datagrams to peers of the other family leave by; made when the first one is met."""
        self._lock = threading.Lock()
        self._owner = 0
        # Lists, for an empty deque takes 600 bytes, and hundreds of peers live in one process.
        self._later: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._timers = Timers()
        self._to_write: list[_ToWrite] = []
        self._events: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._telling = threading.Lock()

    def open(self) -> None:
        """Take the port, for TCP and for UDP; 0 becomes a free one, in `me`. PortTaken, or LocalError."""
        self._listener, self._udp = open_pair(self.source, self.me.port)
        self.me = Contact(self.me.id, self.me.host, self._listener.getsockname()[1], self.me.boot)
        self.node.me = self.me

    @property
    def gate(self) -> Gate:
        """The started node's gate."""
        assert self.traffic is not None, "a gate is made when the node starts and its messages are known"
        return self.traffic.gate

    # The monitor ---------------------------------------------------------------------------------------------

    def run(self, function: Callable[..., None], *args: Any) -> None:
        """Enter the node like a handler, from any thread. From inside the node: when the current handler is done."""
        if self._owner == threading.get_ident():
            self._later.append((function, args))
        else:
            self._enter(function, args)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Enter the node and bring back what `function` returns. What it raises is the caller's."""
        if self._owner == threading.get_ident():
            raise LocalError("this is inside the node already: call the function itself")
        return self._enter(function, args)

    def _enter(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        datagrams: list[tuple[bytes, Address]] = []
        try:
            with self._lock:
                self._owner = threading.get_ident()
                try:
                    return function(*args)
                finally:
                    try:
                        self._finish()
                    finally:
                        datagrams = self.traffic.take_datagrams() if self.traffic else []
                        self._owner = 0
        finally:
            self._act(datagrams)

    def _finish(self) -> None:
        """A handler has returned: what waited for that is done now, and what it sent is made bytes.

        Not before, for the stack of a thread is as deep as the deepest call ever was, and stays so."""
        while self._later:
            handler, args = self._later.pop(0)
            handler(*args)
        if self.traffic is not None:
            self.traffic.seal()
            if self._later:
                self._finish()

    def later(self, function: Callable[..., None], *args: Any) -> None:
        """From inside the node: run it when the current handler has returned."""
        self._later.append((function, args))

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Enter the running node from a pool; an error there ends the peer, loudly."""
        raise NotImplementedError

    def crash(self) -> None:
        """End the peer at once, and say why: the exception that is being handled. From any thread, but not inside."""
        text = traceback.format_exc()
        log.error("Peer %s ends because of an error in it\n%s", self.me.id, text)
        with self._lock:
            if self._crashed or self.closed.is_set():
                return
            self._crashed = True
            self.node.running = False
        self._end(text)

    def _end(self, text: str) -> None:
        raise NotImplementedError

    def _close(self) -> bool:
        """Close what is open; False when that was done before."""
        with self._lock:
            if self.closed.is_set():
                return False
            self.closed.set()
        self.pulls.cancel_all()
        self.bodies.cut_all()
        if self.traffic is not None:
            self.traffic.wire.shut()
        elif self._listener is not None:
            self._listener.close()
        if self._udp is not None:
            self._udp.close()
        if self._other_udp is not None:
            self._other_udp.close()
        return True

    def if_running(self, function: Callable[..., None], *args: Any) -> None:
        """Inside the node: call it, unless the node has stopped."""
        if self.node.running:
            function(*args)

    def _act(self, datagrams: list[tuple[bytes, Address]]) -> None:
        for data, address in datagrams:
            try:
                self._udp_to(address).sendto(data, DONTWAIT, address)
            except OSError:
                # A datagram may vanish; here is where this one did.
                self.drops["not sent: UDP"] += 1
        if self.traffic is not None and self.traffic.has_frames:
            self._wake_wire()
        self._tell()

    def _udp_to(self, address: Address) -> socket.socket:
        """The socket to send from. Peers of the other family are sent to from another one, and answer to our own."""
        assert self._udp is not None
        family = family_of(address[0])
        if family is None or family == self._udp.family:
            return self._udp
        if self._other_udp is None:
            self._other_udp = socket.socket(family, socket.SOCK_DGRAM)
        return self._other_udp

    def _wake_wire(self) -> None:
        raise NotImplementedError

    def _tell(self) -> None:
        # Whoever holds `_telling` tells everything, also what others add meanwhile: so the order is that of the node.
        while self._events and self._telling.acquire(blocking=False):
            try:
                while self._events:
                    function, args = self._events.pop(0)
                    function(*args)
            except Exception:
                self.crash()
            finally:
                self._telling.release()

    # What a node asks of its host ----------------------------------------------------------------------------

    def context(self, node: Node, service: str) -> LiveContext:
        """See `Host`."""
        return LiveContext(self, service)

    def after(self, node: Node, delay_s: float, callback: Callable[..., None], args: tuple[Any, ...]) -> Timer:
        """See `Host`."""
        timer = Timer(callback, args)
        when = time.monotonic() + delay_s
        self._timers.add(when, timer)
        self._timer_added(when)
        return timer

    def _timer_added(self, when: float) -> None:
        raise NotImplementedError

    def _fire(self) -> None:
        now = time.monotonic()
        while (timer := self._timers.take(now)) is not None:
            timer.fire()
            self._finish()

    def dropped(self, node: Node, why: str, sender: Contact | None) -> None:
        """See `Host`."""
        self.drops[why] += 1
        for observer in self.observers:
            observer.dropped(time.monotonic(), self.me, sender, why)

    def notify(self, service: str, event: msgspec.Struct) -> None:
        """Tell the layer above, once the monitor is left."""
        for observer in self.observers:
            observer.notified(time.monotonic(), self.me, service, event)
        if self._on_event is not None:
            self.outside(self._on_event, event)

    @property
    def is_heard(self) -> bool:
        """Whether anybody hears what is notified."""
        return self._on_event is not None or bool(self.observers)

    def outside(self, function: Callable[..., object], *args: Any) -> None:
        """From inside the node: call it once the monitor is left, in one line with the events."""
        self._events.append((function, args))

    def transmit(self, node: Node, peer: Contact, kind: int, service: str, number: int, message: Message) -> None:
        """See `Host`."""
        assert self.traffic is not None, "messages are sent by a node that has been started"
        self.traffic.transmit(peer, kind, service, number, message)

    def send_hello(self, address: Address, number: int) -> None:
        """Ask who lives at an address."""
        assert self.traffic is not None, "messages are sent by a node that has been started"
        self.traffic.send_hello(address, number)

    # Disk and bodies -----------------------------------------------------------------------------------------

    def persist(self, service: str, batch: Batch, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        """See `Context`. Batches of one node are written in order, and those that wait at the same time together."""
        self._to_write.append((service, batch, on_durable, on_failed))
        self.disk.submit(self._write)

    def _write(self) -> None:
        # The node appends to the same list meanwhile; whatever comes too late for this turn has a turn of its own.
        count = len(self._to_write)
        todo = self._to_write[:count]
        del self._to_write[:count]
        if not todo:
            return
        try:
            commit = self.blobs.write_all(
                [(service, batch) for service, batch, _, _ in todo],
                lambda errors: self.post(self._written, todo, errors),
            )
        except Exception:
            self.crash()
        else:
            # Behind what other peers of this process have to write: it may share the sync.
            DISK.submit(commit)

    def _written(self, done: Sequence[_ToWrite], errors: Sequence[LocalError | None]) -> None:
        for (_, _, on_durable, on_failed), error in zip(done, errors, strict=True):
            if error is None:
                self.later(on_durable)
            else:
                self.later(on_failed, failure_of(error))

    def find_blob(self, name: str, on_found: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        """See `Context`."""
        DISK.submit(self._job(lambda: self.blobs.find(name), on_found, on_failed))

    def make_blob(self, data: bytes, on_made: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        """See `Context`."""
        DISK.submit(self._job(lambda: made(self.blobs, data), on_made, on_failed))

    def read_blob(self, ref: BlobRef, on_read: Callable[[bytes], None], on_failed: OnFailed) -> None:
        """See `Context`."""
        DISK.submit(self._job(lambda: read(self.blobs, ref), on_read, on_failed))

    def scrub(
        self,
        service: str,
        on_rotten: Callable[[str, BlobRef | None], None],
        on_done: Callable[[], None],
        bytes_per_s: float,
    ) -> Callable[[], None]:
        """See `Context`."""
        scrub = self.blobs.scrub(bytes_per_s)

        def rotten(place: tuple[str, str], ref: BlobRef | None) -> None:
            if place[0] == service:
                self.post(on_rotten, place[1], ref)

        def ended(whole: bool) -> None:
            if whole:
                on_done()

        def failed(failure: Failure) -> None:
            log.warning("Peer %s: a look at the disk was broken off: %s", self.me.id, failure.detail)
            on_done()

        SCRUBS.submit(self._job(lambda: scrub.run(rotten), ended, failed))
        return scrub.cancel

    def _job(self, work: Callable[[], T], on_done: Callable[[T], None], on_failed: OnFailed) -> Callable[[], None]:
        def job() -> None:
            try:
                result = work()
            except (LocalError, OSError) as error:
                self.post(on_failed, failure_of(error))
            except Exception:
                self.crash()
            else:
                self.post(on_done, result)

        return job

    def fetch_blob(
        self, transfer: Transfer, start: int, end: int, on_done: Callable[[], None], on_failed: OnFailed
    ) -> Transfer:
        """See `Context`."""
        return self.pulls.start(transfer, start, end, on_done, on_failed)
