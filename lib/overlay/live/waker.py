"""Wakes threads. A `threading.Event` and a `Condition` do the same in ten times the memory, a kibibyte each, a peer."""

from __future__ import annotations

import contextlib
import os
import socket
import threading


class Latch:
    """Something that happens once; a `threading.Event` that is never cleared."""

    __slots__ = ("_happened", "_lock")

    def __init__(self) -> None:
        self._happened = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._happened

    def set(self) -> None:
        """It happens; again: nothing."""
        self._happened = True
        self._let_through()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until it has happened, at most for this time. Whether it has."""
        if not self._happened:
            self._lock.acquire(timeout=-1 if timeout_s is None else max(0.0, min(timeout_s, threading.TIMEOUT_MAX)))
            if self._happened:
                self._let_through()
        return self._happened

    def _let_through(self) -> None:
        # Whoever waits takes the lock and gives it back at once, for the next one; it may be free already.
        with contextlib.suppress(RuntimeError):
            self._lock.release()


class Bell:
    """Wakes the one thread that waits for it; rung before, it does not wait."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def ring(self) -> None:
        """From any thread."""
        # It has been rung already if nobody holds the lock.
        with contextlib.suppress(RuntimeError):
            self._lock.release()

    def wait(self, timeout_s: float) -> None:
        """Until it rings, at most for this time."""
        self._lock.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX))


class Ready:
    """Whom a poller tells of a descriptor that is ready."""

    __slots__ = ()

    def readable(self) -> None:
        """It can be read."""

    def writable(self) -> None:
        """It can be written."""


class Waker(Ready):
    """Wakes a thread that waits in a selector: one descriptor where the system has eventfd, a pair of sockets elsewhere."""

    __slots__ = ("_called", "_lock", "_pair", "descriptor")

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        if hasattr(os, "eventfd"):
            self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            self.descriptor = self._pair[0].fileno()
        self._called = False
        self._lock = threading.Lock()

    def wake(self) -> None:
        """From any thread."""
        # Under a lock, so that no byte goes to a descriptor that was closed and is somebody else's by now.
        with self._lock:
            if not self._called:
                self._called = True
                if self._pair is None:
                    os.eventfd_write(self.descriptor, 1)
                else:
                    self._pair[1].send(b"\0")

    def readable(self) -> None:
        """From the thread that woke up, before it looks for its work."""
        if self._called:
            if self._pair is None:
                os.eventfd_read(self.descriptor)
            else:
                self._pair[0].recv(64)
            self._called = False

    def close(self) -> None:
        """No more; `wake` does nothing from now on."""
        with self._lock:
            self._called = True
            if self._pair is None:
                os.close(self.descriptor)
            else:
                for end in self._pair:
                    end.close()
