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
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from overlay.core.storage import Batch, BlobRef, Entry, Export, Step, Write
from overlay.errors import LocalError
from overlay.store.disk.bodies import EMPTY, Bodies
from overlay.store.disk.folder import Folder, as_local_error, check_name
from overlay.store.disk.home import Home
from overlay.store.disk.index import Index
from overlay.store.disk.ledger import Ledger
from overlay.store.disk.originals import Originals
from overlay.store.disk.partial import DiskPartial, HeldPartial
from overlay.store.disk.rows import decode
from overlay.store.disk.shown import Shown
from overlay.store.disk.system import SYSTEM, System, lock_file

__all__ = ["EMPTY", "FolderDisk"]


class FolderDisk:
    """`core.blobstore.BlobStore` in two folders. Call `open` once the peer's ports are its own, `close` at the end.

    Without `keep`, `open` empties what an earlier run left: only what an entry of ours shows, never a stranger's file.
    `quota` is in bytes, for bodies and entries. Peers of one process that live and die together may be given an `index` in
    common: then their entries lie there, they need not a database each, and their writes share the syncs of the disk.
    """

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
        root = self._hidden, self._data, Folder(data.parent, tag, system)
        self._ledger = Ledger(self._home, self._bodies, Shown(self._data, self._bodies), root, self.source)
        self._keep = keep
        self._writing = threading.Lock()
        self._lock_fd = -1
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
        own = (self._hidden, *self._bodies.folders)
        with as_local_error(self._data.path):
            files = self._originals.folder
            for folder in (files, self._data, *own):
                if folder in own and folder.path.is_symlink():
                    raise LocalError(f"{folder.path} is a link; remove it")
                if folder is self._data and folder.path.exists() and folder.path.samefile(files.path):
                    raise LocalError(f"{folder.path} is the folder of the originals too; choose another --data")
                if folder is own[1]:
                    self._take()
                folder.open()
            try:
                self._home.open()
                self._load()
            except (OSError, LocalError):
                self.close()
                raise

    def close(self) -> None:
        """Let another process have the folders; what is being written is finished first, and then nothing more.

        Of bodies that have not come whole nothing stays: nobody would go on with them.
        """
        with self._writing:
            self._bodies.forsake()
            if self._lock_fd >= 0:
                self._home.close()
                os.close(self._lock_fd)
                self._lock_fd = -1

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
        with self._writing:
            rows = [decode(data, (owner, key)) for owner, key, data in self._home.rows() if owner == service]
            return {row[0][1]: row[1] for row in rows if row is not None and row[0] in self._ledger.kept}

    def write(self, service: str, batch: Batch) -> None:
        """Do one batch; durable on return. LocalError when the disk will not."""
        (error,) = self.write_all([(service, batch)])
        if error is not None:
            raise error

    def write_all(self, batches: Sequence[tuple[str, Batch]]) -> list[LocalError | None]:
        """Do the batches in order, with as few syncs of the disk as that needs; durable on return, or why not."""
        outcomes: list[LocalError | None] = [None] * len(batches)
        used = [ref for _, batch in batches for ref in {_body_of(step) for step in batch} if ref is not None]
        parts = (
            (number, tuple(steps))
            for number, (_, batch) in enumerate(batches)
            for _, steps in itertools.groupby(batch, key=_is_export)
        )
        with self._writing:
            try:
                self._check_open()
                # Entries that follow each other are written together, and whole before a file is exported behind them.
                for exports, run in itertools.groupby(parts, key=lambda part: _is_export(part[1][0])):
                    todo = [(number, steps) for number, steps in run if outcomes[number] is None]
                    if exports:
                        errors = [self._export(steps) for _, steps in todo]
                    else:
                        writes = [
                            (batches[number][0], [step for step in steps if isinstance(step, Write)])
                            for number, steps in todo
                        ]
                        errors = self._ledger.write(writes)
                    for (number, _), error in zip(todo, errors, strict=True):
                        outcomes[number] = error
            except LocalError as error:
                outcomes = [error] * len(batches)
            finally:
                self._bodies.used(used)
                self._bodies.collect(used)
        return outcomes

    def _export(self, steps: Sequence[Step]) -> LocalError | None:
        folder = self._originals.folder
        try:
            with as_local_error(folder.path):
                for step in steps:
                    assert isinstance(step, Export)
                    self._export_one(folder, check_name(step.name), step.blob)
                folder.sync()
        except LocalError as error:
            return error
        return None

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

    def partial(self, ref: BlobRef) -> DiskPartial | HeldPartial:
        """Begin a body, or go on with one that was cut."""
        self._check_open()
        return self._bodies.partial(ref)


def _is_export(step: Step) -> bool:
    return isinstance(step, Export)


def _body_of(step: Step) -> BlobRef | None:
    if isinstance(step, Export):
        return step.blob
    return step.entry.blob if step.entry is not None else None
