"""Whether what lies on a disk is still what was written: every body and every row is read and hashed again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from overlay.core.storage import BlobRef
from overlay.store.disk.bodies import EMPTY, Bodies
from overlay.store.disk.folder import digest
from overlay.store.disk.home import Home
from overlay.store.disk.ledger import Ledger
from overlay.store.disk.rows import Place, decode
from overlay.store.disk.system import open_file

OnRotten = Callable[[Place, BlobRef | None], None]
"""Told of an entry whose body was not what it was and is forgotten; with None, of one that is itself damaged."""


QUIET_S = 10.0


class _Stopped(Exception):
    """Somebody does not want to know any more."""


class Scrub:
    """One look at everything, no faster than so many bytes a second. `run` it on a thread that may block; `cancel` from any."""

    def __init__(
        self,
        ledger: Ledger,
        bodies: Bodies,
        home: Home,
        lock: threading.RLock,
        wait: Callable[[float], None],
        bytes_per_s: float,
    ):
        self._ledger = ledger
        self._bodies = bodies
        self._home = home
        self._lock = lock
        self._wait = wait
        self._bytes_per_s = bytes_per_s
        self._stop = threading.Event()

    def cancel(self) -> None:
        """Stop it soon."""
        self._stop.set()

    def run(self, on_rotten: OnRotten) -> bool:
        """Look, and tell of what is rotten as it is found. False when it was cancelled."""
        try:
            for ref in self._bodies.refs():
                if ref != EMPTY and not self._is_right(ref):
                    for place in self._forget(ref):
                        on_rotten(place, ref)
            self._look_at_rows(on_rotten)
        except _Stopped:
            return False
        return True

    def _pause(self, size: int) -> None:
        if self._stop.wait(size / self._bytes_per_s):
            raise _Stopped

    def _is_right(self, ref: BlobRef) -> bool:
        try:
            fd = open_file(self._bodies.path(ref))
        except FileNotFoundError:
            # Nobody needed it any more, unless somebody else took it away.
            return not self._bodies.has(ref)
        except OSError:
            return False
        try:
            if hasattr(os, "posix_fadvise"):
                # What the system remembers of the file says nothing of the disk.
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return digest(fd, lambda chunk, _: self._pause(len(chunk))) == ref.sha256
        except OSError:
            return False
        finally:
            os.close(fd)

    def _forget(self, ref: BlobRef) -> list[Place]:
        with self._lock:
            size, inode, changed_at = self._bodies.seen(ref)
            try:
                status = self._bodies.path(ref).lstat()
            except OSError:
                return self._ledger.lose(ref, hide=False)
            if status.st_ino != inode:
                # Another one has come since; the next look is at that.
                return []
            # The disk does not say when it forgets. Whoever wrote to the file meant to, by the name that people see: it stays.
            rotten = (status.st_size, status.st_mtime_ns) == (size, changed_at)
            return self._ledger.lose(ref, hide=rotten)

    def _look_at_rows(self, on_rotten: OnRotten) -> None:
        with self._lock:
            self._pause(0)
            kept = set(self._ledger.kept)
        for service, key, data in self._home.rows():
            self._pause(len(data))
            kept.discard((service, key))
            if decode(data, (service, key)) is None and (service, key) in self._ledger.kept:
                on_rotten((service, key), None)
        with self._lock:
            # A row that was just being deleted is not missed.
            self._wait(QUIET_S)
            gone = sorted(kept & self._ledger.kept.keys())
        for place in gone:
            on_rotten(place, None)
