"""A file layer that fails, or dies, at the n-th call; and what is left on a disk when the power goes at that moment.

A kill leaves everything that was written. A power failure leaves what was synced: of a file the bytes of its last sync, of a
folder the names of its last sync, and of later names some beginning. What sqlite has committed is durable; that is its promise.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from overlay.store.disk.system import System


class Crash(BaseException):
    """The process ends here; nobody handles that."""


class Faulty(System):
    """Counts calls from `arm` on. At the n-th: `fail` once, or `die` and with it every later call."""

    def __init__(self, limbo: Path):
        self.calls = 0
        self._at, self._how = 0, ""
        self._dead = False
        self._limbo = limbo
        self._handles: dict[int, int] = {}
        self._synced: dict[int, bytes] = {}
        """The durable bytes of files that were written to since, by inode."""
        self._names: list[tuple[Path, Callable[[], None]]] = []
        """Changes of names that are not durable yet: their folder, and how they are undone."""

    def arm(self, at: int, how: str) -> None:
        """At the n-th call from now on: `before` it, `after` it, or `half` of it where it writes; `die` or `fail`."""
        self.calls, self._at, self._how = 0, at, how

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        if self._dead:
            raise Crash
        self.calls += 1
        now = self.calls == self._at
        if now and "before" in self._how:
            self._fault()
        yield
        if now:
            self._fault()

    def _fault(self) -> None:
        if "die" in self._how:
            self._dead = True
            raise Crash
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    # Files ---------------------------------------------------------------------------------------------------

    def create(self, path: Path) -> int:
        with self._call():
            fd = super().create(path)
            inode = os.fstat(fd).st_ino
            if inode in self._handles:
                os.close(self._handles[inode])
            self._handles[inode] = os.dup(fd)
            self._synced[inode] = b""
            self._named(path.parent, lambda: path.unlink(missing_ok=True))
        return fd

    def reopen(self, path: Path) -> int:
        with self._call():
            return super().reopen(path)

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        with self._call():
            half = self.calls == self._at and "half" in self._how
            return super().write_at(fd, data[: len(data) // 2] if half else data, offset)

    def reserve(self, fd: int, folder: Path, size: int) -> None:
        with self._call():
            super().reserve(fd, folder, size)

    def truncate(self, fd: int, size: int) -> None:
        with self._call():
            super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        with self._call():
            inode = os.fstat(fd).st_ino
            if inode in self._handles:
                self._synced[inode] = os.pread(fd, 1 << 20, 0)

    # Names ---------------------------------------------------------------------------------------------------

    def _named(self, folder: Path, undo: Callable[[], None]) -> None:
        self._names.append((folder, undo))

    def _kept(self, path: Path) -> Callable[[], None]:
        """How a name comes back that is about to go."""
        if not path.exists():
            return lambda: None
        kept = Path(tempfile.mktemp(dir=self._limbo))
        os.link(path, kept)
        return lambda: os.link(kept, path)

    def make_folder(self, path: Path) -> None:
        with self._call():
            missing = [folder for folder in (path, *path.parents) if not folder.exists()]
            super().make_folder(path)
            for folder in reversed(missing):
                self._named(folder.parent, lambda folder=folder: shutil.rmtree(folder, ignore_errors=True))  # type: ignore[misc]

    def sync_folder(self, path: Path) -> None:
        with self._call():
            self._names = [name for name in self._names if name[0] != path]

    def replace(self, source: Path, target: Path) -> None:
        with self._call():
            before = self._kept(target)
            super().replace(source, target)

            def undo() -> None:
                target.unlink(missing_ok=True)
                before()

            self._named(target.parent, undo)

    def link(self, source: Path, target: Path) -> None:
        with self._call():
            super().link(source, target)
            self._named(target.parent, lambda: target.unlink(missing_ok=True))

    def unlink(self, path: Path) -> None:
        with self._call():
            before = self._kept(path)
            super().unlink(path)
            self._named(path.parent, before)

    def commit(self, connection: sqlite3.Connection) -> None:
        try:
            with self._call():
                super().commit(connection)
        except OSError as error:
            raise sqlite3.OperationalError("disk I/O error") from error

    # The end -------------------------------------------------------------------------------------------------

    def lose_power(self, chance: random.Random | None) -> None:
        """Leave what is durable; of later names nothing, or by chance the first few in each folder."""
        survives = {folder: chance.random() if chance else 0.0 for folder, _ in self._names}
        order: dict[Path, int] = {}
        doomed = []
        for folder, undo in self._names:
            order[folder] = order.get(folder, 0) + 1
            total = sum(other == folder for other, _ in self._names)
            if order[folder] > survives[folder] * total:
                doomed.append(undo)
        for undo in reversed(doomed):
            with contextlib.suppress(FileNotFoundError, FileExistsError, NotADirectoryError):
                undo()
        for inode, content in self._synced.items():
            os.ftruncate(self._handles[inode], 0)
            os.pwrite(self._handles[inode], content, 0)
        self._names.clear()

    def close(self) -> None:
        """Let go of the files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()
