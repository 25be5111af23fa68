"""The prompt, the runner's picture and the example, as people meet them."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overlay.app.gossip_program import gossip_arguments
from overlay.app.gossip_program import main as gossip
from overlay.app.gossip_runner import GossipRunner, above, picture
from overlay.app.terminal import Output

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "lib"), "PYTHONUNBUFFERED": "1"}


@contextmanager
def prompt(*arguments: str, stdin: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """`overlay gossip` in a process of its own, in the network `tests`."""
    command = [sys.executable, "-m", "overlay.app.program", "gossip", "--network", "tests", *arguments]
    with subprocess.Popen(
        command, env=ENVIRONMENT, text=True, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The next line that has a text in it."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line.strip()
    raise AssertionError(f"{text!r} was never printed")


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


@pytest.mark.parametrize("edition", [(), ("--stable",)], ids=["extreme", "stable"])
def test_two_people_in_a_network(edition: tuple[str, ...]) -> None:
    with prompt(*edition) as first:
        place = line_with(first, "in the network tests at").split(" at ")[1].partition(";")[0]
        with prompt("--at", place, *edition) as second:
            line_with(second, "in the network")
            say(second, "neighbors")
            assert line_with(second, ":") == place
            say(second, "status")
            assert ", 1 neighbor, 0 sent, 0 heard" in line_with(second, "tests (")
            say(second, "brodcast x")
            line_with(second, "did you mean broadcast?")
            say(second, "broadcast")
            line_with(second, "broadcast what?")
            say(second, "broadcast good news, everybody")
            assert line_with(first, "heard") == "heard: good news, everybody"
            say(second, "leave")
            assert second.wait(30) == 0
        say(first, "leave")
        assert first.wait(30) == 0


def test_without_any_input_it_runs_until_a_signal() -> None:
    with prompt("--listen", "[::1]:0", stdin=subprocess.DEVNULL) as service:
        place = line_with(service, "in the network tests at").split(" at ")[1].partition(";")[0]
        assert place.startswith("[::1]:")
        with prompt("--listen", "[::1]:0", "--at", place) as second:
            line_with(second, "in the network")
            say(second, "neighbors")
            assert line_with(second, ":") == place
        service.terminate()
        assert service.wait(30) == 0


def test_ctrl_c_ends_a_join_at_a_node_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        with prompt("--at", f"127.0.0.1:{silent.getsockname()[1]}") as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == 130


def test_what_cannot_be_joined(capsys: pytest.CaptureFixture[str]) -> None:
    assert gossip(["--network", "tests", "--at", "127.0.0.1:1"]) == 1
    assert "no bootstrap node lets us in: 127.0.0.1:1 unreachable" in capsys.readouterr().err
    for wrong in (["--at", "127.0.0.1:77771"], ["--at", "nowhere"], ["--listen", "127.0.0.1"]):
        with pytest.raises(SystemExit, match="2"):
            gossip_arguments(["--network", "tests", *wrong])
    assert gossip_arguments(["--network", "tests", "--listen", "127.0.0.1:0"]).listen == ("127.0.0.1", 0)


def test_the_picture_of_a_spreading_broadcast() -> None:
    lines = picture([2, 3, 4], 1234.5, 3, [0.01], 7, stable=True)
    assert lines[1] == "3 nodes (HyParView, Plumtree)   in-degree 2 .. 3.0 .. 4   1,234 messages/s"
    assert lines[2] == f"broadcast   7  [{'#' * 20:40}] 1/2, the last after 10 ms"
    assert picture([0], 0.0, 1, [], 0, stable=False)[2].endswith("0/0, the last after -")


def test_the_picture_takes_the_place_of_the_one_before_also_in_a_terminal_that_has_become_narrower() -> None:
    assert above([], 80) == ""
    assert above(["=" * 64, "x" * 50, ""], 80) == "\x1b[3A\x1b[J"
    assert above(["=" * 64, "x" * 50, ""], 50) == "\x1b[4A\x1b[J"


def test_the_runner_ends_when_nobody_reads_any_more() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    runner = GossipRunner(2, Output(Closed(), io.StringIO()), host="127.0.0.1", stable=False, seconds=None)
    asyncio.run(asyncio.wait_for(runner.run(), 60))
    assert not any(network.running for network in runner.networks)


def test_the_runner_shows_nodes_that_are_linked() -> None:
    out = io.StringIO()
    runner = GossipRunner(6, Output(out, io.StringIO()), host="127.0.0.1", stable=True, seconds=0.2)
    asyncio.run(runner.run())
    assert "6 nodes (HyParView, Plumtree)" in out.getvalue()
    assert runner.traffic.sent_total > 10 and runner.broadcasts == 1
    assert not any(network.running for network in runner.networks)


def test_the_example_runs() -> None:
    command = [sys.executable, str(ROOT / "examples" / "broadcast.py")]
    done = subprocess.run(command, env=ENVIRONMENT, text=True, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "19 of 19 heard {b'good news'}"
