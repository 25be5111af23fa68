"""Bodies that come: each on a TCP connection of its own and on a pool's thread, resumed, hashed, written, checked."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from overlay.core.blobstore import Partial
from overlay.core.codec import MAX_FRAME_BYTES, DecodeError
from overlay.core.context import Failure, OnFailed, Reason, Transfer, failure_of
from overlay.core.message import CALL, REPLY, Refused
from overlay.core.storage import BlobRef
from overlay.errors import LocalError, OverlayError, RemoteError
from overlay.live.addresses import connect
from overlay.live.connection import CONNECT_S
from overlay.live.frames import HEADER_BYTES, frame
from overlay.live.gate import BUSY, BodyFollows, BodyRequest
from overlay.live.workers import BODIES, HASHES

if TYPE_CHECKING:
    from overlay.live.driver import Driver

STALL_S = 10.0
LEAST_BYTES_PER_S = 1024
"""A body that comes more slowly than this, measured over STALL_S, has stalled."""

BUFFER_BYTES = 1 << 19
BUFFERS = 6
"""One is filled, one is hashed, the rest evens out the two. Measured: larger ones leave the processor's cache."""

MAX_PULLS = 6
MAX_PULLS_PER_PEER = 3
MAX_WAITING = 4096


class Cut(OverlayError):
    """The body stopped coming."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


class Pull:
    """One transfer, on a thread of the pool from `run` on."""

    def __init__(self, driver: Driver, transfer: Transfer, end: int, on_done: Callable[[], None], on_failed: OnFailed):
        self.transfer = transfer
        self.on_done = on_done
        self.on_failed = on_failed
        self._driver = driver
        self._end = end
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None

    def interrupt(self) -> None:
        """Wake the thread that waits for bytes."""
        with self._lock, contextlib.suppress(OSError):
            if self._sock is not None:
                self._sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Pull, and tell the node how it went."""
        failure: Failure | None = None
        try:
            self._pull()
        except Cut as cut:
            failure = Failure(cut.reason, str(cut))
        except RemoteError as error:
            failure = Failure(Reason.REFUSED, str(error))
        except (LocalError, OSError) as error:
            failure = failure_of(error)
        except Exception:
            self._driver.crash()
            return
        if failure is not None and self.transfer.cancelled:
            failure = Failure(Reason.CANCELLED)
        self._driver.post(self._driver.pulls.ended, self, failure)

    def _pull(self) -> None:
        blobs, transfer = self._driver.blobs, self.transfer
        partial = blobs.partial(transfer.ref)
        try:
            transfer.done_bytes = partial.have
            if partial.have < self._end:
                self._connect(partial.have)
                self._receive(partial)
            if self._end == transfer.ref.size:
                partial.finish()
        finally:
            partial.close()
            with self._lock:
                if self._sock is not None:
                    self._sock.close()
                    self._sock = None

    def _connect(self, start: int) -> None:
        peer, ref = self.transfer.peer, self.transfer.ref
        try:
            sock = connect(peer.address, self._driver.source, CONNECT_S)
        except OSError as error:
            raise Cut(Reason.UNREACHABLE, error.strerror or "cannot be reached") from None
        with self._lock:
            self._sock = sock
        if self.transfer.cancelled:
            raise Cut(Reason.CANCELLED, "")
        sock.settimeout(STALL_S)
        gate = self._driver.gate
        try:
            sock.sendall(frame(gate.seal(peer, CALL, "", 1, BodyRequest(ref, start, self._end))))
            size = int.from_bytes(_exactly(sock, HEADER_BYTES))
            if not 0 < size <= MAX_FRAME_BYTES:
                raise DecodeError("frame too long")
            answer = gate.open_answer(_exactly(sock, size))
        except TimeoutError:
            raise Cut(Reason.TIMEOUT, "no answer to the request of a body") from None
        except OSError as error:
            raise Cut(Reason.UNREACHABLE, error.strerror or "cut") from None
        if isinstance(answer.body, Refused):
            if answer.body.reason == BUSY:
                raise Cut(Reason.OVERLOADED, BUSY)
            raise RemoteError(answer.body.reason)
        if not isinstance(answer.body, BodyFollows) or answer.kind != REPLY or not peer.is_same_peer(answer.sender):
            raise RemoteError("not the body that was asked for")

    def _receive(self, partial: Partial) -> None:
        left = self._end - partial.have
        checker = Checker(partial, min(left, BUFFER_BYTES), BUFFERS if left > BUFFER_BYTES else 1)
        try:
            while left:
                buffer = checker.free.get()
                count, cut = self._fill(buffer[:left])
                if count:
                    partial.write(buffer[:count])
                    checker.hand(buffer, count)
                    left -= count
                if cut is not None:
                    raise cut
        finally:
            checker.finish()
        if checker.error is not None:
            raise checker.error

    def _fill(self, buffer: memoryview) -> tuple[int, Cut | None]:
        """Receive until the buffer is full, or no more comes: then why."""
        assert self._sock is not None
        filled, since, before = 0, time.monotonic(), 0
        while filled < len(buffer):
            try:
                count = self._sock.recv_into(buffer[filled:])
            except TimeoutError:
                return filled, Cut(Reason.TIMEOUT, "the body stalled")
            except OSError as error:
                return filled, Cut(Reason.UNREACHABLE, error.strerror or "cut")
            if not count:
                return filled, Cut(Reason.UNREACHABLE, "the body was cut short")
            filled += count
            self.transfer.done_bytes += count
            now = time.monotonic()
            if now - since > STALL_S:
                if filled - before < LEAST_BYTES_PER_S * STALL_S:
                    return filled, Cut(Reason.TIMEOUT, "the body comes too slowly")
                since, before = now, filled
        return filled, None


class Checker:
    """Hashes what comes on another thread, because SHA-256 takes as long as everything else together."""

    def __init__(self, partial: Partial, size: int, buffers: int):
        self.error: Exception | None = None
        self.free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._partial = partial
        self._full: queue.SimpleQueue[tuple[memoryview, int] | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._alone = buffers == 1
        for _ in range(buffers):
            self.free.put(memoryview(bytearray(size)))
        if not self._alone:
            HASHES.submit(self._work)

    def hand(self, buffer: memoryview, count: int) -> None:
        """Check so many bytes of a buffer; it is free again afterwards."""
        if self._alone:
            self._partial.check(buffer[:count])
            self.free.put(buffer)
        else:
            self._full.put((buffer, count))

    def finish(self) -> None:
        """Wait until everything handed over is checked."""
        if not self._alone:
            self._full.put(None)
            self._done.wait()

    def _work(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, count = item
            try:
                if self.error is None:
                    self._partial.check(buffer[:count])
            except Exception as error:
                self.error = error
            self.free.put(buffer)
        self._done.set()


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionResetError("the connection was closed")
        data += piece
    return data


class Pulls:
    """Which transfers of a node run and which wait. Everything happens inside its monitor, but for `cancel_all`."""

    def __init__(self, driver: Driver):
        self._driver = driver
        self._running: dict[BlobRef, Pull] = {}
        self._by_peer: Counter[tuple[str, int]] = Counter()
        self._waiting: list[Pull] = []

    def start(
        self, transfer: Transfer, start: int, end: int, on_done: Callable[[], None], on_failed: OnFailed
    ) -> Transfer:
        """See `Context.fetch_blob`. A body grows from its beginning, so `start` only says what is here already."""
        pull = Pull(self._driver, transfer, end, on_done, on_failed)
        if not 0 <= start <= end <= transfer.ref.size:
            self._driver.later(
                on_failed, Failure(Reason.LOCAL, f"a body of {transfer.ref.size} bytes has no such part")
            )
        elif len(self._waiting) >= MAX_WAITING:
            self._driver.later(on_failed, Failure(Reason.OVERLOADED, "too many bodies are waited for"))
        else:
            transfer.on_cancel = lambda: self._cancel(pull)
            self._waiting.append(pull)
            self._start_next()
        return transfer

    def _start_next(self) -> None:
        for pull in tuple(self._waiting):
            ref, address = pull.transfer.ref, pull.transfer.peer.address
            if len(self._running) >= MAX_PULLS:
                return
            if ref not in self._running and self._by_peer[address] < MAX_PULLS_PER_PEER:
                self._waiting.remove(pull)
                self._running[ref] = pull
                self._by_peer[address] += 1
                BODIES.submit(pull.run)

    def ended(self, pull: Pull, failure: Failure | None) -> None:
        """A pull is over."""
        address = pull.transfer.peer.address
        del self._running[pull.transfer.ref]
        self._by_peer[address] -= 1
        if not self._by_peer[address]:
            del self._by_peer[address]
        self._start_next()
        if failure is None:
            pull.on_done()
        else:
            pull.on_failed(failure)

    def _cancel(self, pull: Pull) -> None:
        if pull in self._waiting:
            self._waiting.remove(pull)
            self._driver.later(pull.on_failed, Failure(Reason.CANCELLED))
        else:
            pull.interrupt()

    def cancel_all(self) -> None:
        """The node has ended; nobody hears of these any more."""
        self._waiting.clear()
        for pull in tuple(self._running.values()):
            pull.transfer.cancelled = True
            pull.interrupt()
