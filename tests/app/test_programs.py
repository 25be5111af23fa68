"""The two programs with a peer that only pretends: what is asked of it when, and how each run ends."""

from __future__ import annotations

import io
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overlay.app import loop as loops
from overlay.app import start
from overlay.app.arguments import peer_arguments, runner_arguments
from overlay.app.peer_program import PeerProgram, hidden_kinds
from overlay.app.runner_program import RunnerProgram
from overlay.app.terminal import HINT, PING, ROUTE, Output
from overlay.errors import Indefinite, RemoteError
from overlay.ring.events import PeerDied, PingReceived
from tests.app.fakes import FakePeer
from tests.fakes import contact


class Run:
    """A program on a thread of its own; the test is its keyboard."""

    def __init__(self, make: Callable[[Output], Any]):
        self.out, self.err = io.StringIO(), io.StringIO()
        self.program = make(Output(self.out, self.err))
        self.status: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.status = self.program.run()

    def do(self, call: Callable[..., None], *args: Any) -> None:
        """On the program's main loop, and wait until it is done."""
        done = threading.Event()
        self.program.loop.post(call, *args)
        self.program.loop.post(done.set)
        assert done.wait(20)

    def type(self, *lines: str) -> None:
        for line in lines:
            self.do(self.program.on_line, line)

    def ended(self) -> int | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.status


@pytest.fixture(autouse=True)
def no_keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loops.LineReader, "start", lambda self: None)
    FakePeer.made.clear()
    yield


def peer(line: str) -> Run:
    return Run(lambda output: PeerProgram(peer_arguments(line.split()), output, FakePeer))


def runner(line: str) -> Run:
    return Run(lambda output: RunnerProgram(runner_arguments(line.split()), output, FakePeer))


def test_commands_wait_for_the_ring_and_the_end_of_input_waits_for_the_commands() -> None:
    run = peer("init 2 4 5 3")
    run.type("Store 2067", "status", "xyzzy")
    (fake,) = FakePeer.made
    assert fake.asked == [("setup", 4, 5)]
    run.do(fake.ready.resolve, None)  # type: ignore[arg-type]
    run.do(run.program.on_end, True)
    assert fake.asked == [("setup", 4, 5), ("store", "2067")]
    fake.pending["store"].resolve(None)
    run.type("")
    assert fake.asked[-1] == ("quit",)
    fake.pending["quit"].resolve(None)
    assert run.ended() == 0
    assert "19 > 2 > [2] > 5 > 8\nrecords: 2067\n" in run.out.getvalue()
    assert '"xyzzy" is not a command; try help\n' in run.err.getvalue()


def test_no_input_at_all_runs_until_a_signal_and_sigterm_is_quit() -> None:
    run = peer("join 15 4 3")
    run.do(run.program.on_end, False)
    assert FakePeer.made[0].asked == [("join", 4)]
    run.do(run.program.terminate)
    FakePeer.made[0].pending["quit"].resolve(None)
    assert run.ended() == 0


def test_who_left_with_records_that_nobody_took_ends_with_status_1() -> None:
    run = peer("init 2 4 5 3")
    run.do(run.program.terminate)
    FakePeer.made[0].pending["quit"].fail(RemoteError("nobody took it"))
    assert run.ended() == 1
    assert "nobody took it" in run.err.getvalue()


@pytest.mark.parametrize(("second", "status"), [("quit", 0), ("interrupt", 130)])
def test_what_comes_second_ends_at_once(second: str, status: int) -> None:
    run = peer("init 2 4 5 3")
    run.type("quit")
    run.program.loop.post(getattr(run.program, second))
    assert run.ended() == status
    assert FakePeer.made[0].asked[-1] == ("kill",)


def test_ctrl_c_is_abrupt() -> None:
    run = peer("init 2 4 5 3")
    run.program.loop.post(run.program.interrupt)
    assert run.ended() == 130
    assert ("quit",) not in FakePeer.made[0].asked


def test_a_join_that_fails_and_a_port_that_is_taken_are_status_1() -> None:
    run = peer("join 15 4 3")
    run.type("")
    FakePeer.made[0].pending["join"].fail(Indefinite("Peer 4 at 127.0.0.1:12004 cannot be reached"))
    assert run.ended() == 1
    assert run.err.getvalue() == "Peer 4 at 127.0.0.1:12004 cannot be reached\n"
    taken = peer("init 66 70 71 3")
    assert taken.ended() == 1
    assert taken.err.getvalue() == "Peer 66 is already running at 127.0.0.1:12066\n"


def test_a_join_that_takes_long_says_whom_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LET_IN_S", 0.0)
    alone, ours = peer("join 15 4 3"), runner("--peers 2,4")
    ours.type("join 15 127.0.0.2:12008")
    for run, line in (
        (alone, "waiting to be let in by Peer 4 at 127.0.0.1:12004\n"),
        (ours, "[15] waiting to be let in by 127.0.0.2:12008\n"),
    ):
        run.type("", "")
        run.program.loop.post(run.program.interrupt)
        assert run.ended() == 130
        assert run.err.getvalue() == line


def test_a_defect_ends_the_program_loudly() -> None:
    run = peer("init 2 4 5 3")
    run.type("")
    assert FakePeer.made[0].on_crash is not None
    FakePeer.made[0].on_crash(FakePeer.made[0], "Traceback:\n  here\nZeroDivisionError: boom\n")
    assert run.ended() == 1
    assert run.err.getvalue() == "peer 2 ends because of a defect: ZeroDivisionError: boom\n"


def test_a_program_begins_with_room_for_sockets_and_its_log_gets_whole_tracebacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    log = tmp_path / "log"
    logger = logging.getLogger("overlay")
    handlers = list(logger.handlers)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        start.begin(peer_arguments(["init", "2", "4", "5", "3", "--log-file", str(log)]), frozenset())
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        logging.getLogger("overlay.live").error("Traceback:\n  here")
        assert log.read_text().endswith(" Traceback:\n  here\n")
        assert capsys.readouterr() == ("", "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        logger.handlers[:] = handlers


def test_a_second_ctrl_c_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    loop = loops.Loop()
    try:
        loop.handle_signals(lambda: loop.exit(130), lambda: None)
        signal.raise_signal(signal.SIGINT)
        assert not ended
        signal.raise_signal(signal.SIGINT)
        assert ended == [130]
        assert loop.run() == 130
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def test_a_signal_that_another_thread_gets_wakes_the_loop() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    loop, running = loops.Loop(), threading.Event()
    # If nothing else wakes it, this ends the test.
    rescue = threading.Timer(40, loop.exit, (1,))

    def get_one() -> None:
        running.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    other = threading.Thread(target=get_one)
    try:
        loop.handle_signals(lambda: None, lambda: loop.exit(0))
        loop.post(running.set)
        rescue.start()
        other.start()
        assert loop.run() == 0
    finally:
        rescue.cancel()
        other.join()
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def test_pings_off_and_on() -> None:
    run = peer("init 2 4 5 3")
    run.type("pings off")
    FakePeer.made[0].tell(PingReceived(19))
    run.type("pings on")
    FakePeer.made[0].tell(PingReceived(14))
    assert run.out.getvalue() == "> Ping request message received from Peer 14\n"
    run.program.loop.post(run.program.interrupt)
    run.ended()


def test_json_lines() -> None:
    run = peer("init 2 4 5 3 --json")
    run.type("status")
    FakePeer.made[0].tell(PeerDied(4))
    run.program.loop.post(run.program.interrupt)
    run.ended()
    view, event = map(json.loads, run.out.getvalue().splitlines())
    assert (view["v"], view["event"], view["first"]) == (1, "View", 5)
    assert (event["event"], event["peer"], event["lines"]) == ("PeerDied", 4, [["say", "Peer 4 is no longer alive"]])


@pytest.mark.parametrize(
    ("make", "line", "events"),
    [
        (lambda: peer("init 2 4 5 3 --json"), "status files cancel help", ["View", "Files", "Answer", "Answer"]),
        (lambda: runner("--peers 2,4 --json"), "status files help", ["Ring", "Files", "Files", "Answer"]),
    ],
)
def test_with_json_every_answer_is_json(make: Callable[[], Run], line: str, events: list[str]) -> None:
    run = make()
    run.type(*line.split())
    run.program.loop.post(run.program.interrupt)
    run.ended()
    assert [json.loads(answer)["event"] for answer in run.out.getvalue().splitlines()] == events


@pytest.mark.parametrize(
    ("line", "opened"),
    [("", False), ("--host ::1", False), ("--bind 0.0.0.0", True), ("--host 192.0.2.1", True)],
)
def test_who_listens_to_more_than_this_machine_is_warned(line: str, opened: bool) -> None:
    for run in (peer(f"init 2 4 5 3 {line}"), runner(f"--peers 2,4 {line}")):
        run.type("")
        run.program.loop.post(run.program.interrupt)
        run.ended()
        assert ("the network is open" in run.err.getvalue()) == opened


def test_who_waits_for_a_peer_to_leave_is_told_what_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay.app.peer_program.STILL_HERE_S", 0.0)
    run = peer("init 2 4 5 3")
    run.type("quit", "", "")
    FakePeer.made[0].pending["quit"].resolve(None)
    assert run.ended() == 0
    assert "looking for a peer that takes 1 record\n" in run.err.getvalue()


def test_the_runner_gives_commands_to_its_peers() -> None:
    run = runner("--peers 2,4,5 --interval 1")
    run.type("store 4 2067", "kill 5", "join 15 4", "quit 9", "kill 5")
    by_id = {fake.id: fake for fake in FakePeer.made}
    assert by_id[4].asked == [("setup", 5, 2)], "it is not in the ring yet"
    by_id[4].ready.resolve(None)
    run.type("cancel 4 2067")
    assert by_id[4].asked[1:] == [("store", "2067"), ("cancel", "2067")]
    assert by_id[5].asked[-1] == ("kill",)
    assert by_id[15].asked == [("join", 4)]
    by_id[15].pending["join"].fail(Indefinite("nobody there"))
    by_id[2].tell(PeerDied(5))
    run.type("status", "files 2", "quit 4")
    by_id[4].pending["quit"].resolve(None)
    run.program.loop.post(run.program.on_line, "quit")
    assert run.ended() == 0
    assert run.out.getvalue().startswith("Launching nodes: \n■ (Peer[2]->4->5)\n")
    assert "[2] > Peer 5 is no longer alive\n" in run.out.getvalue()
    assert "Peer  2 - 19 >  2 > [ 2] >  5 >  8\n" in run.out.getvalue()
    assert "Peer 2: 2067\n" in run.out.getvalue()
    errors = run.err.getvalue()
    assert errors.count("is not one of this runner's: 2, 4") == 2
    assert "[15] nobody there\n" in errors
    assert all(("kill",) in fake.asked for fake in FakePeer.made if fake.id != 4)


def test_a_ring_that_cannot_be_launched_leaves_nothing_behind() -> None:
    run = runner("--peers 2,66")
    assert run.ended() == 1
    assert FakePeer.made[0].asked[-1] == ("kill",)


def script_file(tmp_path: Any, text: str) -> str:
    path = tmp_path / "lecture.txt"
    path.write_text(text)
    return f"--peers 2,4,5 --script {path}"


def ready(run: Run) -> None:
    run.type("")
    for fake in FakePeer.made:
        fake.ready.resolve(None)


def test_a_lecture_ends_well(tmp_path: Any) -> None:
    run = runner(
        script_file(tmp_path, 'wait 0.01\nkill 5\nexpect "Peer 5" gone\nexpect 4 first 5\nexpect 4 has 2067\n')
    )
    ready(run)
    assert run.ended() == 0
    assert run.err.getvalue().count("as expected") == 3


def test_an_expectation_that_fails_is_status_1(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay.app.script.EXPECT_S", 0.2)
    run = runner(script_file(tmp_path, 'expect "Peer 4" first 19\nkill 4\n'))
    ready(run)
    assert run.ended() == 1
    assert 'line 1 failed: expect "Peer 4" first 19: it is 5\n' in run.err.getvalue()


def test_the_reporter_in_plain_lines_and_in_json() -> None:
    text, objects = runner("-r --peers 2,4"), runner("-r --peers 8,9 --json")
    for run in (text, objects):
        run.type("")
        run.do(run.program.report)
        run.program.loop.post(run.program.terminate)
        assert run.ended() == 0
    assert "==\nPeer  2 - 19 >  2 > [ 2] >  5 >  8\n" in text.out.getvalue()
    thing = json.loads(objects.out.getvalue().splitlines()[-1])
    assert (thing["v"], thing["event"], [row["id"] for row in thing["peers"]]) == (1, "Ring", [8, 9])
    assert thing["unmonitored"] == [2, 5, 19]


def test_peers_of_other_processes_get_a_row_with_all() -> None:
    run = runner("-r --all --peers 2,4")
    run.type("")
    for fake in FakePeer.made:
        fake.ready.resolve(None)
    run.do(run.program._ask_strangers)
    stranger = SimpleNamespace(contact=contact(5), predecessors=(contact(4),), successors=(contact(2),))
    FakePeer.made[0].pending["ring"].resolve((stranger,))
    run.type("status")
    run.program.loop.post(run.program.terminate)
    run.ended()
    assert "Peer  5 -  ? >  4 > [ 5] >  2 >  5\n" in run.out.getvalue()
    assert "Unmonitored Peers (2): 8, 19\n" in run.out.getvalue()


def test_routes_are_for_terminals_and_for_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay.app.peer_program.is_terminal", lambda stream: False)
    hidden = {
        words: hidden_kinds(peer_arguments(f"init 2 4 5 3 {words}".split())) for words in ("", "--verbose", "--quiet")
    }
    assert hidden == {"": {ROUTE}, "--verbose": set(), "--quiet": {PING, HINT, ROUTE}}


def test_the_ring_command_prints_the_walked_ring() -> None:
    run = peer("init 2 4 5 3")
    run.type("")
    fake = FakePeer.made[0]
    fake.ready.resolve(None)
    run.type("ring")
    here = SimpleNamespace(
        contact=contact(2), predecessors=(contact(5), contact(4)), successors=(contact(4), contact(5))
    )
    fake.pending["ring"].resolve((here,))
    run.type("")
    run.program.loop.post(run.program.interrupt)
    run.ended()
    assert "Peer  2 -  4 >  5 > [ 2] >  4 >  5\n" in run.out.getvalue()
