"""What systems do in different ways. Where a call of Linux's is missing, as on macOS and Windows, another way is taken."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import stat
from pathlib import Path


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


def read_at(fd: int, count: int, offset: int) -> bytes:
    """At most so many bytes. One thread at a time uses a descriptor."""
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, count)


def write_at(fd: int, data: memoryview, offset: int) -> int:
    """Some of the data; how much."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, data)


def reserve(fd: int, folder: Path, size: int) -> None:
    """Give a file in a folder this size, and its room on the disk where the system can; OSError where there is none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    if size - os.fstat(fd).st_size > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(fd, size)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, where the system lets a folder be opened for that."""
    if hasattr(os, "O_DIRECTORY"):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


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
        # Windows; on a system that has neither, two peers with one folder are not told apart.
        with contextlib.suppress(ImportError):
            windows = importlib.import_module("msvcrt")
            windows.locking(fd, windows.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
