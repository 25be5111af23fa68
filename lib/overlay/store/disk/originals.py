"""The shared folder: originals that are found and served from where they lie, and files that people are given."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from overlay.core.bounded import forget_oldest
from overlay.core.storage import BlobRef
from overlay.errors import LocalError, NotThere
from overlay.store.disk.folder import Folder, as_local_error, check_name, digest
from overlay.store.disk.system import open_file

MAX_FOUND = 4096
"""Hashes of files that are remembered."""

SETTLED_S = 0.05
"""A file that was changed later than this before it was read may be changed once more without showing it: a file system's
clock ticks every few milliseconds. Such a hash is served, since whoever fetches it verifies, but is not relied on again."""

Signature = tuple[int, int, int, int]
"""Size, times of the last change of the bytes and of anything, inode: while they stay, so do the bytes."""


def signature(status: os.stat_result | None) -> Signature | None:
    """What shows that a file was changed; None of none."""
    return None if status is None else (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class _Found:
    __slots__ = ("is_settled", "ref", "signature")

    def __init__(self, ref: BlobRef, signature: Signature, is_settled: bool):
        self.ref = ref
        self.signature = signature
        self.is_settled = is_settled


class Originals:
    """Safe from any thread. A file is hashed once and not again before it changes."""

    __slots__ = ("_found", "_lock", "folder")

    def __init__(self, folder: Folder):
        self.folder = folder
        self._lock = threading.Lock()
        self._found: dict[str, _Found] = {}

    def find(self, name: str) -> BlobRef:
        """The reference of a file; NotThere, or LocalError where it cannot be read."""
        path = self.folder.path / check_name(name)
        try:
            fd = open_file(path)
        except FileNotFoundError:
            raise NotThere(f"there is no file {name} in {self.folder.path}/") from None
        except OSError as error:
            raise LocalError(f"{path} cannot be read: {error.strerror}") from error
        try:
            with self._lock:
                known = self._found.pop(name, None)
            if known is None or not known.is_settled or known.signature != signature(os.fstat(fd)):
                known = _hash(fd, path)
        finally:
            os.close(fd)
        with self._lock:
            self._found[name] = known
            forget_oldest(self._found, MAX_FOUND)
        return known.ref

    def source(self, ref: BlobRef) -> Path | None:
        """Where a file that was found lies, while it is what it was."""
        with self._lock:
            for name, found in self._found.items():
                if found.ref == ref and signature(self.folder.status(name)) == found.signature:
                    return self.folder.path / name
        return None


def _hash(fd: int, path: Path) -> _Found:
    with as_local_error(path):
        before, now = os.fstat(fd), time.time_ns()
        ref, seen = BlobRef(digest(fd), before.st_size), signature(before)
        if seen is None or signature(os.fstat(fd)) != seen:
            raise LocalError(f"{path} is being written to; try again")
    changed = max(before.st_mtime_ns, before.st_ctime_ns)
    return _Found(ref, seen, changed < now - SETTLED_S * 1e9)
