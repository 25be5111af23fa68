"""What people type, on the command line and at the prompt."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from overlay.app import arguments, script
from overlay.app.commands import LASTING_COMMANDS, PEER_COMMANDS, RUNNER_COMMANDS, Typed, help_lines, parse
from overlay.app.fleet import summary
from overlay.errors import LocalError


@pytest.fixture(autouse=True)
def one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a name server; here one name has addresses, of both families."""

    def look_up(host: str, port: None, *, type: int) -> list[Any]:
        if host != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, type, 0, "", ("::1", 0, 0, 0)), (0, type, 0, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("Store 2067", Typed("store", ("2067",))),
        ("  REQUEST\t0159 # a comment", Typed("request", ("0159",))),
        ("quit", Typed("quit", ())),
        ("Pings OFF", Typed("pings", (False,))),
        ("cancel", Typed("cancel", (None,))),
        ("", None),
        ("# nothing", None),
    ],
)
def test_a_peers_commands_in_any_case(line: str, typed: Typed | None) -> None:
    assert parse(line, PEER_COMMANDS) == typed


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("join 15 4", Typed("join", (15, 4))),
        ("join 15 [::1]:12004", Typed("join", (15, "[::1]:12004"))),
        ("join 15 localhost:12004", Typed("join", (15, "127.0.0.1:12004"))),
        ("quit 9", Typed("quit", (9,))),
        ("quit", Typed("quit", (None,))),
        ("store 8 2067", Typed("store", (8, "2067"))),
    ],
)
def test_the_runners_commands(line: str, typed: Typed) -> None:
    assert parse(line, RUNNER_COMMANDS) == typed


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("put no#1.txt", ("no#1.txt", None)),
        ("put 'a #b' \"#c\" # a comment", ("a #b", "#c")),
        ("put it's #3", ("it's", "#3")),
    ],
)
def test_a_number_sign_is_a_comment_only_where_it_begins_a_word(line: str, values: tuple[str | None, ...]) -> None:
    assert parse(line, LASTING_COMMANDS) == Typed("put", values)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("stroe 2067", "did you mean store?"),
        ("store", "usage: store NAME"),
        ("store 2067 4103", "usage: store NAME"),
        ("store a912", '"a912" is not a file name'),
        ("store 32134", "exactly four digits"),
        ("store ٠١٥٩", "exactly four digits"),
        ("store ../../etc", "exactly four digits"),
        ("pings maybe", "neither on nor off"),
        ("\x1b[2J" + "x" * 5000, '"\\x1b[2J'),
        ("store '", "exactly four digits"),
    ],
)
def test_a_wrong_command_is_told_in_one_short_clean_line(line: str, part: str) -> None:
    with pytest.raises(LocalError) as error:
        parse(line, PEER_COMMANDS)
    text = str(error.value)
    assert part in text
    assert text.isprintable()
    assert len(text) < 120


def test_help_has_every_command() -> None:
    for table in (PEER_COMMANDS, RUNNER_COMMANDS):
        assert [line.split()[0] for line in help_lines(table)] == list(table)


def test_arguments_of_a_peer() -> None:
    options = arguments.peer_arguments(["init", "2", "4", "5", "0.5", "--base-port", "9000", "--keep", "--quota", "3M"])
    assert (options.mode, options.id, options.first, options.second, options.interval) == ("init", 2, 4, 5, 0.5)
    assert (options.keep, options.quota) == (True, 3 << 20)
    options = arguments.peer_arguments(["--json", "join", "15", "127.0.0.2:12004", "30"])
    assert (options.id, options.known, options.interval, options.json) == (15, "127.0.0.2:12004", 30, True)
    options = arguments.peer_arguments(
        ["init", "2", "localhost:4", "[::1]:5", "3", "--host", "localhost", "--bind", "0.0.0.0"]
    )
    assert (options.first, options.second, options.host, options.bind) == (
        "127.0.0.1:4",
        "[::1]:5",
        "127.0.0.1",
        "0.0.0.0",
    )


@pytest.mark.parametrize(
    "line", ["init 2 2 2 3", "init 2 4 2 3", "init 19 2 4 3", "init 255 0 1 3", "init 2 127.0.0.1:1 [::1]:2 3"]
)
def test_small_rings_and_the_place_where_the_circle_closes(line: str) -> None:
    assert arguments.peer_arguments(line.split()).mode == "init"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "int 2 4 5 3",
        "init 2 4 5",
        "init 2 4 5 3 9",
        "init 2 5 4 3",
        "init 2 4 4 3",
        "init 2 2 4 3",
        "init -2 4 5 3",
        "init 256 4 5 3",
        "init ٢ 4 5 3",
        "init 2 4 5 0",
        "init 2 4 5 0.05",
        "init 2 4 5 3601",
        "init 2 4 5 nan",
        "init 2 4 5 1e1",
        "join 15 15 3",
        "join 15 127.0.0.1: 3",
        "join 15 ::1:12004 3",
        "join 15 host:99999 3",
        "join 15 300.1.1.1:12004 3",
        "join 15 224.0.0.1:12004 3",
        "join 15 0.0.0.0:12004 3",
        "join 15 200 3 --base-port 65400",
        "init 2 foo:12004 5 3",
        "init 2 4 200 3 --base-port 65400",
        "init 2 4 5 3 --bind foo",
        "init 2 4 5 3 --host foo",
        "init 2 4 5 3 --host 0.0.0.0",
        "init 2 4 5 3 --base-port 65534",
        "init 2 4 5 3 --jsn",
        "init 2 4 5 3 --base 3",
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        arguments.peer_arguments(line.split())
    out, err = capsys.readouterr()
    assert (end.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("peer.py: ")


@pytest.mark.parametrize(
    "line",
    [
        "--peers 2,4,x",
        "--peers 2,2",
        "--count 0",
        "--count 257",
        "--for 0",
        "--peers 2 --count 3",
        "--gossip 3 --json",
        "--stable",
    ],
)
def test_wrong_arguments_of_the_runner(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        arguments.runner_arguments(line.split())
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_runners_rings() -> None:
    assert arguments.runner_arguments([]).peers == (2, 4, 5, 8, 9, 14, 19)
    assert arguments.runner_arguments(["--count", "4"]).peers == (0, 64, 128, 192)
    assert len(set(arguments.runner_arguments(["--count", "256"]).peers)) == 256
    assert summary(arguments.runner_arguments(["--peers", "5,2,4"]).peers) == [
        "Launching nodes: ",
        "■ (Peer[2]->4->5)",
        "■ (Peer[4]->5->2)",
        "■ (Peer[5]->2->4)",
    ]
    assert summary((7,))[1] == "■ (Peer[7]->7->7)"


def test_a_script() -> None:
    steps = script.steps(
        '# a lecture\nkill 14\n\nwait 0.5\nexpect "Peer 9" first 19\nexpect 14 gone\nexpect 19 has 2067\n'
    )
    assert [step.number for step in steps] == [2, 4, 5, 6, 7]
    assert [step.action for step in steps] == [
        Typed("kill", (14,)),
        script.Wait(0.5),
        script.Expect(9, "first", 19),
        script.Expect(14, "gone", None),
        script.Expect(19, "has", "2067"),
    ]


@pytest.mark.parametrize(
    "line", ["wait", "wait long", "expect", "expect 9 frist 19", "expect 9 first x", "klil 14", "expect '"]
)
def test_a_wrong_script_names_the_line(line: str) -> None:
    with pytest.raises(LocalError, match=r"^line 2 of the script: "):
        script.steps(f"ring\n{line}\n")


def test_a_peer_outside_the_classroom() -> None:
    created = arguments.peer_arguments(["create", "--port", "7001", "--bits", "32", "--virtual", "4", "--data", "a"])
    assert (created.lasts, created.mode, created.port, created.bits, created.virtual) == (True, "create", 7001, 32, 4)
    joined = arguments.peer_arguments(["join", "--at", "localhost:7001"])
    assert (joined.lasts, joined.at, joined.port, joined.data) == (True, ("127.0.0.1", 7001), None, "files/peer")
    again = arguments.peer_arguments(["join", "--data", "b"])
    assert (again.lasts, again.at, again.data) == (True, None, "b")
    assert not arguments.peer_arguments(["join", "15", "4", "3", "--data", "b"]).lasts


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("create --bits 33", "8 to 32, 64, 128 or 160"),
        ("create --successors 33", "2 to 32 successors"),
        ("create --virtual 0", "1 to 64 members"),
        ("create --at 127.0.0.1:7001", "join"),
        ("join --at 7001", "is not an address"),
        ("create --base-port 12000", "--base-port"),
        ("init 2 4 5 3 --port 7001", '"init" has no --at, --port'),
        ("join 15 4 3 --interval 2", "are for join without PEER, KNOWN_PEER and PING_INTERVAL"),
        ("create --nope", "unrecognized arguments: --nope"),
    ],
)
def test_what_a_peer_outside_the_classroom_cannot_be(line: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        arguments.peer_arguments(line.split())
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n")) == (2, 1) and part in said
