"""A process that writes until it is killed, four threads at once, and says what was acknowledged.

python -m tests.store.writer FOLDER SHARED FIRST...      where each thread goes on
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

from overlay.core.storage import BlobRef, Entry, Export, Write
from overlay.store.disk import FolderDisk, Index

THREADS = 4
Kept = dict[str, int]
"""Which turn of a thread wrote a key, or a file."""


def body_of(thread: int, turn: int) -> bytes:
    """Several pages, all of them different from any other's."""
    return b"%d-%d " % (thread, turn) * 700


def key_of(thread: int, turn: int) -> str:
    """What a turn is about: four turns in seven a record with a body, which is deleted in one; else a few bytes."""
    return f"record/{thread}{turn % 3:03}" if turn % 7 < 4 else f"note/{thread}-{turn % 2}"


def replay(thread: int, turn: int, kept: Kept) -> None:
    """What a turn does to what is kept."""
    if turn % 7 == 3:
        kept.pop(key_of(thread, turn), None)
    else:
        kept[key_of(thread, turn)] = turn
    if turn % 7 == 0:
        kept[f"received_{thread}.pdf"] = turn


def act(disk: FolderDisk, thread: int, turn: int) -> None:
    """Do it."""
    key, body, value = key_of(thread, turn), body_of(thread, turn), b"%d" % turn
    if turn % 7 == 3:
        disk.write("records", (Write(key, None),))
    elif turn % 7 > 3:
        disk.write("records", (Write(key, Entry(value)),))
    else:
        ref = BlobRef(hashlib.sha256(body).digest(), len(body))
        partial = disk.partial(ref)
        partial.write(memoryview(body))
        partial.check(memoryview(body))
        partial.finish()
        partial.close()
        exports = (Export(f"received_{thread}.pdf", ref),) if turn % 7 == 0 else ()
        disk.write("records", (Write(key, Entry(value, ref)), *exports))


def opened(folder: Path, shared: bool) -> list[FolderDisk]:
    """A disk for two threads each."""
    index = Index(folder / "index.db") if shared else None
    disks = [FolderDisk(folder / f"files/peer-{n}", folder / "files", keep=True, index=index) for n in range(2)]
    for disk in disks:
        disk.open()
    return disks


def main(folder: str, shared: str, *first: str) -> None:
    """Go on for ever."""
    disks = opened(Path(folder), shared == "shared")

    def run(thread: int, turn: int) -> None:
        while True:
            act(disks[thread % 2], thread, turn)
            os.write(1, b"%d %d\n" % (thread, turn))
            turn += 1

    for thread in range(THREADS):
        threading.Thread(target=run, args=(thread, int(first[thread]))).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
