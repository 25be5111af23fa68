"""Files of one folder by plain names: never through a link, replaced whole or not at all, synced with their folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from overlay.errors import LocalError, NoSpace
from overlay.store.disk.system import SYSTEM, System, open_file, read_at

CHUNK_BYTES = 1 << 20
"""What is read and hashed at a time: memory stays the same for any size of file."""

MAX_NAME_BYTES = 200
"""Below the 255 of common file systems, so that the temporary name of a file fits as well."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says when there is no room."""

_numbers = itertools.count()
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def check_name(name: str) -> str:
    """The name, if it can stand for a file in one folder on any system; LocalError otherwise.

    A name may have come from a peer: it is data, and no part of it may lead out of the folder.
    """
    if (
        not name.isprintable()
        or not 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES
        or name.startswith(".")
        or name.endswith((".", " "))
        or any(char in name for char in '/\\:*?"<>|')
        or _DEVICES.fullmatch(name)
    ):
        raise LocalError(f"{name[:80]!a} is not a plain file name")
    return name


@contextlib.contextmanager
def as_local_error(where: Path) -> Iterator[None]:
    """Whatever this machine's disk refuses is a LocalError that names the folder; NoSpace if it is full."""
    try:
        yield
    except OSError as error:
        kind = NoSpace if error.errno in FULL else LocalError
        raise kind(f"{where}: {error.strerror or error}") from error


def write_all(system: System, fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """All of `data` from `offset` on; the system may take it in pieces."""
    rest = memoryview(data)
    while rest:
        written = system.write_at(fd, rest, offset)
        rest = rest[written:]
        offset += written


def digest(fd: int, each: Callable[[bytes, int], None] | None = None) -> bytes:
    """The SHA-256 of a file's bytes; `each` is told every chunk and where it begins."""
    hasher, offset = hashlib.sha256(), 0
    while chunk := read_at(fd, CHUNK_BYTES, offset):
        hasher.update(chunk)
        if each is not None:
            each(chunk, offset)
        offset += len(chunk)
    return hasher.digest()


class Folder:
    """A folder and what is done to the files in it. `tag` tells its owner's temporary files from anybody else's."""

    __slots__ = ("_system", "_tag", "path")

    def __init__(self, path: Path, tag: str, system: System = SYSTEM):
        self.path = path
        self._system = system
        self._tag = tag

    def open(self) -> None:
        """Make the folder, and sweep up what a crash of its owner left half written."""
        with as_local_error(self.path):
            self._system.make_folder(self.path)
            for name in self.names():
                if name.startswith(f".overlay-{self._tag}-"):
                    self.remove(name)

    def names(self) -> list[str]:
        """What is in it, in order."""
        return sorted(path.name for path in self.path.iterdir())

    def status(self, name: str) -> os.stat_result | None:
        """The file's, not followed; None if there is none."""
        try:
            return os.lstat(self.path / name)
        except FileNotFoundError:
            return None

    def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a small file."""
        fd = open_file(self.path / name)
        try:
            return read_at(fd, limit, 0)
        finally:
            os.close(fd)

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Put a small file in the place of what stands there."""
        with self._replacing(name) as temporary:
            fd = self._system.create(temporary)
            try:
                write_all(self._system, fd, data, 0)
                if durable:
                    self._system.sync(fd)
            finally:
                os.close(fd)

    def copy(self, name: str, source: Path, sha256: bytes) -> None:
        """Put a copy in the place of what stands there; LocalError, and nothing changes, unless it has this hash."""
        with self._replacing(name) as temporary, contextlib.ExitStack() as stack:
            origin = open_file(source)
            stack.callback(os.close, origin)
            fd = self._system.create(temporary)
            stack.callback(os.close, fd)
            if digest(origin, lambda chunk, offset: write_all(self._system, fd, chunk, offset)) != sha256:
                raise LocalError(f"{source} is no longer what it was")
            self._system.sync(fd)

    def link(self, name: str, source: Path, sha256: bytes) -> None:
        """As `copy`, but by a second name of the same bytes where the file system has that."""
        try:
            with self._replacing(name) as temporary:
                self._system.link(source, temporary)
        except (OSError, NotImplementedError):
            self.copy(name, source, sha256)

    def remove(self, name: str) -> None:
        """Have no such file."""
        self._system.unlink(self.path / name)

    def sync(self) -> None:
        """Make the names durable: a file's own fsync does not keep its name."""
        self._system.sync_folder(self.path)

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[Path]:
        temporary = self.path / f".overlay-{self._tag}-{next(_numbers)}"
        try:
            yield temporary
            self._system.replace(temporary, self.path / name)
        finally:
            # A rename onto another name of the same file does nothing and leaves both names standing. That a name cannot
            # be removed must not undo the news that the file is in its place; the next start sweeps.
            with contextlib.suppress(OSError):
                self.remove(temporary.name)
