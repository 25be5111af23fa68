"""Bodies that go: one thread of the process sends them all, a piece to each receiver that can take one.

So a slow receiver holds up nobody, and no number of them takes a thread each.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from overlay.core.message import REFUSAL, REPLY, Contact, Envelope, Message, Refused
from overlay.errors import OverlayError
from overlay.live.frames import frame
from overlay.live.gate import BUSY, BodyFollows, BodyRequest
from overlay.live.pull import LEAST_BYTES_PER_S, STALL_S
from overlay.live.waker import Waker
from overlay.live.workers import DISK

if TYPE_CHECKING:
    from overlay.live.driver import Driver

PIECE_BYTES = 1 << 20
IDLE_S = 2.0
MAX_BODIES = 128
"""A node sends so many at a time, and refuses more as BUSY."""

MAX_BODIES_PER_ADDRESS = 64


class Sending:
    """A body on its way out."""

    def __init__(
        self, sock: socket.socket, head: bytes, file: FileIO, start: int, end: int, on_end: Callable[[], None]
    ):
        self.sock = sock
        self.on_end = on_end
        self._head = head
        self._file = file
        self._at = start
        self._end = end
        self._was = _seen(file)
        self._since = time.monotonic()
        self._before = start

    def send(self, buffer: memoryview) -> bool:
        """Send a piece. False when it is over, one way or the other."""
        try:
            if self._head:
                self._head = self._head[self.sock.send(self._head) :]
            elif self._at < self._end:
                if _seen(self._file) != self._was:
                    # Somebody writes to it: the rest would not be of what was offered.
                    return False
                self._file.seek(self._at)
                count = self._file.readinto(buffer[: self._end - self._at])
                if not count:
                    return False
                self._at += self.sock.send(buffer[:count])
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(self._head) or self._at < self._end

    def is_slow(self, now: float) -> bool:
        """Whether less than the least was taken since the last time, a while ago."""
        if now - self._since < STALL_S:
            return False
        slow = self._at - self._before < LEAST_BYTES_PER_S * (now - self._since)
        self._since, self._before = now, self._at
        return slow

    def close(self) -> None:
        """It is over."""
        self._file.close()
        self.sock.close()
        self.on_end()


class Sender:
    """The thread that sends bodies. It starts with the first and ends when there was none for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: list[Sending] = []
        self._waker: Waker | None = None

    def add(self, sending: Sending) -> None:
        """Send it; without a descriptor left for that, it is cut."""
        with self._lock:
            if self._waker is None:
                try:
                    self._waker = Waker()
                except OSError:
                    sending.close()
                    return
                threading.Thread(target=self._work, args=(self._waker,), name="overlay-sender", daemon=True).start()
            self._new.append(sending)
            self._waker.wake()

    def _work(self, waker: Waker) -> None:
        buffer = memoryview(bytearray(PIECE_BYTES))
        with selectors.DefaultSelector() as selector:
            selector.register(waker.descriptor, selectors.EVENT_READ)
            while True:
                count = len(selector.get_map()) - 1
                for key, _ in selector.select(STALL_S if count else IDLE_S):
                    if key.data is None:
                        waker.readable()
                    elif not key.data.send(buffer):
                        self._end(selector, key.data)
                with self._lock:
                    new, self._new = self._new, []
                    if not new and len(selector.get_map()) == 1 and not count:
                        self._waker = None
                        waker.close()
                        return
                for sending in new:
                    selector.register(sending.sock, selectors.EVENT_WRITE, sending)
                now = time.monotonic()
                for key in [key for key in selector.get_map().values() if key.data and key.data.is_slow(now)]:
                    self._end(selector, key.data)

    def _end(self, selector: selectors.BaseSelector, sending: Sending) -> None:
        selector.unregister(sending.sock)
        sending.close()


SENDER = Sender()


class Bodies:
    """The bodies that one node is sending."""

    def __init__(self, driver: Driver):
        self._driver = driver
        self._lock = threading.Lock()
        self._socks: dict[socket.socket, str] = {}
        self._counts: Counter[str] = Counter()

    def serve(self, envelope: Envelope[Message], request: BodyRequest, sock: socket.socket, host: str) -> None:
        """Answer a BodyRequest; the socket is ours. Called by the wire, so what blocks goes to the pool."""
        with self._lock:
            busy = len(self._socks) >= MAX_BODIES or self._counts[host] >= MAX_BODIES_PER_ADDRESS
            if not busy:
                self._socks[sock] = host
                self._counts[host] += 1
        if busy:
            self._refuse(envelope.sender, envelope.number, BUSY, sock)
        else:
            DISK.submit(lambda: self._begin(envelope.sender, envelope.number, request, sock))

    def _begin(self, asker: Contact, number: int, request: BodyRequest, sock: socket.socket) -> None:
        try:
            path = self._driver.blobs.source(request.ref)
            file = None if path is None else _open(path, request)
        except (OverlayError, OSError):
            file = None
        if file is None:
            self._refuse(asker, number, "this body is not here", sock)
            self._ended(sock)
            return
        head = frame(self._driver.gate.seal(asker, REPLY, "", number, BodyFollows()))
        SENDER.add(Sending(sock, head, file, request.start, request.end, lambda: self._ended(sock)))

    def _refuse(self, asker: Contact, number: int, why: str, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.send(frame(self._driver.gate.seal(asker, REFUSAL, "", number, Refused(why))))

    def _ended(self, sock: socket.socket) -> None:
        with self._lock:
            host = self._socks.pop(sock, None)
            if host is not None:
                self._counts[host] -= 1
                if not self._counts[host]:
                    del self._counts[host]

    def cut_all(self) -> None:
        """The node has ended: its receivers find another."""
        with self._lock:
            socks = tuple(self._socks)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _seen(file: FileIO) -> tuple[int, int]:
    """What shows that the bytes have changed."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _open(path: Path, request: BodyRequest) -> FileIO | None:
    try:
        file = FileIO(path)
    except OSError:
        return None
    if 0 <= request.start <= request.end <= file.seek(0, os.SEEK_END):
        return file
    file.close()
    return None
