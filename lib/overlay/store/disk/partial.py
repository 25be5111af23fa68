"""A body on its way to the disk: reserved, appended, hashed as it comes, then put in its place as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from overlay.core.storage import BlobRef
from overlay.errors import LocalError, NoSpace, RemoteError
from overlay.store.disk.folder import FULL, as_local_error, write_all
from overlay.store.disk.system import System


class DiskPartial:
    """One attempt after another at one body. `core.blobstore.Partial` says what its methods promise."""

    def __init__(self, ref: BlobRef, path: Path, target: Path, system: System, on_end: Callable[[DiskPartial], None]):
        self.ref = ref
        self.path = path
        self.have = 0
        self.is_open = False
        self.is_placed = False
        """Whether the body stands under its final name."""
        self._target = target
        self._system = system
        self._on_end = on_end
        self._hash = hashlib.sha256()
        self._checked = 0
        self._fd = -1

    def open(self) -> None:
        """Reserve the room of the whole body: a disk that will be full says so before the first byte."""
        try:
            self._fd = self._system.reopen(self.path) if self._checked else self._system.create(self.path)
            if self.ref.size:
                self._system.reserve(self._fd, self.path.parent, self.ref.size)
        except OSError as error:
            self.discard()
            if error.errno in FULL:
                raise NoSpace(f"{self.path.parent}: no room for {self.ref.size} bytes") from error
            raise LocalError(f"{self.path.parent}: {error.strerror or error}") from error
        self.is_open = True

    def write(self, data: memoryview) -> None:
        """Append."""
        if self.have + len(data) > self.ref.size:
            raise RemoteError(f"more than the {self.ref.size} bytes that were promised")
        with as_local_error(self.path.parent):
            write_all(self._system, self._fd, data, self.have)
        self.have += len(data)

    def check(self, data: memoryview) -> None:
        """Feed the hash."""
        self._hash.update(data)
        self._checked += len(data)

    def finish(self) -> None:
        """Compare, sync, put in its place."""
        if self.have != self.ref.size or self._hash.digest() != self.ref.sha256:
            self.discard()
            raise RemoteError("these are not the bytes of the reference")
        with as_local_error(self.path.parent):
            try:
                self._system.sync(self._fd)
                # Some systems do not rename a file that is open.
                self._close_file()
                self._system.replace(self.path, self._target)
            except OSError:
                self.discard()
                raise
        self.is_placed = True
        self._end()

    def close(self) -> None:
        """Keep what was checked, give back the room of the rest."""
        if not self.is_open:
            return
        self.have = min(self.have, self._checked)
        try:
            self._system.truncate(self._fd, self.have)
        except OSError:
            self.have = 0
        if self.have == 0 or self.have != self._checked:
            self.discard()
        else:
            self._end()

    def discard(self) -> None:
        """Leave nothing."""
        self.have = self._checked = 0
        self._hash = hashlib.sha256()
        self.forsake()
        self._end()

    def forsake(self) -> None:
        """Have no file any more, whoever still writes to it: `finish` will fail."""
        with contextlib.suppress(OSError):
            self._system.unlink(self.path)

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _end(self) -> None:
        self._close_file()
        if self.is_open:
            self.is_open = False
            self._on_end(self)


class HeldPartial:
    """A body that is here already: there is nothing to fetch, and it must not go before it is used."""

    def __init__(self, ref: BlobRef):
        self.have = ref.size

    def write(self, data: memoryview) -> None:
        """There is nothing to append."""
        raise RemoteError("this body is complete")

    def check(self, data: memoryview) -> None:
        """It was checked when it came."""

    def finish(self) -> None:
        """It stands in its place."""

    def close(self) -> None:
        """Nothing is open."""
