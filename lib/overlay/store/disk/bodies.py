"""The bodies of a peer: files by their SHA-256, as long as an entry needs them or until they were used once."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from overlay.core.pending import ignore
from overlay.core.storage import BlobRef
from overlay.errors import LocalError, NoSpace
from overlay.store.disk.folder import Folder, as_local_error, digest
from overlay.store.disk.partial import DiskPartial, HeldPartial
from overlay.store.disk.system import System

log = logging.getLogger(__name__)

MAX_CUT = 16
"""Bodies that were cut and wait for another attempt; the oldest gives way."""

EMPTY = BlobRef(hashlib.sha256().digest(), 0)
"""The body of a placeholder. It is always here."""


Seen = tuple[int, int, int]
"""Size, inode, and time of the last change: one that changes was written to by somebody, for we never do."""

NEVER = -1, -1, -1


class Bodies:
    """What lies in `bodies/` and `partial/`. Safe from any thread; `quota` is in bytes, for bodies and entries together."""

    __slots__ = (
        "_bodies", "_bytes", "_coming", "_files", "_fresh", "_lock", "_name", "_partials", "_system", "_unsynced",
        "entry_bytes", "folders", "on_return", "quota", "users",
    )  # fmt: skip

    def __init__(self, hidden: Path, tag: str, system: System, quota: int | None):
        self._files, self._coming = Folder(hidden / "bodies", tag, system), Folder(hidden / "partial", tag, system)
        self.folders = (self._files, self._coming)
        self.users: Counter[BlobRef] = Counter()
        """How many entries need a body, those that are being written too."""
        self.entry_bytes = 0
        self._name = hidden.parent
        self._system = system
        self.quota = quota
        self._lock = threading.RLock()
        self._bodies: dict[str, Seen] = {}
        self.on_return: Callable[[BlobRef], None] = ignore
        """Told of a body that has come and that an entry needs already: it was rotten, and has been fetched again."""
        self._bytes = 0
        self._fresh: Counter[BlobRef] = Counter()
        """How often a body was fetched that was not yet used for it."""
        self._partials: dict[BlobRef, DiskPartial] = {}
        self._unsynced = False

    # Beginning and end ---------------------------------------------------------------------------------------

    def load(self) -> None:
        """See what is there; bodies that had not come whole are nobody's any more."""
        for name in self._coming.names():
            self._coming.remove(name)
        for name in self._files.names():
            self._has_come(name)
        # Made anew at every start, so it needs no sync; with many peers on one disk that is most of a start.
        self._files.write(EMPTY.sha256.hex(), b"", durable=False)
        self._has_come(EMPTY.sha256.hex())

    def sweep(self) -> None:
        """Throw away what no entry needs."""
        needed = {ref.sha256.hex() for ref in self.users} | {EMPTY.sha256.hex()}
        for name in self._bodies.keys() - needed:
            self._drop(name)

    def forsake(self) -> None:
        """Of bodies that have not come whole nothing stays: nobody would go on with them."""
        with self._lock:
            for partial in self._partials.values():
                partial.forsake()

    # What is here --------------------------------------------------------------------------------------------

    def has(self, ref: BlobRef) -> bool:
        """Whether the whole body is here."""
        return self._bodies.get(ref.sha256.hex(), NEVER)[0] == ref.size

    def path(self, ref: BlobRef) -> Path:
        """Where it lies, or would."""
        return self._files.path / ref.sha256.hex()

    def is_one(self, status: os.stat_result) -> bool:
        """Whether this is another name of a body."""
        with self._lock:
            return any(inode == status.st_ino for _, inode, _ in self._bodies.values())

    def is_copy(self, fd: int) -> bool:
        """Whether these are the bytes of a body."""
        size = os.fstat(fd).st_size
        with self._lock:
            possible = any(length == size for length, _, _ in self._bodies.values())
        return possible and digest(fd).hex() in self._bodies

    def refs(self) -> list[BlobRef]:
        """All that are here."""
        with self._lock:
            return [BlobRef(bytes.fromhex(name), size) for name, (size, _, _) in self._bodies.items()]

    def seen(self, ref: BlobRef) -> Seen:
        """Its file as it was when it came."""
        return self._bodies.get(ref.sha256.hex(), NEVER)

    def _has_come(self, name: str) -> None:
        status = self._files.status(name)
        assert status is not None
        self._bytes += status.st_size - self._bodies.get(name, (0,))[0]
        self._bodies[name] = status.st_size, status.st_ino, status.st_mtime_ns

    def _is_new(self, ref: BlobRef) -> None:
        self._has_come(ref.sha256.hex())
        self._unsynced = True
        if self.users[ref]:
            self.on_return(ref)

    # Coming --------------------------------------------------------------------------------------------------

    def partial(self, ref: BlobRef) -> DiskPartial | HeldPartial:
        """Begin a body, or go on with one that was cut."""
        with self._lock:
            if self.has(ref):
                self._fresh[ref] += 1
                return HeldPartial(ref)
            partial = self._partials.get(ref)
            if partial is not None and partial.is_open:
                raise LocalError("this body is being fetched already")
            self._partials.pop(ref, None)
            self.reserve(ref.size - (partial.have if partial else 0))
            if partial is None:
                # The next owner of the folder sweeps this away, and never gives the name to a file of its own.
                path = self._coming.path / f"{ref.sha256.hex()}-{os.urandom(8).hex()}"
                partial = DiskPartial(ref, path, self.path(ref), self._system, self._ended)
            partial.open()
            self._partials[ref] = partial
            return partial

    def _ended(self, partial: DiskPartial) -> None:
        with self._lock:
            del self._partials[partial.ref]
            if partial.is_placed:
                self._fresh[partial.ref] += 1
                self._is_new(partial.ref)
            elif partial.have:
                self._partials[partial.ref] = partial
                cut = [other for other in self._partials.values() if not other.is_open]
                for other in cut[:-MAX_CUT]:
                    other.discard()
                    del self._partials[other.ref]

    def reserve(self, size: int) -> None:
        """NoSpace unless there is room for so many bytes more within the quota."""
        if self.quota is None or size <= 0:
            return
        coming = sum(partial.ref.size if partial.is_open else partial.have for partial in self._partials.values())
        if self._bytes + self.entry_bytes + coming + size > self.quota:
            raise NoSpace(f"{self._name}: no room for {size} bytes within the quota of {self.quota}")

    def adopt(self, ref: BlobRef, source: Path | None) -> None:
        """Have a body that is here, or can be copied from a file."""
        if self.has(ref):
            return
        if source is None:
            raise LocalError("the bytes of a record are not here; fetch them first")
        with self._lock:
            self.reserve(ref.size)
        self._files.copy(ref.sha256.hex(), source, ref.sha256)
        with self._lock:
            self._is_new(ref)

    def sync(self) -> None:
        """Make durable that the bodies have their names: before an entry says so."""
        if self._unsynced:
            self._unsynced = False
            try:
                self._files.sync()
            except BaseException:
                self._unsynced = True
                raise

    # Going ---------------------------------------------------------------------------------------------------

    def spare(self, refs: Iterable[BlobRef | None]) -> None:
        """One entry each needs them no more."""
        for ref in refs:
            if ref is not None:
                self.users[ref] -= 1
                if not self.users[ref]:
                    del self.users[ref]

    def used(self, refs: Iterable[BlobRef]) -> None:
        """What these were fetched for is done, or has failed."""
        with self._lock:
            self._fresh.subtract(refs)
            self._fresh = +self._fresh

    def collect(self, refs: Iterable[BlobRef]) -> None:
        """Throw away those that nobody needs any more."""
        with self._lock:
            for ref in refs:
                if ref != EMPTY and self.has(ref) and not self._fresh[ref] and not self.users[ref]:
                    try:
                        self._drop(ref.sha256.hex())
                    except LocalError as error:
                        log.warning("a body that nobody needs is still there: %s", error)

    def forget(self, ref: BlobRef) -> None:
        """Have it no more, whoever needs it: it is not what it was."""
        with self._lock:
            if self.has(ref):
                self._drop(ref.sha256.hex())

    def _drop(self, name: str) -> None:
        with as_local_error(self._name):
            self._files.remove(name)
        self._bytes -= self._bodies.pop(name)[0]
