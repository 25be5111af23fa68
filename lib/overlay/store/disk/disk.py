"""A peer's disk: the records it keeps, in a folder of its own, and the shared folder of originals and received files.

    files/2067.pdf, received_4103.pdf     the shared folder; people and several peers use it
    files/peer-19/2067.pdf                a record of peer 19, a second name of its body
    files/peer-19/.overlay/bodies/        bodies by their SHA-256
    files/peer-19/.overlay/entries/       one small file for each entry: hash, then service, key and entry
    files/peer-19/.overlay/partial/       bodies on their way; of this run only

Every file is written beside its final name, synced, renamed, and its folder synced, in this order; what an entry refers
to is there before the entry, and goes after it. So a crash leaves each entry as it was or as it shall be.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from overlay.core.storage import Batch, BlobRef, Entry, Export, Write
from overlay.errors import LocalError, NotThere
from overlay.store.disk.folder import Folder, as_local_error, check_name, digest, open_file
from overlay.store.disk.partial import DiskPartial, HeldPartial
from overlay.store.disk.system import lock_file

RECORD = "record/"
"""An entry `record/2067` is shown as `2067.pdf` in the peer's own folder."""

MAX_ENTRY_BYTES = 1 << 20
MAX_FOUND = 4096
"""Hashes of files of the shared folder that are remembered."""

MAX_CUT = 16
"""Bodies that were cut and wait for another attempt; the oldest gives way."""

EMPTY = BlobRef(hashlib.sha256().digest(), 0)
"""The body of a placeholder. It is always here."""

Signature = tuple[int, int, int]
"""Size, time of change and inode: while they stay, so do the bytes."""


class _Row(msgspec.Struct, array_like=True):
    service: str
    key: str
    entry: Entry


class FolderDisk:
    """`core.blobstore.BlobStore` in two folders. Call `open` once the peer's ports are its own, `close` at the end.

    Without `keep`, `open` empties what an earlier run left: only what an entry of ours shows, never a stranger's file.
    `quota` is in bytes, for bodies.
    """

    def __init__(self, data: Path, files: Path, *, keep: bool, quota: int | None = None):
        tag = hashlib.sha256(os.fsencode(data.absolute())).hexdigest()[:12]
        hidden = data / ".overlay"
        self._files, self._data = Folder(files, tag), Folder(data, tag)
        self._hidden, self._entry_files = Folder(hidden, tag), Folder(hidden / "entries", tag)
        self._body_files, self._partial_files = Folder(hidden / "bodies", tag), Folder(hidden / "partial", tag)
        self.path = data
        self._keep = keep
        self._quota = quota
        self._lock = threading.RLock()
        self._lock_fd = -1
        self._entries: dict[tuple[str, str], Entry] = {}
        self._bodies: dict[str, Signature] = {}
        self._fresh: Counter[BlobRef] = Counter()
        self._partials: dict[BlobRef, DiskPartial] = {}
        self._found: dict[str, tuple[Signature, BlobRef]] = {}
        self.damaged: tuple[str, ...] = ()
        """Files of entries that could not be read at the start; they stay where they are."""

    # Beginning and end ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the folders; LocalError if another process has them or the disk will not."""
        own = (self._hidden, self._entry_files, self._body_files, self._partial_files)
        with as_local_error(self._data.path):
            for folder in (self._files, self._data, *own):
                if folder in own and folder.path.is_symlink():
                    raise LocalError(f"{folder.path} is a link; remove it")
                if folder is self._data and folder.path.exists() and folder.path.samefile(self._files.path):
                    raise LocalError(f"{folder.path} is the folder of the originals too; choose another --data")
                if folder is self._entry_files:
                    self._take()
                folder.open()
            try:
                self._load()
            except OSError:
                self.close()
                raise

    def close(self) -> None:
        """Let another process have the folders; what is being written is finished first, and then nothing more.

        Of bodies that have not come whole nothing stays: nobody would go on with them.
        """
        with self._lock:
            for partial in self._partials.values():
                partial.forsake()
            if self._lock_fd >= 0:
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
        for name in self._partial_files.names():
            self._partial_files.remove(name)
        self._bodies = {name: _signature(self._body_files.status(name)) for name in self._body_files.names()}
        if not self._keep:
            self._empty()
        # Made anew at every start, so it needs no sync; with many peers on one disk that is most of a start.
        self._body_files.write(EMPTY.sha256.hex(), b"", durable=False)
        self._has_come(EMPTY)
        damaged = []
        for name in self._entry_files.names():
            row = self._read_entry(name)
            if row is None:
                damaged.append(name)
            else:
                self._entries[row.service, row.key] = row.entry
        self.damaged = tuple(damaged)
        for (_, key), entry in self._entries.items():
            self._show(key, entry)
        needed = {entry.blob.sha256.hex() for entry in self._entries.values() if entry.blob is not None}
        # While an entry cannot be read nobody knows which body is its own, so all of them stay.
        if not damaged:
            for name in self._bodies.keys() - needed - {EMPTY.sha256.hex()}:
                self._drop_body(name)

    def _read_entry(self, name: str) -> _Row | None:
        try:
            data = self._entry_files.read(name, MAX_ENTRY_BYTES)
            row = msgspec.msgpack.decode(data[32:], type=_Row)
        except (OSError, msgspec.DecodeError):
            return None
        if hashlib.sha256(data[32:]).digest() != data[:32] or name != _entry_name(row.service, row.key):
            return None
        blob = row.entry.blob
        if blob is not None and not self._is_body(blob):
            return None
        return row

    def _empty(self) -> None:
        if entries := self._entry_files.names():
            for name in entries:
                row = self._read_entry(name)
                if row is not None:
                    self._hide(row.key)
                self._entry_files.remove(name)
            self._entry_files.sync()
        for name in list(self._bodies):
            self._drop_body(name)

    # Entries -------------------------------------------------------------------------------------------------

    def entries(self, service: str) -> dict[str, Entry]:
        """What is durable for a service."""
        with self._lock:
            return {key: entry for (owner, key), entry in self._entries.items() if owner == service}

    def write(self, service: str, batch: Batch) -> None:
        """Do the batch in order; durable on return."""
        used = [ref for step in batch if (ref := _body_of(step)) is not None]
        old: list[BlobRef] = []
        with self._lock:
            self._check_open()
            try:
                for step in batch:
                    with as_local_error(self._files.path if isinstance(step, Export) else self._data.path):
                        if isinstance(step, Export):
                            self._export(step)
                        else:
                            old += self._write(service, step)
                self._sync(batch)
                self._collect(old)
            finally:
                self._fresh.subtract(set(used))
                self._collect(used)

    def _sync(self, batch: Batch) -> None:
        folders = {self._files} if any(isinstance(step, Export) for step in batch) else set()
        if any(isinstance(step, Write) for step in batch):
            folders |= {self._entry_files, self._data}
        for folder in folders:
            with as_local_error(folder.path):
                folder.sync()

    def _write(self, service: str, step: Write) -> list[BlobRef]:
        name, place = _entry_name(service, step.key), (service, step.key)
        old = self._entries.get(place)
        if step.entry is None:
            self._hide(step.key)
            self._entry_files.remove(name)
            self._entries.pop(place, None)
        else:
            if step.entry.blob is not None:
                self._adopt(step.entry.blob)
                self._body_files.sync()
            data = msgspec.msgpack.encode(_Row(service, step.key, step.entry))
            if len(data) > MAX_ENTRY_BYTES - 32:
                raise LocalError(f"an entry of {len(data)} bytes is too large to keep")
            self._entry_files.write(name, hashlib.sha256(data).digest() + data)
            self._entries[place] = step.entry
            self._show(step.key, step.entry)
        return [old.blob] if old is not None and old.blob is not None else []

    def _export(self, step: Export) -> None:
        source = self.source(step.blob)
        if source is None:
            raise LocalError(f"the bytes for {check_name(step.name)} are not here")
        # A body that no entry keeps moves; one that stays must not share its bytes with a file that people edit.
        if self._is_body(step.blob) and not self._is_needed(step.blob):
            self._files.link(check_name(step.name), source, step.blob.sha256)
        else:
            self._files.copy(check_name(step.name), source, step.blob.sha256)

    # Bodies --------------------------------------------------------------------------------------------------

    def source(self, ref: BlobRef) -> Path | None:
        """Where the whole body can be read from, None if it is not here."""
        with self._lock:
            if self._is_body(ref):
                return self._body_files.path / ref.sha256.hex()
            for name, (signature, found) in self._found.items():
                if found == ref and _signature(self._files.status(name)) == signature:
                    return self._files.path / name
            return None

    def find(self, name: str) -> BlobRef:
        """Hash a file of the shared folder."""
        missing = f"there is no file {check_name(name)} in {self._files.path}/"
        try:
            fd = open_file(self._files.path / name)
        except FileNotFoundError:
            raise NotThere(missing) from None
        except OSError as error:
            raise LocalError(f"{self._files.path / name} cannot be read: {error.strerror}") from error
        with as_local_error(self._files.path):
            try:
                status = os.fstat(fd)
                signature = _signature(status)
                with self._lock:
                    known = self._found.pop(name, None)
                if known is None or known[0] != signature:
                    known = signature, BlobRef(digest(fd), status.st_size)
                    if _signature(os.fstat(fd)) != signature:
                        raise LocalError(f"{self._files.path / name} is being written to; try again")
            finally:
                os.close(fd)
        with self._lock:
            self._found[name] = known
            if len(self._found) > MAX_FOUND:
                del self._found[next(iter(self._found))]
        return known[1]

    def partial(self, ref: BlobRef) -> DiskPartial | HeldPartial:
        """Begin a body, or go on with one that was cut."""
        with self._lock:
            self._check_open()
            if self._is_body(ref):
                self._fresh[ref] += 1
                return HeldPartial(ref)
            partial = self._partials.get(ref)
            if partial is not None and partial.is_open:
                raise LocalError("this body is being fetched already")
            self._partials.pop(ref, None)
            self._reserve(ref.size - (partial.have if partial else 0))
            if partial is None:
                name = ref.sha256.hex()
                # The next owner of the folder sweeps this away, and never gives the name to a file of its own.
                path, target = self._partial_files.path / f"{name}-{os.urandom(8).hex()}", self._body_files.path / name
                partial = DiskPartial(ref, path, target, self._partial_ended)
            partial.open()
            self._partials[ref] = partial
            return partial

    def _partial_ended(self, partial: DiskPartial) -> None:
        with self._lock:
            del self._partials[partial.ref]
            if partial.is_placed:
                self._has_come(partial.ref)
                self._fresh[partial.ref] += 1
            elif partial.have:
                self._partials[partial.ref] = partial
                cut = [other for other in self._partials.values() if not other.is_open]
                for other in cut[:-MAX_CUT]:
                    other.discard()
                    del self._partials[other.ref]

    def _reserve(self, size: int) -> None:
        if self._quota is None:
            return
        coming = sum(partial.ref.size if partial.is_open else partial.have for partial in self._partials.values())
        if sum(size for size, _, _ in self._bodies.values()) + coming + size > self._quota:
            raise LocalError(f"{self._data.path}: no room for {size} bytes within the quota of {self._quota}")

    def _adopt(self, ref: BlobRef) -> None:
        if self._is_body(ref):
            return
        source = self.source(ref)
        if source is None:
            raise LocalError("the bytes of a record are not here; fetch them first")
        self._reserve(ref.size)
        self._body_files.copy(ref.sha256.hex(), source, ref.sha256)
        self._has_come(ref)

    def _has_come(self, ref: BlobRef) -> None:
        self._bodies[ref.sha256.hex()] = _signature(self._body_files.status(ref.sha256.hex()))

    def _is_body(self, ref: BlobRef) -> bool:
        return self._bodies.get(ref.sha256.hex(), (-1,))[0] == ref.size

    def _is_needed(self, ref: BlobRef) -> bool:
        return any(entry.blob == ref for entry in self._entries.values())

    def _collect(self, refs: Iterable[BlobRef]) -> None:
        for ref in refs:
            if self._is_body(ref) and ref != EMPTY and self._fresh[ref] <= 0 and not self._is_needed(ref):
                self._drop_body(ref.sha256.hex())
        self._fresh = +self._fresh

    def _drop_body(self, name: str) -> None:
        with as_local_error(self._data.path):
            self._body_files.remove(name)
        self._bodies.pop(name, None)

    # What people see -----------------------------------------------------------------------------------------

    def _show(self, key: str, entry: Entry) -> None:
        name = _visible(key)
        if name is None or entry.blob is None:
            return
        body = self._body_files.path / entry.blob.sha256.hex()
        status = self._data.status(name)
        if status is None or (not os.path.samestat(status, body.lstat()) and self._is_ours(name)):
            self._data.link(name, body, entry.blob.sha256)

    def _hide(self, key: str) -> None:
        name = _visible(key)
        if name is not None and self._is_ours(name):
            self._data.remove(name)

    def _is_ours(self, name: str) -> bool:
        """Whether a file in our folder is a name or a copy of a body of ours; anything else is a stranger's."""
        try:
            fd = open_file(self._data.path / name)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            if any(inode == status.st_ino for _, _, inode in self._bodies.values()):
                return True
            return (
                any(size == status.st_size for size, _, _ in self._bodies.values()) and digest(fd).hex() in self._bodies
            )
        finally:
            os.close(fd)


def _visible(key: str) -> str | None:
    if not key.startswith(RECORD):
        return None
    try:
        return check_name(key.removeprefix(RECORD) + ".pdf")
    except LocalError:
        return None


def _entry_name(service: str, key: str) -> str:
    try:
        return hashlib.sha256(f"{service}\0{key}".encode()).hexdigest()[:40]
    except UnicodeEncodeError:
        raise LocalError(f"{key[:80]!a} is no text") from None


def _signature(status: os.stat_result | None) -> Signature:
    return (-1, -1, -1) if status is None else (status.st_size, status.st_mtime_ns, status.st_ino)


def _body_of(step: Write | Export) -> BlobRef | None:
    if isinstance(step, Export):
        return step.blob
    return step.entry.blob if step.entry is not None else None
