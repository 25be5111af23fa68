"""The two programs as processes of their own: how they start, what they refuse, how they end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overlay.app.processes import ProcessPeer
from tests.end_to_end.processes import DEADLINE_S, ROOT, Program, free_base_port

Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program in a folder of its own; whatever still runs at the end is ended."""
    started: list[Program] = []

    def begin(line: str, *, program: str = "peer.py", stdin: int = subprocess.PIPE) -> Program:
        started.append(Program(line.split(), tmp_path, stdin, program))
        return started[-1]

    yield begin
    for program in started:
        program.kill()


def test_version_and_help(start: Start) -> None:
    version, help_ = start("--version"), start("--help")
    assert (version.ended(), help_.ended()) == (0, 0)
    assert len(version.lines) == 1
    assert "examples:" in help_.lines


def test_who_has_not_installed_what_is_needed_is_told_how_to(tmp_path: Path) -> None:
    # -S leaves out what is installed beside the standard library.
    for program in ("peer.py", "runner.py"):
        run = subprocess.run(
            [sys.executable, "-S", ROOT / program, "init"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
        assert "is not installed: python -m pip install -r requirements.txt" in run.stderr


def test_wrong_arguments(start: Start) -> None:
    for program, line in (("peer.py", "init 2 5 4 3"), ("runner.py", "--peers 2,400")):
        run = start(line, program=program)
        assert (run.ended(), run.lines, len(run.errors)) == (2, [], 1)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_another_program_has(start: Start, kind: socket.SocketKind) -> None:
    base = free_base_port([4])
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", base + 4))
        if kind == socket.SOCK_STREAM:
            other.listen()
        run = start(f"init 4 4 4 3 --base-port {base}")
        transport = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        assert run.ended() == 1
        assert run.errors == [f"port {base + 4} ({transport}) is in use by another program; choose --base-port"]


def test_a_known_peer_that_is_not_there(start: Start) -> None:
    run = start(f"join 15 4 3 --base-port {free_base_port([4, 15])}")
    assert run.ended() == 1
    assert len(run.errors) == 1


def test_a_peer_alone_does_what_a_pipe_says_and_then_quits(start: Start, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    shutil.copy(ROOT / "files" / "4103.pdf", tmp_path / "files" / "0159.pdf")
    run = start(f"init 2 2 2 3 --base-port {free_base_port([2])}")
    run.type("store 0159")
    run.line("0159 is stored durably")
    run.type("request 0159")
    run.close_input()
    assert run.ended() == 0
    assert run.spoken()[:2] == ["Store 0159 request accepted", "File 0159 is stored here"]
    received = tmp_path / "files" / "received_0159.pdf"
    assert received.read_bytes() == (ROOT / "files" / "4103.pdf").read_bytes()
    assert not any(line.startswith("> Ping ") for line in run.lines)


def test_without_any_input_it_runs_until_a_signal(start: Start) -> None:
    run = start(f"init 2 4 5 3 --json --base-port {free_base_port([2])}", stdin=subprocess.DEVNULL)
    run.line('"event":"PingsSent"')
    assert run.process.poll() is None
    run.signal(signal.SIGTERM)
    assert run.ended() == 0
    assert all(json.loads(line)["v"] == 1 for line in run.lines)


def test_the_runner_reports(start: Start) -> None:
    base = free_base_port([2, 4, 5])
    words = f"--peers 2,4,5 --interval 0.5 -r --base-port {base}"
    run = start(words, program="runner.py", stdin=subprocess.DEVNULL)
    run.line("Peer  2 -  4 >  5 > [ 2] >  4 >  5")
    assert run.lines[:4] == ["Launching nodes: ", "■ (Peer[2]->4->5)", "■ (Peer[4]->5->2)", "■ (Peer[5]->2->4)"]
    run.signal(signal.SIGTERM)
    assert run.ended() == 0
    again = start(f"{words} --for 1", program="runner.py", stdin=subprocess.DEVNULL)
    assert again.ended() == 0
    assert not again.errors


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_peer_whose_lines_nobody_reads_goes_on_and_ends(tmp_path: Path, number: signal.Signals, status: int) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, bytes(4096))
    os.set_blocking(write, True)
    log = tmp_path / "log"
    words = f"init 2 4 5 0.1 --log-file {log} --base-port {free_base_port([2])}".split()
    peer = subprocess.Popen(
        [sys.executable, str(ROOT / "peer.py"), *words], stdin=subprocess.DEVNULL, stdout=write, cwd=tmp_path
    )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not log.exists() or log.read_text().count("Ping requests sent") < 5:
            assert time.monotonic() < deadline, "its protocol stands still"
            time.sleep(0.05)
        peer.send_signal(number)
        assert peer.wait(DEADLINE_S) == status
    finally:
        peer.kill()
        os.close(read)
        os.close(write)


LECTURE = """\
# a lecture
expect "Peer 8" first 9
store 8 2067
expect 19 has 2067
request 2 4103
kill 14
expect "Peer 9" first 19
join 15 4
expect 9 first 15
quit 9
expect 8 first 15
expect 9 gone
"""


@pytest.mark.parametrize("more", ["", " --processes"])
def test_a_lecture(start: Start, tmp_path: Path, more: str) -> None:
    (tmp_path / "files").mkdir()
    for name in ("2067.pdf", "4103.pdf"):
        shutil.copy(ROOT / "files" / name, tmp_path / "files" / name)
    (tmp_path / "lecture.txt").write_text(LECTURE)
    base = free_base_port(range(2, 20))
    run = start(f"--script lecture.txt --interval 0.5 --base-port {base}{more}", program="runner.py")
    assert run.ended() == 0, (run.lines[-20:], run.errors)
    assert run.lines[:2] == ["Launching nodes: ", "■ (Peer[2]->4->5)"]
    assert "[9] > Peer 14 is no longer alive" in run.lines
    assert "[2] > File 4103 received" in run.lines
    assert sum("as expected" in line for line in run.errors) == 6


def test_who_kills_a_peers_process_is_not_told_of_a_defect(tmp_path: Path) -> None:
    ready, told, why = threading.Event(), threading.Event(), []

    def crashed(peer: ProcessPeer, text: str) -> None:
        why.append(text)
        told.set()

    peer = ProcessPeer(
        4,
        ping_interval_s=1,
        host="127.0.0.1",
        bind=None,
        base_port=free_base_port([4]),
        files=str(tmp_path),
        keep=False,
        on_event=lambda peer, event: None,
        on_crash=crashed,
        on_happening=lambda happening: None,
    )
    peer.ready.when_done(lambda _: ready.set())
    peer.setup(4, 4)
    try:
        assert ready.wait(DEADLINE_S)
        peer._process.kill()
        assert told.wait(DEADLINE_S)
    finally:
        peer.kill()
    assert why == ["its process was ended by signal 9"]


def test_ctrl_c_ends_the_runner_and_all_its_peers(start: Start) -> None:
    base = free_base_port(range(2, 20))
    run = start(f"--base-port {base}", program="runner.py")
    run.line("> Ping response received from Peer 4")
    run.type("help", "klil 14")
    run.line("did you mean kill?")
    run.signal(signal.SIGINT)
    assert run.ended() == 130
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", base + 4)) != 0
