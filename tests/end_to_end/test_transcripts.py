"""Each section of the assignment, by seven real processes, compared with a transcript peer by peer, ping lines apart."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overlay.app.program import main as overlay_main
from tests.end_to_end.processes import EXAMPLE, ROOT, Program, Ring

GOLDEN = ROOT / "tests" / "golden"


def golden(name: str) -> dict[int, list[str]]:
    """The lines of a transcript by peer."""
    lines: dict[int, list[str]] = {}
    for line in (GOLDEN / f"{name}.txt").read_text().splitlines():
        peer, text = line.split(" > ", 1)
        lines.setdefault(int(peer.strip("[]")), []).append(text)
    return lines


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    folder = tmp_path_factory.mktemp("ring")
    (folder / "files").mkdir()
    for name in ("2067.pdf", "4103.pdf"):
        shutil.copy(ROOT / "files" / name, folder / "files" / name)
    ring = Ring(folder)
    try:
        # In an order that is none: each waits for those that are named and not there yet.
        for id in (14, 2, 19, 8, 4, 9, 5):
            index = EXAMPLE.index(id)
            ring.start("init", id, EXAMPLE[(index + 1) % 7], EXAMPLE[(index + 2) % 7])
        yield ring
    finally:
        ring.end()


@pytest.fixture(autouse=True)
def example(ring: Ring) -> None:
    """The example ring, whatever the test before made of it."""
    for id in set(ring.peers) - set(EXAMPLE):
        ring.peers.pop(id).kill()
    for id in EXAMPLE:
        if not ring.peers[id].is_running():
            ring.start("join", id, next(other for other in EXAMPLE if ring.peers[other].is_running()))
            ring.peers[id].line("My second successor is Peer")
    ring.settle(EXAMPLE)


def play(ring: Ring, name: str, act: Callable[[], object]) -> None:
    """Do it, and have exactly the transcript said."""
    since = {id: len(program.lines) for id, program in ring.peers.items()}
    act()
    wanted = golden(name)
    for id, lines in wanted.items():
        ring.peers[id].says(len(lines), since.get(id, 0), name)
    said = {id: program.spoken(since.get(id, 0)) for id, program in ring.peers.items()}
    assert {id: lines for id, lines in said.items() if lines} == wanted


def test_pings(ring: Ring) -> None:
    for id, lines in golden("pings").items():
        program = ring.peers[id]
        start = len(program.lines)
        for text in lines:
            program.line(f"> {text}", start)
        assert {line for line in program.lines[start:] if line.startswith("> Ping ")} == {f"> {text}" for text in lines}


def test_store(ring: Ring) -> None:
    play(ring, "store_2067_at_8", lambda: ring.peers[8].type("Store 2067"))
    ring.peers[8].line("2067 is stored durably at Peer 19")
    ring.peers[19].type("files")
    ring.peers[19].line("2067")


def test_request(ring: Ring) -> None:
    play(ring, "request_4103_at_2", lambda: ring.peers[2].type("Request 4103"))
    files = ring.folder / "files"
    assert _sha256(files / "received_4103.pdf") == _sha256(files / "4103.pdf")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_join(ring: Ring) -> None:
    play(ring, "join_15_via_4", lambda: ring.start("join", 15, 4))
    ring.settle((2, 4, 5, 8, 9, 14, 15, 19))


def test_quit(ring: Ring) -> None:
    play(ring, "quit_9", lambda: ring.peers[9].type("quit"))
    assert ring.peers[9].ended() == 0


def test_abrupt_departure(ring: Ring) -> None:
    play(ring, "kill_14", lambda: ring.peers[14].signal(signal.SIGKILL))


def test_two_adjacent_peers_die_at_once_and_the_ring_heals(ring: Ring) -> None:
    for id in (8, 9):
        ring.peers[id].signal(signal.SIGKILL)
    ring.settle((2, 4, 5, 14, 19))
    for id in (4, 5):
        ring.peers[id].line("Peer 8 is no longer alive")


def test_how_a_peer_ends(ring: Ring) -> None:
    ring.peers[5].signal(signal.SIGINT)
    assert ring.peers[5].ended() == 130
    ring.peers[4].line("Peer 5 is no longer alive")
    ring.settle((2, 4, 8, 9, 14, 19))
    since = len(ring.peers[4].lines)
    ring.peers[8].signal(signal.SIGTERM)
    assert ring.peers[8].ended() == 0
    ring.peers[4].line("> Peer 8 will depart from the network", since)
    ring.settle((2, 4, 9, 14, 19))
    ring.peers[14].type("nonsense")
    ring.peers[14].close_input()
    assert ring.peers[14].ended() == 0, "end of input after a line is Quit"
    assert any('"nonsense" is not a command' in line for line in ring.peers[14].errors)
    ring.peers[9].line("> Peer 14 will depart from the network")


def test_a_port_that_is_taken_is_asked_who_it_is(ring: Ring) -> None:
    before = ring.peers[4]
    second = Program(["join", "4", "2", "3", "--base-port", str(ring.base_port)], ring.folder)
    assert second.ended() == 1
    assert second.errors == [f"Peer 4 is already running at 127.0.0.1:{ring.base_port + 4}"]
    assert before.process.poll() is None


def test_a_ring_is_seen_from_outside(ring: Ring, capsys: pytest.CaptureFixture[str]) -> None:
    assert overlay_main(["ring", "--at", f"127.0.0.1:{ring.base_port + 9}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "Peer  2 - 14 > 19 > [ 2] >  4 >  5"
    assert len(lines) == 2 + len(EXAMPLE)
    for name, peer in (("2067", 19), ("4099", 4), ("0255", 2)):
        assert overlay_main(["lookup", name, "--json", "--at", f"127.0.0.1:{ring.base_port + 9}"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["event"], found["key"], found["peer"]) == ("Lookup", int(name) % 256, peer)
        assert found["path"][0] == 9
    assert overlay_main(["lookup", "2067", "--at", f"127.0.0.1:{ring.base_port + 99}"]) == 1
