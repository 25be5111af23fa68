"""A peer's disk: the records it keeps, in a folder of its own, and the shared folder of originals and received files.

    files/2067.pdf, received_4103.pdf     the shared folder; people and several peers use it
    files/peer-19/2067.pdf                a record of peer 19, a second name of its body
    files/peer-19/.overlay/bodies/        bodies by their SHA-256
    files/peer-19/.overlay/index.db       the entries: hash, then service, key and entry
    files/peer-19/.overlay/partial/       bodies on their way; of this run only

A body is written beside its final name, synced, renamed, and its folder synced; what an entry refers to is durable before
the entry, and goes after it. An entry is a row of an sqlite database. So a crash leaves each entry as it was or as it shall be.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from overlay.core.pending import ignore
from overlay.core.storage import Batch, BlobRef, Entry, Export, Step, Write
from overlay.errors import LocalError
from overlay.store.disk.bodies import EMPTY, Bodies
from overlay.store.disk.folder import Folder, as_local_error, check_name
from overlay.store.disk.home import Home
from overlay.store.disk.index import Index, OnDone, waited
from overlay.store.disk.ledger import Ledger, Staged
from overlay.store.disk.originals import Originals
from overlay.store.disk.partial import DiskPartial, HeldPartial
from overlay.store.disk.rows import decode
from overlay.store.disk.scrub import Scrub
from overlay.store.disk.shown import Shown
from overlay.store.disk.system import SYSTEM, System, lock_file

__all__ = ["EMPTY", "FolderDisk"]

PATIENCE_S = 60.0
"""An end waits so long for the commits that are under way; on a disk that takes longer they are lost or not, as in a crash."""

log = logging.getLogger(__name__)


class FolderDisk:
    """`core.blobstore.BlobStore` in two folders. Call `open` once the peer's ports are its own, `close` at the end.

    Without `keep`, `open` empties what an earlier run left: only what an entry of ours shows, never a stranger's file.
    `quota` is in bytes, for bodies and entries. Peers of one process that live and die together may be given an `index` in
    common: then their entries lie there, they need not a database each, and their writes share the syncs of the disk.
    """

    __slots__ = (
        "_bodies", "_data", "_hidden", "_home", "_keep", "_ledger", "_lock", "_lock_fd", "_originals",
        "_pending", "_quiet", "_scrub", "damaged", "path",
    )  # fmt: skip

    def __init__(
        self,
        data: Path,
        files: Path,
        *,
        keep: bool,
        quota: int | None = None,
        index: Index | None = None,
        system: System = SYSTEM,
    ):
        tag = hashlib.sha256(os.fsencode(data.absolute())).hexdigest()[:12]
        hidden = data / ".overlay"
        self.path = data
        self._hidden, self._data = Folder(hidden, tag, system), Folder(data, tag, system)
        self._originals = Originals(Folder(files, tag, system))
        self._bodies = Bodies(hidden, tag, system, quota)
        self._home = Home(self._hidden, tag, index, system)
        self._ledger = Ledger(self._home, self._bodies, Shown(self._data, self._bodies), self.source)
        self._keep = keep
        self._lock = threading.RLock()
        """Held by whoever changes what is kept."""
        self._quiet: threading.Condition | None = None
        """Made by whoever waits until no commit is under way; hundreds of peers live in one process."""
        self._pending = 0
        """Commits that are under way."""
        self._lock_fd = -1
        self._scrub: Scrub | None = None
        self.damaged: tuple[str, ...] = ()
        """What could not be read at the start, or whose body is gone; it stays where it is."""

    @property
    def quota(self) -> int | None:
        """How many bytes bodies and entries may take; whatever would be more is refused, and all that is here stays."""
        return self._bodies.quota

    @quota.setter
    def quota(self, size: int | None) -> None:
        self._bodies.quota = size

    # Beginning and end ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the folders; LocalError if another process has them or the disk will not."""
        files, own = self._originals.folder, (self._hidden, *self._bodies.folders)
        try:
            with as_local_error(self._data.path):
                for folder in (files, self._data, *own):
                    if folder in own and folder.path.is_symlink():
                        raise LocalError(f"{folder.path} is a link; remove it")
                    if folder is self._data and folder.path.exists() and folder.path.samefile(files.path):
                        raise LocalError(f"{folder.path} is the folder of the originals too; choose another --data")
                    if folder is own[1]:
                        self._take()
                    folder.open()
                self._home.open()
                self._load()
        except LocalError:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have the folders; what is being written is finished first, and then nothing more.

        Of bodies that have not come whole nothing stays: nobody would go on with them.
        """
        with self._lock:
            self._end_scrub()
            self._bodies.forsake()
            lock_fd, self._lock_fd = self._lock_fd, -1
            if not self._home.is_committing_here:
                # Else what is waited for is durable, or waits for ourselves.
                self._finish(PATIENCE_S)
            if lock_fd >= 0:
                self._home.close()
                os.close(lock_fd)

    def _finish(self, timeout_s: float | None) -> None:
        """Commit what has been written, here: whoever else was to do it may stand in line behind us."""
        if self._pending:
            self._home.commit()
            self._wait(timeout_s)

    def _wait(self, timeout_s: float | None) -> None:
        """Until no commit is under way; others may change what is kept meanwhile."""
        if self._pending:
            self._quiet = self._quiet or threading.Condition(self._lock)
            self._quiet.wait_for(lambda: not self._pending, timeout_s)

    def _check_open(self) -> None:
        if self._lock_fd < 0:
            raise LocalError(f"{self._data.path} is closed")

    def _take(self) -> None:
        try:
            self._lock_fd = lock_file(self._hidden.path / "lock")
        except BlockingIOError:
            raise LocalError(f"{self._data.path} is used by another process; choose --data") from None

    def _load(self) -> None:
        self._bodies.load()
        if not self._keep:
            self._ledger.empty()
        else:
            self.damaged = (*self._ledger.load(), *self._home.damaged)
        # While an entry cannot be read nobody knows which body is its own, so all of them stay.
        if not self.damaged:
            self._bodies.sweep()

    # Entries -------------------------------------------------------------------------------------------------

    def entries(self, service: str) -> dict[str, Entry]:
        """What is durable for a service."""
        with self._lock:
            rows = [decode(data, (owner, key)) for owner, key, data in self._home.rows() if owner == service]
            return {row[0][1]: row[1] for row in rows if row is not None and row[0] in self._ledger.kept}

    def write(self, service: str, batch: Batch) -> None:
        """Do one batch; durable on return. LocalError when the disk will not."""
        outcome = waited(lambda done: self.write_all([(service, batch)], done))
        if outcome[0] is not None:
            raise outcome[0]

    def write_all(self, batches: Sequence[tuple[str, Batch]], on_done: OnDone) -> Callable[[], None]:
        """See `BlobStore`. Bodies and exports are written here, and the entries by what comes back."""
        outcomes: list[LocalError | None] = [None] * len(batches)
        staged: dict[int, Staged] = {}
        used = [ref for _, batch in batches for ref in {_body_of(step) for step in batch} if ref is not None]
        with self._lock:
            for number, (service, batch) in enumerate(batches):
                try:
                    self._check_open()
                    for exports, steps in itertools.groupby(batch, key=lambda step: isinstance(step, Export)):
                        if exports:
                            # What comes before a file that people see is durable before it.
                            self._begin(staged, outcomes, ignore)()
                            self._finish(None)
                            if outcomes[number] is None:
                                self._export([step for step in steps if isinstance(step, Export)])
                        elif writes := self._ledger.lasting(service, [s for s in steps if isinstance(s, Write)]):
                            staged[number] = self._ledger.stage(service, writes)
                except LocalError as error:
                    outcomes[number] = error
            self._bodies.used(used)
            self._bodies.collect(used)
        return self._begin(staged, outcomes, lambda: on_done(outcomes))

    def _begin(
        self, staged: dict[int, Staged], outcomes: list[LocalError | None], then: Callable[[], None]
    ) -> Callable[[], None]:
        """Write what is staged, and forget that it was; what comes back commits it, and `then` is called."""
        numbers, parts = list(staged), list(staged.values())
        staged.clear()

        def committed(errors: Sequence[LocalError | None]) -> None:
            with self._lock:
                for number, part, error in zip(numbers, parts, errors, strict=True):
                    if error is not None:
                        outcomes[number] = error
                        self._ledger.undo(part)
                self._ledger.settle(part for part, error in zip(parts, errors, strict=True) if error is None)
                self._pending -= 1
                if self._quiet is not None:
                    self._quiet.notify_all()

        def told(errors: Sequence[LocalError | None]) -> None:
            committed(errors)
            then()

        if not parts:
            return then
        with self._lock:
            self._pending += 1
            try:
                self._ledger.ready(parts)
            except LocalError as error:
                committed([error] * len(parts))
                return then
        return self._home.write([part.rows for part in parts], told)

    def _export(self, steps: Sequence[Export]) -> None:
        folder = self._originals.folder
        with as_local_error(folder.path):
            for step in steps:
                self._export_one(folder, check_name(step.name), step.blob)
            folder.sync()

    def _export_one(self, folder: Folder, name: str, ref: BlobRef) -> None:
        source = self.source(ref)
        if source is None:
            raise LocalError(f"the bytes for {name} are not here")
        # A body that no entry keeps moves; one that stays must not share its bytes with a file that people edit.
        if self._bodies.has(ref) and not self._bodies.users[ref]:
            folder.link(name, source, ref.sha256)
        else:
            folder.copy(name, source, ref.sha256)

    # Bodies --------------------------------------------------------------------------------------------------

    def source(self, ref: BlobRef) -> Path | None:
        """Where the whole body can be read from, None if it is not here."""
        return self._bodies.path(ref) if self._bodies.has(ref) else self._originals.source(ref)

    def find(self, name: str) -> BlobRef:
        """Hash a file of the shared folder, unless it is what it was the last time."""
        return self._originals.find(name)

    def scrub(self, bytes_per_s: float = math.inf) -> Scrub:
        """A look at whether everything is still what was written, to be run on a thread of its own; the last one ends."""
        self._check_open()
        self._end_scrub()
        scrub = Scrub(self._ledger, self._bodies, self._home, self._lock, self._wait, bytes_per_s)
        self._scrub = scrub
        return scrub

    def _end_scrub(self) -> None:
        if self._scrub is not None:
            self._scrub.cancel()

    def partial(self, ref: BlobRef) -> DiskPartial | HeldPartial:
        """Begin a body, or go on with one that was cut."""
        self._check_open()
        return self._bodies.partial(ref)


def _body_of(step: Step) -> BlobRef | None:
    if isinstance(step, Export):
        return step.blob
    return step.entry.blob if step.entry is not None else None
