"""Peers outside the classroom, in processes of their own: they begin a ring, come into it, and come back."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overlay.errors import OverlayError
from overlay.ids import label
from overlay.peer.home import Home, id_of
from overlay.peer.visitor import Visitor
from tests.end_to_end.processes import DEADLINE_S, ROOT, Program, free_base_port

Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start peer.py, or another program, in a folder of its own; whatever still runs at the end is ended."""
    started: list[Program] = []

    def begin(line: str, program: str = "peer.py") -> Program:
        started.append(Program(line.split(), tmp_path, program=program))
        return started[-1]

    yield begin
    for program in started:
        program.kill()


def wait_for_ring(port: int, ids: set[int]) -> None:
    """Until the peer at the port sees a ring of exactly these, each between its neighbors."""
    deadline, seen = time.monotonic() + DEADLINE_S, None
    while seen != sorted(ids):
        assert time.monotonic() < deadline, f"the ring is {seen}, not {sorted(ids)}"
        time.sleep(0.05)  # between two questions, within the deadline
        try:
            ring = Visitor().ring("127.0.0.1", port)
        except OverlayError:
            continue
        line = {peer.contact.id: (peer.predecessors[:1], peer.successors[:1]) for peer in ring}
        order = sorted(line)
        closed = len(line) == 1 or all(
            [contact.id for contact in (*behind, *ahead)] == [order[index - 1], order[(index + 1) % len(order)]]
            for index, (behind, ahead) in enumerate(line[id] for id in order)
        )
        seen = order if closed else None


def remembers(program: Program, count: int) -> None:
    """Wait until a peer says that so many others are on its disk."""
    deadline, since = time.monotonic() + DEADLINE_S, 0
    while not any(f"remembers {count} peer" in line for line in program.lines[since:]):
        assert time.monotonic() < deadline, program.lines
        since = len(program.lines)
        program.type("status")
        program.line("remembers", since)


def test_a_ring_is_begun_joined_robbed_of_its_first_peer_and_found_again(start: Start, tmp_path: Path) -> None:
    port = free_base_port([0])
    (tmp_path / "files").mkdir()
    shutil.copy(ROOT / "files" / "2067.pdf", tmp_path / "files" / "2067.pdf")
    ids = {name: id_of(Home(tmp_path / name).secret(), 160) for name in "abc"}

    first = start(f"create --port {port} --data a --interval 0.5")
    first.line(f"peer.py join --at 127.0.0.1:{port}")
    others = [start(f"join --at 127.0.0.1:{port} --data {name} --interval 0.5") for name in "bc"]
    for other in others:
        other.line("Join request has been accepted")
    wait_for_ring(port, set(ids.values()))
    others[0].type("store 2067")
    others[0].line("2067 is stored durably at Peer ")
    others[1].type("request 2067")
    others[1].line("File 2067 received")
    remembers(first, 2)

    first.signal(signal.SIGKILL)
    for other in others:
        other.line(f"Peer {label(ids['a'])} is no longer alive")
    first.ended()  # only then is its port free again
    again = start("join --data a --interval 0.5 --json")
    wait_for_ring(port, set(ids.values()))
    again.type("status")
    again.until(lambda: any('"View"' in line for line in again.lines), "the answer to status")
    view = next(json.loads(line) for line in again.lines if '"View"' in line)
    assert view["me"] == f"{ids['a']:040x}"

    # All of them at once, and whoever is back first waits for the others.
    for program in others:
        remembers(program, 2)
    for program in (again, *others):
        program.signal(signal.SIGKILL)
        program.ended()
    for name in "cba":
        start(f"join --data {name} --interval 0.5")
    wait_for_ring(port, set(ids.values()))


def test_what_cannot_be_is_told_in_one_line(start: Start, tmp_path: Path) -> None:
    port, free = free_base_port([0]), free_base_port([0, 4, 15])
    running = start(f"create --port {port} --bits 32 --data a --interval 0.5")
    running.line("a ring begins here")
    shutil.copytree(tmp_path / "a", tmp_path / "twin", ignore=shutil.ignore_patterns(".overlay", "ring.json"))
    start(f"init 4 4 4 0.5 --base-port {free}")
    wait_for_ring(free + 4, {4})
    refused = {
        f"join --at 127.0.0.1:{free} --data b": "no peer answers at",
        f"join --at 127.0.0.1:{free + 4} --data b": "is a classroom's ring",
        "join --data b": "no ring is remembered in b",
        f"join --at 127.0.0.1:{port} --bits 160 --data b": "the ring has ids of 32 bits",
        f"join --at 127.0.0.1:{port} --data twin": "is in the ring already",
        f"create --port {port} --data b": "is already running at",
        "create --data a": "a is used by another process; choose --data",
        f"join 15 127.0.0.1:{port} 3 --base-port {free}": "the ring has ids of 32 bits, the newcomer of 8",
    }
    runs = {line: start(line) for line in refused}
    for line, says in refused.items():
        assert runs[line].ended() == 1, line
        assert len(runs[line].errors) == 1 and says in runs[line].errors[0], runs[line].errors
