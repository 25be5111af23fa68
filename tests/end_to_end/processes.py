"""Real processes, and what they have printed so far. Whoever waits, waits for a line, with a generous deadline."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from overlay.errors import OverlayError
from overlay.peer.visitor import Visitor

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (2, 4, 5, 8, 9, 14, 19)
DEADLINE_S = 30.0


def free_base_port(ids: Sequence[int]) -> int:
    """A base port, outside the range of ephemeral ones, at which all these peers' ports are free."""
    chance = random.Random(os.getpid() ^ time.monotonic_ns())
    for _ in range(200):
        base = chance.randrange(14000, 31000)
        if all(_is_free(base + id) for id in ids):
            return base
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


class Program:
    """peer.py or runner.py in a process, read by two threads."""

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        stdin: int = subprocess.PIPE,
        program: str = "peer.py",
        wrap: Sequence[str] = (),
    ):
        self.arguments = list(arguments)
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._killed = False
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [*wrap, sys.executable, str(ROOT / program), *arguments],
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: object, into: list[str]) -> None:
        for line in stream:  # type: ignore[attr-defined]
            with self._news:
                into.append(line.rstrip("\n"))
                self._news.notify_all()

    def is_running(self) -> bool:
        """Whether it will go on: the others see a killed one's connections break before the system is done with it."""
        if self._killed:
            self.process.wait(DEADLINE_S)
        return self.process.poll() is None

    def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        for line in lines:
            self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until what was printed makes it true."""
        with self._news:
            true = self._news.wait_for(holds, DEADLINE_S)
        assert true, f"{self.arguments}: {what} did not come; stdout {self.lines[-30:]}, stderr {self.errors[-10:]}"

    def line(self, text: str, since: int = 0) -> None:
        """Wait for a line on stdout or stderr that has this text in it."""
        self.until(lambda: any(text in line for line in (*self.lines[since:], *self.errors)), text)

    def spoken(self, since: int = 0) -> list[str]:
        """The assignment's lines, ping lines apart."""
        return [line[2:] for line in self.lines[since:] if line.startswith("> ") and not line.startswith("> Ping ")]

    def says(self, count: int, since: int, what: str) -> None:
        """Wait for so many of the assignment's lines."""
        self.until(lambda: len(self.spoken(since)) >= count, f"{what}, {count} lines")

    def signal(self, number: signal.Signals) -> None:
        self._killed |= number == signal.SIGKILL
        self.process.send_signal(number)

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self) -> int:
        """The exit status, once it has ended and all it printed is here."""
        status = self.process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        return status

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.ended()


class Ring:
    """Peers in processes of their own."""

    def __init__(self, folder: Path, host: str = "127.0.0.1"):
        self.folder = folder
        self.host = host
        self.base_port = free_base_port(range(0, 40))
        self.peers: dict[int, Program] = {}

    def start(self, mode: str, id: int, *others: int | str, interval: float = 0.5, wrap: Sequence[str] = ()) -> Program:
        words = [mode, *map(str, (id, *others, interval)), "--base-port", str(self.base_port), "--host", self.host]
        self.peers[id] = program = Program(words, self.folder, wrap=wrap)
        return program

    def form(self, ids: Sequence[int], wrap: Sequence[str] = ()) -> None:
        """Start them all by `init`, and wait until they are a ring."""
        for index, id in enumerate(ids):
            self.start("init", id, *_neighbors(index, ids)[2:], wrap=wrap)
        self.settle(ids)

    def settle(self, ids: Sequence[int]) -> None:
        """Wait until the peers themselves say that the ring is this one: two neighbors on both sides of each."""
        deadline = time.monotonic() + DEADLINE_S
        wanted = {id: _neighbors(index, ids) for index, id in enumerate(ids)}
        seen = self.look(ids)
        while seen != wanted:
            assert time.monotonic() < deadline, f"the ring is {seen}, not {wanted}; {self.said()}"
            time.sleep(0.05)  # between two questions, within the deadline
            seen = self.look(ids)

    def look(self, ids: Sequence[int]) -> dict[int, tuple[int, ...]]:
        visitor, seen = Visitor(), {}
        for id in ids:
            try:
                visited = visitor.ask(visitor.hello(self.host, self.base_port + id))
            except OverlayError:
                continue
            seen[id] = tuple(int(c.id) for c in (*visited.predecessors[:2], *visited.successors[:2]))
        return seen

    def said(self) -> dict[int, list[str]]:
        return {id: program.spoken()[-8:] + program.errors[-4:] for id, program in self.peers.items()}

    def end(self) -> None:
        for program in self.peers.values():
            program.kill()


def _neighbors(index: int, ids: Sequence[int]) -> tuple[int, ...]:
    count = len(ids)
    return tuple(ids[(index + step) % count] for step in (-1, -2, 1, 2))
