"""What a terminal shows, without one: pictures, completion, progress."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from overlay.app.commands import LASTING_COMMANDS, PEER_COMMANDS, RUNNER_COMMANDS
from overlay.app.completion import Words, file_names
from overlay.app.picture import HOP_S, STAYS_S, Changes, Picture, ring_picture, rows_picture, travelled
from overlay.app.progress import Progress, duration
from overlay.app.reporter import Row

IDS = (2, 4, 5, 8, 9, 14, 19)


def text(lines: Picture) -> list[str]:
    return ["".join(piece for _, piece in line) for line in lines]


def circle(count: int) -> list[Row]:
    return [Row(i, (i - 2) % count, (i - 1) % count, (i + 1) % count, (i + 2) % count) for i in range(count)]


@pytest.mark.parametrize("count", [1, 7, 60, 256])
@pytest.mark.parametrize(("width", "height"), [(80, 20), (200, 40), (40, 6)])
def test_rows_fit_any_terminal_and_none_is_lost_in_silence(count: int, width: int, height: int) -> None:
    lines = text(rows_picture(circle(count), width, height, (), ()))
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    shown = sum(line.count("Peer ") for line in lines)
    left_out = int(lines[-1].split()[2]) if lines[-1].startswith("... and") else 0
    assert shown + left_out == count


def test_what_happens_is_shown_first_when_not_all_fit() -> None:
    lines = rows_picture(circle(256), 80, 6, {(200, 2): 0.0}, {100})
    shown = " ".join(text(lines))
    assert all(f"Peer {id:>3} " in shown for id in (98, 99, 101, 102, 200))
    assert ("class:dead", "100") in [piece for line in lines for piece in line]
    assert ("class:fresh", "201") in [piece for line in lines for piece in line]


@pytest.mark.parametrize("count", [1, 2, 7, 40, 256])
def test_the_ring_has_everybody_on_it(count: int) -> None:
    lines = ring_picture(list(range(count)), 34, 13, (), (), None)
    assert len(lines) == 13
    assert all(len(line) <= 34 for line in text(lines))
    if count <= 7:
        assert all(str(id) in " ".join(text(lines)) for id in range(count))


def test_a_route_travels_and_then_goes() -> None:
    path = (8, 9, 14, 19)
    assert [travelled(path, HOP_S * hop) for hop in (0, 1, 2, 3, 5)] == [0, 1, 2, 3, 3]
    assert travelled(path, 4 * HOP_S + STAYS_S + 0.1) is None
    lines = ring_picture(IDS, 40, 13, (), path, 2)
    assert "8 > 9 > 14" in " ".join(text(lines))
    assert ("class:here", "14") in [piece for line in lines for piece in line]


def test_only_what_changes_stands_out_and_not_for_long() -> None:
    changes = Changes(lasts_s=4.0)
    assert not changes.fresh([Row(4, None, None, 5, 8)], 0.0)
    assert not changes.fresh([Row(4, 19, 2, 5, 8)], 1.0), "it only begins to know its neighbors"
    assert set(changes.fresh([Row(4, 19, 2, 8, 9)], 2.0)) == {(4, 2), (4, 3)}
    assert not changes.fresh([Row(4, 19, 2, 8, 9)], 7.0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("st", ["store", "status"]),
        ("STO", ["store"]),
        ("store ", ["2067", "4103"]),
        ("store 2", ["2067"]),
        ("store 2067 ", []),
        ("pings o", ["on", "off"]),
        ("nonsense ", []),
    ],
)
def test_completion(line: str, words: list[str]) -> None:
    completer = Words(PEER_COMMANDS, lambda place: ["2067", "4103"])
    assert [c.text for c in completer.get_completions(Document(line), CompleteEvent())] == words


def test_completion_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Thesis.pdf", "thesis#2.pdf", "two words", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "there").mkdir()
    completer = Words(LASTING_COMMANDS, lambda place: file_names() if place == "FILE" else ())
    words = [c.text for c in completer.get_completions(Document("put th"), CompleteEvent())]
    assert words == ["Thesis.pdf", "thesis#2.pdf"]


def test_completion_of_peers() -> None:
    known = {"PEER": ["2", "4"], "NAME": ["2067"]}
    completer = Words(RUNNER_COMMANDS, lambda place: known[place])
    words = [
        [c.text for c in completer.get_completions(Document(t), CompleteEvent())]
        for t in ("store ", "store 4 ", "join 7 ")
    ]
    assert words == [["2", "4"], ["2067"], ["2", "4"]]


def test_progress() -> None:
    progress = Progress()
    moving = lambda done: [SimpleNamespace(name="4103", done_bytes=done, size=10 << 20)]  # noqa: E731
    assert progress.texts(moving(0), 0.0) == ["4103: 0 bytes of 10.0 MiB"]
    assert progress.texts(moving(2 << 20), 1.0) == ["4103: 2.0 MiB of 10.0 MiB, 2.0 MiB/s, 4 s left"]
    assert progress.texts([], 2.0) == []
    assert [duration(s) for s in (4.6, 65, 3700)] == ["5 s", "1 min 5 s", "1 h 1 min"]
