"""The assignment's lines, the reporter's blocks, JSON: what is printed, to the letter."""

from __future__ import annotations

import errno
import io
import json
import re
import threading
from pathlib import Path

import pytest

from overlay.app import jsonlines, reporter, writer
from overlay.app.narrator import _TABLE, narrate, size_text
from overlay.app.reporter import Row
from overlay.app.terminal import ASSIGNMENT, ERROR, HINT, PING, ROUTE, Line, Output, clean
from overlay.core.message import Contact
from overlay.core.storage import BlobRef
from overlay.ids import Key
from overlay.peer.views import Neighbors
from overlay.ring import events as ring
from overlay.ring import messages as ring_messages
from overlay.store import events as store
from overlay.store import messages as store_messages
from tests.fakes import contact

REF = BlobRef(bytes(32), 5)
JOIN = ring_messages.Join(contact(15), 1)
STORE = store_messages.Store("2067", REF, contact(8))
REQUEST = store_messages.Request("4103")

SPOKEN = [
    (ring.PingsSent((4, 5)), ["Ping requests sent to Peers 4 and 5"]),
    (ring.PingsSent((4,)), ["Ping requests sent to Peer 4"]),
    (ring.PingReceived(2), ["Ping request message received from Peer 2"]),
    (ring.PingAnswered(4), ["Ping response received from Peer 4"]),
    (ring.Forwarded(JOIN, 5, True), ["Peer 15 Join request forwarded to my successor"]),
    (ring.Forwarded(JOIN, 5, False), ["Peer 15 Join request forwarded to my successor"]),
    (ring.JoinReceived(15), ["Peer 15 Join request received"]),
    (ring.SuccessorsChanged(15, 19), ["My new first successor is Peer 15", "My new second successor is Peer 19"]),
    (ring.SuccessorChangeReceived(), ["Successor Change request received"]),
    (
        ring.JoinAccepted(19, 2),
        ["Join request has been accepted", "My first successor is Peer 19", "My second successor is Peer 2"],
    ),
    (ring.DepartureReceived(9), ["Peer 9 will depart from the network"]),
    (ring.PeerDied(14), ["Peer 14 is no longer alive"]),
    (ring.Forwarded(STORE, 9, True), ["Store 2067 request forwarded to my successor"]),
    (ring.Forwarded(STORE, 9, False), ["Store 2067 request forwarded to my successor"]),
    (store.StoreAccepted("2067"), ["Store 2067 request accepted"]),
    (ring.Forwarded(REQUEST, 4, True), ["File request for 4103 has been sent to my successor"]),
    (
        ring.Forwarded(REQUEST, 5, False),
        ["Request for File 4103 has been received, but the file is not stored here"],
    ),
    (store.FileHere("4103"), ["File 4103 is stored here"]),
    (store.Sending("4103", 2), ["Sending file 4103 to Peer 2"]),
    (store.Sent("4103"), ["The file has been sent"]),
    (store.FileFound("4103", 8, (2,)), ["Peer 8 had File 4103"]),
    (store.Receiving("4103", 8, 5), ["Receiving File 4103 from Peer 8"]),
    (store.Received("4103", 5), ["File 4103 received"]),
    (store.NotStored("4103"), ["File 4103 is not stored in the network"]),
]
OURS = [
    (ring.Waiting(Contact(Key(4), "::1", 12004)), HINT, "waiting for Peer 4 at [::1]:12004"),
    (
        ring.IdTaken(Contact(Key(4), "127.0.0.2", 12004)),
        ERROR,
        "Peer 4 is in the ring already, at 127.0.0.2:12004; quit here and choose another id",
    ),
    (store.StorePlaced("2067", 19, (8, 9, 14, 19)), ROUTE, "route: 8 > 9 > 14 > 19"),
    (store.FileFound("4103", 8, (2, 4, 5, 8)), ROUTE, "route: 2 > 4 > 5 > 8"),
    (store.Stored("2067", 19, 2048), HINT, "2067 is stored durably at Peer 19 (2.0 KiB)"),
    (store.PlaceholderMade("2067"), HINT, "there is no file 2067.pdf here: an empty placeholder is stored"),
    (store.StoreFailed("2067", "no space"), ERROR, "Store 2067 failed: no space"),
    (store.RequestFailed("4103", "cut"), ERROR, "Request 4103 failed: cut"),
    (store.TookOver("2067", 9), HINT, "took over 2067 from Peer 9"),
    (store.Awaited("2067", 14), HINT, "Peer 14 is looking for 2067, which takes a while"),
    (store.HandedOver("2067", 14), HINT, "handed 2067 over to Peer 14"),
    (
        store.LeftBehind(("2067",), 19, "files/peer-19", ""),
        HINT,
        "2067 stays in files/peer-19: there is nobody to take it; start Peer 19 again with --keep",
    ),
    (
        store.LeftBehind(tuple(str(n) for n in range(1000, 1011)), 19, "own", "no room"),
        HINT,
        "1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009 and others stay in own: nobody took them (no room); "
        "start Peer 19 again with --keep",
    ),
]


@pytest.mark.parametrize(("event", "lines"), SPOKEN)
def test_the_assignments_lines(event: ring.Event, lines: list[str]) -> None:
    said = narrate(event)
    assert [line.text for line in said] == lines
    assert all((line.kind == PING) == ("Ping " in line.text) and line.kind in ASSIGNMENT for line in said)


@pytest.mark.parametrize(("event", "kind", "text"), OURS)
def test_what_we_add_is_no_line_of_the_assignment(event: ring.Event, kind: str, text: str) -> None:
    assert Line(text, kind) in narrate(event)


def test_every_event_has_its_row_or_is_left_out_on_purpose() -> None:
    every = set(ring.Event.__subclasses__())
    assert every - set(_TABLE) == {ring.JoinRefused, ring.Departed}, "the program tells these by itself"
    assert {type(event) for event, *_ in (*SPOKEN, *OURS)} >= set(_TABLE)


@pytest.mark.parametrize(("event", "lines"), SPOKEN)
def test_json_has_the_lines_and_the_fields(event: ring.Event, lines: list[str]) -> None:
    thing = json.loads(jsonlines.encode(jsonlines.event_object(8, event, narrate(event))))
    assert (thing["v"], thing["me"], thing["event"]) == (1, 8, type(event).__name__)
    assert [text for _, text in thing["lines"]] == lines
    assert set(event.__struct_fields__) <= set(thing)


def test_a_contact_in_json_has_names() -> None:
    thing = jsonlines.event_object(4, ring.Forwarded(JOIN, 5, False), ())
    assert thing["message"]["kind"] == "Join"
    assert thing["message"]["newcomer"] == {"id": 15, "host": "127.0.0.1", "port": 12015}
    wide = Contact(Key(0xC5271AF1 << 128), "127.0.0.1", 7001)
    assert jsonlines.plain(wide)["id"] == f"c5271af1{'0' * 32}", (
        "a number of so many bits is another one to many readers"
    )


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_the_block_of_the_assignment() -> None:
    rows = [Row(19, 14, 15, 2, 4), Row(2, 15, 19, 4, 5), Row(14, 8, 9, 15, 19), Row(4, 19, 2, 8, 9)]
    rows += [Row(8, 2, 4, 9, 14), Row(9, 4, 8, 14, 15), Row(5, None, None, None, None)]
    assert reporter.block(rows) == [
        "==================================",
        "Peer  2 - 15 > 19 > [ 2] >  4 >  5",
        "Peer  4 - 19 >  2 > [ 4] >  8 >  9",
        "Peer  5 -  ? >  ? > [ 5] >  ? >  ?",
        "Peer  8 -  2 >  4 > [ 8] >  9 > 14",
        "Peer  9 -  4 >  8 > [ 9] > 14 > 15",
        "Peer 14 -  8 >  9 > [14] > 15 > 19",
        "Peer 19 - 14 > 15 > [19] >  2 >  4",
        "",
        "Unmonitored Peers (1): 15",
        "==================================",
    ]


def test_ids_are_three_wide_once_one_is() -> None:
    assert reporter.block([Row(2, None, 200, 200, 2)])[1] == "Peer   2 -   ? > 200 > [  2] > 200 >   2"
    assert reporter.around(Row(4, 19, 2, 5, None)) == "19 > 2 > [4] > 5 > ?"


@pytest.mark.parametrize(
    ("behind", "ahead", "row"),
    [
        ((), (), Row(2, 2, 2, 2, 2)),
        ((4,), (4,), Row(2, 2, 4, 4, 2)),
        ((5,), (4,), Row(2, None, 5, 4, 2)),
        ((5, 4), (4, 5), Row(2, 4, 5, 4, 5)),
    ],
)
def test_in_a_small_ring_an_asked_peer_stands_for_itself(
    behind: tuple[int, ...], ahead: tuple[int, ...], row: Row
) -> None:
    asked = Neighbors(contact(2), tuple(map(contact, behind)), tuple(map(contact, ahead)), leaving=False)
    assert reporter.row_of_member(asked) == row


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_streams_colors_and_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, err, log = Terminal(), io.StringIO(), io.StringIO()
    output = Output(out, err, log=log, hidden=frozenset({PING}))
    output.show(Line("Peer 14 is no longer alive"), "[9] ")
    output.show(Line("Ping response received from Peer 4", PING))
    output.say("waiting")
    assert out.getvalue() == "\x1b[31m[9] > Peer 14 is no longer alive\x1b[0m\n"
    assert err.getvalue() == "waiting\n", "a pipe gets no colors"
    assert [line.split(" ", 2)[2] for line in log.getvalue().splitlines()] == [
        "[9] > Peer 14 is no longer alive",
        "> Ping response received from Peer 4",
        "waiting",
    ]
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Output(Terminal(), err)
    assert not plain.color_out


def test_what_could_steer_a_terminal_is_made_visible() -> None:
    assert clean("a\x1b[2Jb\r\n\x9b\u202e\ud800é■") == "a\\x1b[2Jb\\r\\n\\x9b\\u202e\\ud800é■"


def test_a_reader_who_is_gone_ends_nothing_but_the_stream() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    told: list[int] = []
    output = Output(Gone(), io.StringIO())
    output.on_broken = lambda: told.append(1)
    output.show(Line("one"))
    output.show(Line("two"))
    assert told == [1] and output.status(0) == 0


def test_what_finds_no_room_on_the_disk_is_told_and_is_no_success() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    err = io.StringIO()
    output = Output(Full(), err)
    output.write("one")
    output.write("two")
    assert err.getvalue() == "there is no room on the disk for what is printed\n"
    assert [output.status(status) for status in (0, 2, 130)] == [1, 2, 130]


def test_a_stream_that_was_closed_before_the_start_is_a_reader_who_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    told: list[int] = []
    output = Output(err=io.StringIO())
    output.on_broken = lambda: told.append(1)
    output.write("one")
    output.answer(["two"])
    assert told == [1]
    assert not output.whole


def test_whoever_prints_does_not_wait_for_who_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            writing.set()
            reads.wait()
            return super().write(text)

    writing, reads = threading.Event(), threading.Event()
    monkeypatch.setattr(writer, "HELD_CHARACTERS", 12)
    out, err = Slow(), io.StringIO()
    output = Output(out, err)
    output.detach()
    output.write("one")
    assert writing.wait(30)
    for text in ("two", "three", "four"):
        output.write(text)
    assert not output.drain(0.01)
    reads.set()
    assert output.drain(30)
    assert out.getvalue() == "one\ntwo\n", "there was room for two"
    output.write("five")
    assert output.drain(30)
    assert out.getvalue() == "one\ntwo\nfive\n"
    assert err.getvalue() == "2 lines are lost: nobody read what was printed before\n"


def test_the_sources_own_words_stand_in_the_table() -> None:
    """Every quoted line of the issue's text, with its numbers taken out, is one that the narrator can say."""
    shape = lambda text: re.sub(r"\d+", "N", text)  # noqa: E731
    golden = {shape(line) for path in Path(__file__).parents[1].glob("golden/*.txt") for line in _lines(path)}
    assert golden, "the golden transcripts are there"
    assert golden <= {shape(line) for _, lines in SPOKEN for line in lines}


def _lines(path: Path) -> list[str]:
    return [line.split("> ", 1)[1] for line in path.read_text().splitlines() if "> " in line]
