"""Files of one folder by plain names: never through a link, replaced whole or not at all, synced with their folder."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from overlay.errors import LocalError
from overlay.store.disk.system import open_plain, read_at, sync_folder, write_at

CHUNK_BYTES = 1 << 20
"""What is read and hashed at a time: memory stays the same for any size of file."""

MAX_NAME_BYTES = 200
"""Below the 255 of common file systems, so that the temporary name of a file fits as well."""

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
    """Whatever this machine's disk refuses is a LocalError that names the folder."""
    try:
        yield
    except OSError as error:
        raise LocalError(f"{where}: {error.strerror or error}") from error


def open_file(path: Path) -> int:
    """A descriptor to read a regular file from; OSError for anything else."""
    return open_plain(path, os.O_RDONLY)


def create_file(path: Path) -> int:
    """A descriptor to write a file that was not there."""
    return open_plain(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """All of `data` from `offset` on; the system may take it in pieces."""
    rest = memoryview(data)
    while rest:
        written = write_at(fd, rest, offset)
        rest = rest[written:]
        offset += written


def digest(fd: int, copy_to: int | None = None) -> bytes:
    """The SHA-256 of a file's bytes, copied on the way if asked."""
    hasher, offset = hashlib.sha256(), 0
    while chunk := read_at(fd, CHUNK_BYTES, offset):
        hasher.update(chunk)
        if copy_to is not None:
            write_all(copy_to, chunk, offset)
        offset += len(chunk)
    return hasher.digest()


class Folder:
    """A folder and what is done to the files in it. `tag` tells its owner's temporary files from anybody else's."""

    def __init__(self, path: Path, tag: str):
        self.path = path
        self._temporary = f".overlay-{tag}-"
        self._numbers = itertools.count()

    def open(self) -> None:
        """Make the folder, and sweep up what a crash of its owner left half written."""
        with as_local_error(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in self.names():
                if name.startswith(self._temporary):
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
            fd = create_file(temporary)
            try:
                write_all(fd, data, 0)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)

    def copy(self, name: str, source: Path, sha256: bytes) -> None:
        """Put a copy in the place of what stands there; LocalError, and nothing changes, unless it has this hash."""
        with self._replacing(name) as temporary, contextlib.ExitStack() as stack:
            origin = open_file(source)
            stack.callback(os.close, origin)
            fd = create_file(temporary)
            stack.callback(os.close, fd)
            if digest(origin, copy_to=fd) != sha256:
                raise LocalError(f"{source} is no longer what it was")
            os.fsync(fd)

    def link(self, name: str, source: Path, sha256: bytes) -> None:
        """As `copy`, but by a second name of the same bytes where the file system has that."""
        try:
            with self._replacing(name) as temporary:
                os.link(source, temporary, follow_symlinks=False)
        except (OSError, NotImplementedError):
            self.copy(name, source, sha256)

    def remove(self, name: str) -> None:
        """Have no such file."""
        (self.path / name).unlink(missing_ok=True)

    def sync(self) -> None:
        """Make the names durable: a file's own fsync does not keep its name."""
        sync_folder(self.path)

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[Path]:
        temporary = self.path / f"{self._temporary}{next(self._numbers)}"
        try:
            yield temporary
            temporary.replace(self.path / name)
        finally:
            # A rename onto another name of the same file does nothing and leaves both names standing. That a name cannot
            # be removed must not undo the news that the file is in its place; the next start sweeps.
            with contextlib.suppress(OSError):
                self.remove(temporary.name)
