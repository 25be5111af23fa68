"""Wakes a thread that waits in a selector."""

from __future__ import annotations

import os
import socket
import threading


class Waker:
    """One descriptor where the system has eventfd, a pair of sockets elsewhere."""

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

    def clear(self) -> None:
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
