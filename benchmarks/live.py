"""What two live peers on loopback do: calls, their latency, bodies beside a bare socket with SHA-256, memory a peer.

python -m benchmarks.live --mebibytes 256 --driver threads
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))

from overlay.core.message import Command, Contact
from overlay.core.pending import Pending
from overlay.core.protocol import Answer, Protocol, on
from overlay.core.storage import BlobRef
from overlay.ids import Key
from overlay.live import aio
from overlay.live.driver import Driver
from overlay.live.threads import ThreadDriver
from overlay.store.disk import FolderDisk

CALLS = 2000
MANY_CALLS = 20_000
AT_ONCE = 64
PIECE_BYTES = 1 << 20
Wait = Callable[[Driver, Pending[Any]], Any]


class Question(Command, frozen=True):
    number: int


class Echo(Protocol):
    """Answers a question with it."""

    service = "echo"

    @on(Question)
    def on_question(self, sender: Contact, message: Question) -> Answer:
        return message

    def ask(self, peer: Contact) -> Pending[Any]:
        """One call."""
        pending: Pending[Any] = Pending()
        self.ctx.call(peer, Question(1), pending.resolve, lambda why: pending.fail(why.as_error()), timeout_s=30)
        return pending

    def ask_many(self, peer: Contact, count: int) -> Pending[Any]:
        """So many calls, some of them at a time."""
        pending: Pending[Any] = Pending()
        left = [count, count]

        def answered(_: object) -> None:
            left[1] -= 1
            if not left[1]:
                pending.resolve(None)
            begin()

        def begin() -> None:
            if left[0]:
                left[0] -= 1
                self.ctx.call(peer, Question(1), answered, lambda why: pending.fail(why.as_error()), timeout_s=30)

        for _ in range(AT_ONCE):
            begin()
        return pending

    def find(self, name: str) -> Pending[Any]:
        """The reference of a file."""
        pending: Pending[Any] = Pending()
        self.ctx.find_blob(name, pending.resolve, lambda why: pending.fail(why.as_error()))
        return pending

    def fetch(self, peer: Contact, ref: BlobRef) -> Pending[Any]:
        """The whole body."""
        pending: Pending[Any] = Pending()
        done, failed = lambda: pending.resolve(None), lambda why: pending.fail(why.as_error())
        self.ctx.fetch_blob(peer, ref, 0, ref.size, done, failed)  # type: ignore[arg-type]
        return pending


def measure(one: Driver, two: Driver, wait: Wait, file: Path) -> None:
    """Print what these two do."""
    echo, other = one.node.protocols["echo"], two.node.protocols["echo"]
    assert isinstance(echo, Echo) and isinstance(other, Echo)
    times = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        wait(one, one.call(echo.ask, two.me))
        times.append(time.perf_counter() - begin)
    times.sort()
    print(f"call            p50 {times[CALLS // 2] * 1e6:7.0f} us   p99 {times[CALLS * 99 // 100] * 1e6:7.0f} us")
    begin = time.perf_counter()
    wait(one, one.call(echo.ask_many, two.me, MANY_CALLS))
    print(f"calls           {MANY_CALLS / (time.perf_counter() - begin):11.0f} a second, {AT_ONCE} at a time")
    ref = wait(two, two.call(other.find, file.name))
    begin = time.perf_counter()
    wait(one, one.call(echo.fetch, two.me, ref))
    print(f"body            {ref.size / 2**20 / (time.perf_counter() - begin):11.0f} MiB/s, hashed and synced")


def bare(file: Path) -> None:
    """A socket, SHA-256 and a file in one thread, for comparison."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            buffer = memoryview(bytearray(PIECE_BYTES))
            with listener.accept()[0] as sock, file.open("rb", buffering=0) as source:
                while count := source.readinto(buffer):
                    sock.sendall(buffer[:count])

        threading.Thread(target=serve).start()
        buffer, hashed = memoryview(bytearray(PIECE_BYTES)), hashlib.sha256()
        begin = time.perf_counter()
        copy = file.with_suffix(".copy")
        with socket.create_connection(listener.getsockname()) as sock, copy.open("wb", buffering=0) as target:
            while count := sock.recv_into(buffer):
                hashed.update(buffer[:count])
                target.write(buffer[:count])
            os.fsync(target.fileno())
        print(
            f"bare socket     {file.stat().st_size / 2**20 / (time.perf_counter() - begin):11.0f} MiB/s, the same work"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, build two peers, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--driver", choices=["threads", "asyncio"], default="threads")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("one", "two")]
        disks = [FolderDisk(path / "own", path, keep=False) for path in files]
        for disk in disks:
            disk.open()
        kind = ThreadDriver if options.driver == "threads" else aio.AsyncioDriver
        drivers = [kind(Contact(Key(n), "127.0.0.1", 0), blobs=disk) for n, disk in enumerate(disks)]
        for driver in drivers:
            driver.open()
            driver.node.add(Echo())
        body = files[1] / "body"
        body.write_bytes(os.urandom(PIECE_BYTES) * options.mebibytes)
        if options.driver == "threads":
            for driver in drivers:
                driver.start()
            measure(drivers[0], drivers[1], lambda driver, pending: driver.wait(pending, 60), body)  # type: ignore
        else:
            loop = asyncio.new_event_loop()
            for driver in drivers:
                loop.run_until_complete(driver.start())
            measure(drivers[0], drivers[1], lambda d, pending: loop.run_until_complete(d.future(pending)), body)  # type: ignore
        for driver in drivers:
            driver.kill()
        for disk in disks:
            disk.close()
        bare(body)


if __name__ == "__main__":
    main()
