"""A peer in a process of its own: what it takes to start, to be there, and to idle."""

from __future__ import annotations

import contextlib
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.peers import free_base
from overlay.errors import OverlayError
from overlay.peer.visitor import Visitor

PEER = str(Path(__file__).parents[1] / "peer.py")
ALONE = (PEER, "init", "2", "2", "2", "3", "--base-port")
RING = (2, 4, 5, 8, 9, 14, 19)
PATIENCE_S = 30.0
BARE = "import msgspec, selectors, socket, threading; input()"


@contextlib.contextmanager
def running(*arguments: str, terminal: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed behind the block."""
    ends = pty.openpty() if terminal else ()
    stdin = ends[1] if ends else subprocess.PIPE
    stdout = ends[1] if ends else subprocess.DEVNULL
    with tempfile.TemporaryDirectory() as files:
        environment = {**os.environ, "TERM": "xterm"}
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=stdin, stdout=stdout, stderr=stdout, cwd=files, env=environment
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for end in ends:
                os.close(end)


def until_it_answers(port: int) -> None:
    """Until a peer says who it is."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OverlayError):
            Visitor(1.0).hello("127.0.0.1", port)
            return
        time.sleep(0.002)
    raise TimeoutError("the peer does not answer")


def memory() -> list[Figure]:
    """MiB of a peer's process, and its threads."""
    figures = []
    for where, terminal, beat in (("piped", False, "20"), ("at a prompt", True, "32")):
        with (
            free_base() as base,
            running("-c", BARE, terminal=terminal) as bare,
            running(*ALONE, str(base), terminal=terminal) as process,
        ):
            until_it_answers(base + 2)
            time.sleep(2)
            beside = {"bare Python with msgspec": status(bare, "VmRSS") / 1024}
            figures.append(Figure(f"a peer, {where}", status(process, "VmRSS") / 1024, "MiB", beside, beat))
            figures.append(Figure(f"its threads, {where}", status(process, "Threads"), ""))
    return figures


def status(process: subprocess.Popen[bytes], what: str) -> float:
    """A line of the kernel's picture of a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(what)).split()[1])


def start() -> list[Figure]:
    """Seconds until a peer answers, and until it has said its version."""
    answers = []
    for _ in range(5):
        with free_base() as base:
            began = time.perf_counter()
            with running(*ALONE, str(base)):
                until_it_answers(base + 2)
                answers.append(time.perf_counter() - began)
    bare, versions = [], []
    for times, arguments in ((bare, ("-c", BARE.removesuffix("; input()"))), (versions, (PEER, "--version"))):
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - began)
    beside = {"bare Python with msgspec": 1000 * statistics.median(bare)}
    return [
        Figure("until a peer answers", 1000 * statistics.median(answers), "ms", beside),
        Figure("peer.py --version", 1000 * statistics.median(versions), "ms", beside),
    ]


def idle(seconds: float) -> list[Figure]:
    """The processor's time of seven processes that are one ring, a peer."""
    with contextlib.ExitStack() as stack:
        base, processes = stack.enter_context(free_base()), []
        for at, peer in enumerate(RING):
            ahead = [str(RING[(at + step) % len(RING)]) for step in (1, 2)]
            arguments = (PEER, "init", str(peer), *ahead, "3", "--base-port", str(base))
            processes.append(stack.enter_context(running(*arguments)))
        for peer in RING:
            until_it_answers(base + peer)
        time.sleep(4)
        before = sum(map(processor_s, processes))
        time.sleep(seconds)
        used = (sum(map(processor_s, processes)) - before) / seconds / len(RING)
    return [Figure("a peer's process in a ring of 7, 3 s between pings", 100 * used, "% of a core", {}, "0.01")]


def processor_s(process: subprocess.Popen[bytes]) -> float:
    """The processor's time of all threads so far."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat")) / 1e9
