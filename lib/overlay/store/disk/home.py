"""Where the entries of a peer lie: in an index of its own, or in one that it has in common with others of its process.

Wherever an earlier run left them, be it in files of their own as the first version did, they are moved to where this run
wants them before it begins. A folder whose entries lie elsewhere says where, in `.overlay/shared`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from overlay.store.disk.folder import Folder
from overlay.store.disk.index import DamagedIndex, Index, OnDone, Row, waited
from overlay.store.disk.rows import MAX_ENTRY_BYTES, decode, file_name
from overlay.store.disk.system import System

MARK = "shared"

log = logging.getLogger(__name__)


class Home:
    """The rows of one owner, and nobody else's."""

    __slots__ = ("_hidden", "_index", "_is_marked", "_is_open", "_owner", "_shared", "_system", "_tag", "damaged")

    def __init__(self, hidden: Folder, tag: str, shared: Index | None, system: System):
        self._hidden = hidden
        self._tag = tag
        self._shared = shared
        self._system = system
        self._index = shared or Index(hidden.path / "index.db", system)
        self._owner = ""
        self._is_marked = self._is_open = False
        self.damaged: list[str] = []
        """What could not be read."""

    def open(self) -> None:
        """Gather the entries from wherever they are."""
        self._index.hold()
        self._is_open = True
        where = self._mark()
        if self._shared is not None:
            self._owner, self._is_marked = os.urandom(8).hex(), False
            if where is not None and where[1] == Path(os.path.normpath(self._shared.path.absolute())):
                self._owner, self._is_marked = where[0], True
            elif where is not None:
                self._move(Index(where[1], self._system), where[0])
            own = Index(self._hidden.path / "index.db", self._system)
            if own.is_there:
                self._move(own, "")
        elif where is not None:
            self._move(Index(where[1], self._system), where[0])
            self._hidden.remove(MARK)
        if (files := self._files()) is not None:
            self._move_files(files)

    def close(self) -> None:
        """Nothing more is read or written."""
        if self._is_open:
            self._is_open = False
            self._index.release()

    def rows(self) -> Iterator[tuple[str, str, bytes]]:
        """All of ours. A database that is damaged is set aside, and named; what can be read of it is kept."""
        last = "", ""
        try:
            for row in self._index.rows(self._owner):
                yield row
                last = row[:2]
        except DamagedIndex as error:
            aside = self._index.set_aside()
            log.warning("%s; it is kept as %s", error, aside.name)
            self.damaged.append(aside.name)
            yield from (row for row in self._index.rows(self._owner) if row[:2] > last)

    def write(self, parts: Sequence[Sequence[Row]], on_done: OnDone) -> Callable[[], None]:
        """See `Index.write`; its `commit`."""
        self._index.write(self._owner, parts, on_done)
        return self._index.commit

    def commit(self) -> None:
        """See `Index`."""
        self._index.commit()

    @property
    def is_committing_here(self) -> bool:
        """See `Index`."""
        return self._index.is_committing_here

    def mark(self) -> None:
        """Let the folder say where its entries are; before the first of them is."""
        if self._shared is not None and not self._is_marked:
            self._hidden.write(MARK, f"{self._owner}\n{self._way_to(self._shared.path)}".encode())
            self._is_marked = True

    def root(self) -> None:
        """Make durable that there are our folders, and where the entries lie."""
        self.mark()
        for path in (self._hidden.path, self._hidden.path.parent, self._hidden.path.parent.parent):
            self._system.sync_folder(path)

    def empty(self) -> None:
        """Keep nothing."""
        if self._shared is not None:
            if self._is_marked:
                self._shared.forget(self._owner)
        else:
            self._index.remove()
        if (files := self._files()) is not None:
            for name in files.names():
                files.remove(name)

    def _files(self) -> Folder | None:
        path = self._hidden.path / "entries"
        return Folder(path, self._tag, self._system) if path.is_dir() else None

    def _mark(self) -> tuple[str, Path] | None:
        try:
            owner, _, path = self._hidden.read(MARK, 8192).decode().partition("\n")
        except (OSError, UnicodeDecodeError):
            return None
        return owner, Path(os.path.normpath(self._hidden.path.absolute() / path))

    def _way_to(self, path: Path) -> str:
        try:
            # So that a folder which has both in it may be moved.
            return os.path.relpath(path.absolute(), self._hidden.path.absolute())
        except ValueError:
            return str(path.absolute())

    def _move(self, source: Index, owner: str) -> None:
        if not source.is_there:
            log.warning("%s: the entries of this folder were in %s, which is gone", self._hidden.path, source.path)
            self.damaged.append(MARK)
            return
        source.hold()
        try:
            self._take([*source.rows(owner)])
            if owner:
                source.forget(owner)
        finally:
            source.release()
        if not owner:
            source.remove()

    def _move_files(self, files: Folder) -> None:
        found, moved = [], []
        for name in files.names():
            row = decode(data := files.read(name, MAX_ENTRY_BYTES))
            if row is None or file_name(row[0]) != name:
                self.damaged.append(name)
            else:
                found.append((*row[0], data))
                moved.append(name)
        self._take(found)
        for name in moved:
            files.remove(name)
        if not files.names():
            files.path.rmdir()

    def _take(self, rows: list[tuple[str, str, bytes]]) -> None:
        if rows:
            self.mark()
            self._hidden.sync()
            outcome = waited(lambda done: self.write([list(rows)], done))
            if outcome[0] is not None:
                raise outcome[0]
