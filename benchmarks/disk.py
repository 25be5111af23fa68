"""The disk under the store: how long a small durable write takes, and how many there are a second."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.figures import Figure
from overlay.core.context import Failure
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.core.storage import Entry, Write
from overlay.ids import Key
from overlay.live.threads import ThreadDriver
from overlay.store.disk import FolderDisk, Index

ENTRY_BYTES = 100
WRITES = 3000
PATIENCE_S = 120.0


class Writer(Protocol):
    """Keeps one small entry after the other, several at a time."""

    service = "writer"

    def write(self, count: int, at_once: int) -> Pending[list[float]]:
        """So many; the seconds that each took."""
        over: Pending[list[float]] = Pending()
        times: list[float] = []
        left = [count]

        def begin() -> None:
            left[0] -= 1
            began = time.perf_counter()

            def durable() -> None:
                times.append(time.perf_counter() - began)
                if left[0] > 0:
                    begin()
                elif len(times) == count:
                    over.resolve(times)

            def failed(failure: Failure) -> None:
                over.fail(failure.as_error())

            self.ctx.persist((Write(f"{left[0] % 1000}", Entry(os.urandom(ENTRY_BYTES))),), durable, failed)

        for _ in range(at_once):
            begin()
        return over


def persists(peers: int, clients: int, common: bool) -> list[Figure]:
    """Clients that each keep one small entry after the other, spread over peers of this process."""
    with tempfile.TemporaryDirectory() as root:
        index = Index(Path(root) / "index.db") if common else None
        disks = [FolderDisk(Path(root) / str(n), Path(root), keep=False, index=index) for n in range(peers)]
        nodes = [ThreadDriver(Contact(Key(n), "127.0.0.1", 0), blobs=disk) for n, disk in enumerate(disks)]
        writers = [Writer() for _ in nodes]
        for node, disk, writer in zip(nodes, disks, writers, strict=True):
            disk.open()
            node.open()
            node.node.add(writer)
            node.start()
        for _ in range(2):
            # The first round makes the databases.
            began = time.perf_counter()
            each = WRITES // peers if clients > 1 else WRITES // 10
            running = [
                node.call(writer.write, each, clients // peers) for node, writer in zip(nodes, writers, strict=True)
            ]
            times = [s for node, pending in zip(nodes, running, strict=True) for s in node.wait(pending, PATIENCE_S)]
            rate = len(times) / (time.perf_counter() - began)
        for node, disk in zip(nodes, disks, strict=True):
            node.kill()
            disk.close()
        bare, bare_ms = bare_syncs(Path(root), 1)
        beside = {"bare fsync": bare}
        if clients > 1:
            beside["bare fsync, 8 threads"] = bare_syncs(Path(root), 8)[0]
    shape = f"{clients} at a time, {peers} peer{'s' if peers > 1 else ''}{', one index' if common else ''}"
    p99 = 1000 * sorted(times)[len(times) * 99 // 100]
    return [
        Figure(f"durable entries, {shape}", rate, "a second", beside),
        Figure(
            f"durable entries, {shape}, p50", 1000 * statistics.median(times), "ms", {"p99": p99, "bare fsync": bare_ms}
        ),
    ]


def bare_syncs(folder: Path, threads: int) -> tuple[float, float]:
    """Small pieces appended to a file of each thread and synced: how many a second, and the median in ms."""
    times: list[float] = []

    def append(number: int) -> None:
        fd = os.open(folder / f"bare-{threads}-{number}", os.O_RDWR | os.O_CREAT)
        for _ in range(500 // threads):
            began = time.perf_counter()
            os.write(fd, bytes(ENTRY_BYTES))
            os.fsync(fd)
            times.append(time.perf_counter() - began)
        os.close(fd)

    workers = [threading.Thread(target=append, args=(number,)) for number in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(times) / (time.perf_counter() - began), 1000 * statistics.median(times)
