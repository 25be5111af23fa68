"""The entries of one peer, or of several that are given the same index, in an sqlite database.

A commit is durable (WAL, synchronous=FULL) and is shared: what comes while another commit is under way goes into the next one.
So a single write costs one sync of the disk, and a hundred at once hardly more.

Measured on two cores, 150 bytes a row: 32 peers with a database each 6,300 rows a second on four threads, and 112 KiB of memory
each; one database for all of them 27,000 in groups of 8 and 48,000 in groups of 32, beside 4,300 syncs of a file by one thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overlay.errors import LocalError, NoSpace
from overlay.store.disk.folder import as_local_error
from overlay.store.disk.system import SYSTEM, System

if TYPE_CHECKING:
    from sqlite3 import Connection

VERSION = 1
SETUP = f"""
CREATE TABLE IF NOT EXISTS entries (
    owner TEXT, service TEXT, key TEXT, data BLOB NOT NULL, PRIMARY KEY (owner, service, key)
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
PAGE_ROWS = 256
COLUMNS = ", ".join(f"CAST({column} AS BLOB)" for column in ("owner", "service", "key", "data"))
"""As bytes: what is damaged may be no text any more."""

PAGE = f"""
SELECT {COLUMNS} FROM entries
WHERE owner = ? AND (service, key) > (CAST(? AS TEXT), CAST(? AS TEXT)) ORDER BY service, key LIMIT ?
"""
CACHE_KIB = 256
CHECKPOINT_PAGES = 256
"""The log is folded into the database when it is a MiB long: rarely, and not for long when it is."""

BALLAST_BYTES = 64 * 1024
"""Kept free beside the database: on a full disk nothing could be deleted, for that is written too."""

Row = tuple[str, str, bytes | None]
"""Service, key, and what is kept there; None to forget it."""

OnDone = Callable[[list[LocalError | None]], None]
"""Told of each part why it is not durable, or None."""

log = logging.getLogger(__name__)


class DamagedIndex(LocalError):
    """The file is no database any more."""


class _Job:
    """What one owner wants to be written: every part whole or not at all."""

    __slots__ = ("errors", "on_done", "owner", "parts")

    def __init__(self, owner: str, parts: Sequence[Sequence[Row]], on_done: OnDone):
        self.owner = owner
        self.parts = parts
        self.on_done = on_done
        self.errors: list[LocalError | None] = [None] * len(parts)


class Index:
    """Made anew or opened with the first row that is read or written; from any thread."""

    __slots__ = (
        "_committer",
        "_committing",
        "_connection",
        "_holders",
        "_is_spent",
        "_lock",
        "_queue",
        "_system",
        "_waiting",
        "path",
    )

    def __init__(self, path: Path, system: System = SYSTEM):
        self.path = path
        self._system = system
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        """Of the connection."""
        self._queue = threading.Lock()
        self._waiting: list[_Job] = []
        self._committing = self._is_spent = False
        self._committer = 0
        self._holders = 0

    def hold(self) -> None:
        """Somebody uses it from now on."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """No longer; the last one closes it."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._close()

    @property
    def is_there(self) -> bool:
        """Whether there can be rows. A peer that never kept anything has no file either."""
        return self._connection is not None or self.path.exists()

    def rows(self, owner: str) -> Iterator[tuple[str, str, bytes]]:
        """All of an owner's, by service and key, as they are in the file; a page at a time, so they may change meanwhile."""
        service, key = b"", b""
        while self.is_there:
            with self._lock, self._as_local_error():
                connection = self._open()
                # Pages that are remembered say nothing of the disk; and rows are read at a start and by a scrub only.
                connection.execute("PRAGMA shrink_memory")
                page = connection.execute(PAGE, (owner, service, key, PAGE_ROWS)).fetchall()
            for _, service, key, data in page:
                # Of a damaged row whatever can be read: who reads it will see that it is none of what was written.
                yield service.decode(errors="replace"), key.decode(errors="replace"), data
            if len(page) < PAGE_ROWS:
                return

    def forget(self, owner: str) -> None:
        """Have no rows of an owner; durable on return."""
        if self.is_there:
            with self._lock, self._as_local_error(), self._transaction() as connection:
                connection.execute("DELETE FROM entries WHERE owner = ?", (owner,))

    def write(self, owner: str, parts: Sequence[Sequence[Row]], on_done: OnDone) -> None:
        """Write every part whole or not at all, one after the other, with the next `commit`."""
        with self._queue:
            self._waiting.append(_Job(owner, parts, on_done))

    def commit(self) -> None:
        """Make durable what waits, and what comes meanwhile, and tell; nothing where another thread is at it already.

        So nobody is woken between two commits, which on a busy machine takes longer than the disk.
        """
        with self._queue:
            if self._committing:
                return
            self._committing = True
            self._committer = threading.get_ident()
        try:
            while group := self._next_group():
                self._commit(group)
                for job in group:
                    _tell(job)
        except BaseException:
            self._committing = False
            raise

    @property
    def is_committing_here(self) -> bool:
        """Whether this very thread is committing, and has been called by somebody whom it told."""
        return self._committing and self._committer == threading.get_ident()

    def _next_group(self) -> list[_Job]:
        with self._queue:
            group, self._waiting = self._waiting, []
            self._committing = bool(group)
            return group

    def _commit(self, group: Sequence[_Job]) -> None:
        if self._is_spent:
            self._take_ballast()
        parts = [(job, number) for job in group for number in range(len(job.parts))]
        if self._commit_parts(parts) is None:
            return
        for part in parts:
            # What one of them asked for may have been too much, and not what the others did.
            job, number = part
            error = self._commit_parts([part])
            if isinstance(error, NoSpace) and all(data is None for _, _, data in job.parts[number]):
                error = self._commit_in_ballast(part)
            job.errors[number] = error

    def _commit_in_ballast(self, part: tuple[_Job, int]) -> LocalError | None:
        with contextlib.suppress(LocalError), self._lock, self._as_local_error():
            self._is_spent = True
            self._system.unlink(self._ballast)
            self._open(ballast=False).execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._commit_parts([part])

    def _commit_parts(self, parts: Sequence[tuple[_Job, int]]) -> LocalError | None:
        try:
            with self._lock, self._as_local_error(), self._transaction() as connection:
                for job, number in parts:
                    _write(connection, job.owner, job.parts[number])
        except LocalError as error:
            return error
        except Exception as error:
            # Whoever waits for this must hear of it, and the others go on.
            log.exception("%s: a commit failed", self.path)
            return LocalError(f"{self.path}: {error!r}")
        return None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            self._system.commit(connection)
        except BaseException:
            # What stands in the file is the truth; whatever the connection believes of it is not asked.
            self._close()
            raise

    @contextlib.contextmanager
    def _as_local_error(self) -> Iterator[None]:
        import sqlite3

        try:
            with as_local_error(self.path):
                yield
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_FULL:
                raise NoSpace(f"{self.path}: no room on the disk") from error
            why = "it is used by another process" if code == sqlite3.SQLITE_BUSY else error
            raise LocalError(f"{self.path}: {why}") from error
        except sqlite3.DatabaseError as error:
            raise DamagedIndex(f"{self.path}: {error}") from error

    @property
    def _ballast(self) -> Path:
        return self.path.with_name(self.path.name + "-ballast")

    def _take_ballast(self) -> None:
        try:
            if self._ballast.exists():
                return
            fd = self._system.create(self._ballast)
            try:
                self._system.reserve(fd, self.path.parent, BALLAST_BYTES)
            finally:
                os.close(fd)
            self._is_spent = False
        except OSError:
            with contextlib.suppress(OSError):
                self._system.unlink(self._ballast)

    def _open(self, *, ballast: bool = True) -> Connection:
        if not self._holders:
            raise LocalError(f"{self.path} is closed")
        if self._connection is None:
            if ballast:
                self._take_ballast()
            import sqlite3

            if not self.path.exists():
                self._make()
            connection = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, check_same_thread=False)
            try:
                _set_up(connection, "FULL")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _make(self) -> None:
        """An empty database, synced once and not at each step."""
        import sqlite3

        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            _set_up(connection, "OFF")
        # Only now: whoever closes a file gives up the locks that sqlite has on it in the same process.
        fd = self._system.reopen(self.path)
        try:
            self._system.sync(fd)
        finally:
            os.close(fd)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.rollback()
            with contextlib.suppress(Exception):
                connection.close()

    def remove(self) -> None:
        """Have no database."""
        with self._lock:
            self._close()
            for path in self._files():
                self._system.unlink(path)

    def set_aside(self) -> Path:
        """Keep a damaged database under another name, and go on with what can be read of it; the new name."""
        with self._lock, self._as_local_error():
            self._close()
            number = next(n for n in range(1_000_000) if not self.path.with_suffix(f".damaged-{n}").exists())
            aside = self.path.with_suffix(f".damaged-{number}")
            self._system.unlink(self._ballast)
            for path in self._files():
                if path.exists():
                    self._system.replace(path, path.with_name(path.name.replace(self.path.name, aside.name, 1)))
            rows = salvaged(aside)
            if rows:
                with self._transaction() as connection:
                    connection.executemany(
                        f"REPLACE INTO entries VALUES ({', '.join(['CAST(? AS TEXT)'] * 3)}, ?)", rows
                    )
        return aside

    def _files(self) -> list[Path]:
        # The database is the last to go: a log without it means nothing.
        return [self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-shm", "-journal", "-ballast", "")]


def _set_up(connection: Connection, synchronous: str) -> None:
    # Nobody else may open it, so the log needs no memory that processes share, which some file systems cannot give.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise LocalError(f"the index is of a later version of this program ({version})")
    if version < VERSION:
        connection.executescript(SETUP)


def salvaged(path: Path) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """The rows of a damaged database: from either end up to where it is damaged."""
    import sqlite3

    found = {}
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{column} {order}" for column in ("owner", "service", "key"))
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
            for row in connection.execute(f"SELECT {COLUMNS} FROM entries ORDER BY {by}"):
                found[row[:3]] = row
    return list(found.values())


def _write(connection: Connection, owner: str, rows: Sequence[Row]) -> None:
    for service, key, data in rows:
        if data is None:
            connection.execute("DELETE FROM entries WHERE owner = ? AND service = ? AND key = ?", (owner, service, key))
        else:
            connection.execute("REPLACE INTO entries VALUES (?, ?, ?, ?)", (owner, service, key, data))


def _tell(job: _Job) -> None:
    try:
        job.on_done(job.errors)
    except Exception:
        # That is one owner's trouble; the commits of the others go on.
        log.exception("whoever wrote does not want to hear that it is done")


def waited(write: Callable[[OnDone], Callable[[], None]]) -> list[LocalError | None]:
    """What `write` tells, once it is committed."""
    over, outcome = threading.Event(), list[LocalError | None]()

    def done(errors: list[LocalError | None]) -> None:
        outcome.extend(errors)
        over.set()

    write(done)()
    over.wait()
    return outcome
