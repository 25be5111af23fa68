"""The two programs as a person sees them: a prompt that nothing tears, a screen that draws, the terminal given back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

from tests.end_to_end.processes import ROOT, free_base_port
from tests.end_to_end.terminals import CTRL_C, CTRL_D, CTRL_U, ENTER, F2, TAB, UP, Terminal

Start = Callable[..., Terminal]
IDS = (2, 4, 5)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    terminals: list[Terminal] = []

    def begin(line: str, **environment: str) -> Terminal:
        program, *words = line.split()
        terminals.append(Terminal([str(ROOT / program), *words], tmp_path, **environment))
        return terminals[-1]

    yield begin
    for terminal in terminals:
        terminal.close()


def _ends(rows: list[str], *last: str) -> bool:
    """Whether these are the last rows that have anything on them."""
    return tuple("\n".join(rows).rstrip().split("\n")[-len(last) :]) == last


def test_a_peers_prompt_completes_remembers_and_quits(start: Start) -> None:
    line = f"peer.py init 2 2 2 3 --base-port {free_base_port([2])}"
    first = start(line)
    first.until(lambda rows: _ends(rows, "2>", " 2 > 2 > [2] > 2 > 2  |  0 records"), "a prompt and the bottom line")
    first.type("stat" + TAB)
    first.shows("2> status")
    first.type(ENTER)
    first.shows("records: none")
    first.type(CTRL_D)
    assert first.ended() == 0
    again = start(line)
    again.until(lambda rows: "2>" in rows, "a prompt")
    again.type(UP)
    again.until(lambda rows: "2> status" in rows, "the line of the earlier run")
    again.type(CTRL_C)
    assert again.ended() == 130


def test_output_never_tears_the_line_that_is_typed(start: Start) -> None:
    runner = start(f"runner.py --peers 2,4,5 --interval 0.3 --base-port {free_base_port(IDS)}")
    runner.until(lambda rows: "runner>" in rows, "a prompt")
    typed = "runner> "
    for letter in "status 4":
        # Some fifty lines a second arrive meanwhile.
        runner.type(letter)
        typed += letter
        runner.until(lambda rows, line=typed: _ends(rows, line.rstrip(), " 2 > 4 > 5"), typed)
    runner.type(ENTER)
    runner.shows("records: none")
    runner.type(CTRL_D)
    assert runner.ended() == 0
    lines = (
        "",
        "Launching nodes:",
        r"■ \(Peer.*\)",
        "runner>( s| st| sta| stat| statu| status| status 4)?",
        " 2 > 4 > 5",
        r"[?25] > [?25] > \[4\] > [25] > [245]",
        "records: none",
        "waiting for [ 25,]+",
        r"\[[245]\] waiting for Peer \d at [0-9.:]+",
        r"\[[245]\] > Ping requests sent to Peers? \d( and \d)?",
        r"\[[245]\] > Ping (request message|response) received from Peer \d",
        # Only where the machine is so busy that a peer seems to be gone.
        r"\[[245]\] > (Peer \d is no longer alive|My new (first|second) successor is Peer \d)",
    )
    whole = re.compile("|".join(lines))
    assert [row for row in runner.everything() if not whole.fullmatch(row)] == []


def test_the_runners_screen(start: Start) -> None:
    runner = start(f"runner.py -r --peers 2,4,5 --interval 0.5 --base-port {free_base_port(IDS)}")
    runner.shows("Peer  5 -  2 >  4 > [ 5] >  2 >  4")
    runner.type("klil 4" + ENTER)
    runner.shows("did you mean kill?")
    runner.type("kill 4" + ENTER)
    runner.shows("Peer  5 -  5 >  2 > [ 5] >  2 >  5")
    runner.until(lambda rows: any("> Peer 4 is no longer alive" in row for row in rows), "what the peers say")
    runner.type("kil" + TAB)
    for columns, rows in ((200, 50), (60, 15), (80, 24)):
        runner.resize(columns, rows)
        runner.until(lambda seen, rows=rows: len(seen) == rows and "runner> kill" in seen, f"all at {columns}x{rows}")
        runner.until(_is_a_screen, f"one picture at {columns}x{rows}")
    runner.type(F2)
    runner.until(lambda rows: _is_a_screen(rows) and not any("no longer" in row for row in rows), "a picture alone")
    runner.type(CTRL_U + CTRL_D)
    assert runner.ended() == 0


def _is_a_screen(rows: list[str]) -> bool:
    """One row a peer, the counters, and the line being typed, at the end."""
    seen = "\n".join(rows)
    return seen.count("Peer  2 - ") == seen.count("messages/s") == 1 and _ends(rows, "runner> kill")


@pytest.mark.parametrize("environment", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colors_where_none_are_wanted(start: Start, environment: dict[str, str]) -> None:
    peer = start(f"peer.py init 2 2 2 3 --base-port {free_base_port([2])}", **environment)
    if environment["TERM"] == "xterm":
        peer.until(lambda rows: "2>" in rows, "a prompt")
    peer.type("stor 1" + ENTER)
    peer.shows("did you mean store?")
    peer.type("quit" + ENTER)
    assert peer.ended() == 0
    assert not peer.colored()
