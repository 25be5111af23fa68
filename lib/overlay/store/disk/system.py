"""What is asked of the operating system; where a call of Linux's is missing, as on macOS and Windows, another way is taken.

Everything that changes a disk is a method of `System`, so that a test can have each of them fail, or be the last one.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite3 import Connection


def open_plain(path: Path, flags: int) -> int:
    """As `os.open`, but OSError for a link, a folder, a pipe or a device.

    Without O_NONBLOCK a named pipe would hold up whoever opens it for ever.
    """
    no_follow = getattr(os, "O_NOFOLLOW", 0)
    if not no_follow and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    fd = os.open(path, flags | no_follow | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o644)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "not a regular file")
    return fd


def open_file(path: Path) -> int:
    """A descriptor to read a regular file from; OSError for anything else."""
    return open_plain(path, os.O_RDONLY)


def read_at(fd: int, count: int, offset: int) -> bytes:
    """At most so many bytes. One thread at a time uses a descriptor."""
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, count)


class System:
    """The calls that change a disk."""

    def make_folder(self, path: Path) -> None:
        """Have this folder, and those above it."""
        path.mkdir(parents=True, exist_ok=True)

    def create(self, path: Path) -> int:
        """A descriptor to write a file that was not there."""
        return open_plain(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def reopen(self, path: Path) -> int:
        """A descriptor to go on with a file."""
        return open_plain(path, os.O_RDWR)

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        """Some of the data; how much."""
        if hasattr(os, "pwrite"):
            return os.pwrite(fd, data, offset)
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)

    def reserve(self, fd: int, folder: Path, size: int) -> None:
        """Give a file in a folder this size, and its room on the disk where the system can; OSError where there is none."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
            return
        if size - os.fstat(fd).st_size > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(fd, size)

    def truncate(self, fd: int, size: int) -> None:
        """Give back the room behind the first `size` bytes."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Make a file's bytes durable, though not its name."""
        os.fsync(fd)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable, where the system lets a folder be opened for that."""
        if hasattr(os, "O_DIRECTORY"):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, in the place of what stands there."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """A second name of the same bytes; OSError or NotImplementedError where the file system has none."""
        os.link(source, target, follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        """Have no such file."""
        path.unlink(missing_ok=True)

    def commit(self, connection: Connection) -> None:
        """Make a transaction of sqlite durable."""
        connection.execute("COMMIT")


SYSTEM = System()


def lock_file(path: Path) -> int:
    """A descriptor that holds the file's lock until it is closed; BlockingIOError while another one does."""
    fd = open_plain(path, os.O_RDWR | os.O_CREAT)
    try:
        _lock(fd)
    except OSError:
        os.close(fd)
        raise BlockingIOError(errno.EAGAIN, f"{path} is locked") from None
    return fd


def _lock(fd: int) -> None:
    try:
        import fcntl
    except ImportError:
        # Windows; on a system that has neither, two peers with one folder are told apart by the index, once both have one.
        with contextlib.suppress(ImportError):
            windows = importlib.import_module("msvcrt")
            windows.locking(fd, windows.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
