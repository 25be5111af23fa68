"""What the lab saves: rows always, and a picture where there is matplotlib."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from overlay.app.program import main
from overlay.lab import chord
from overlay.lab.experiment import Experiment, Report, Setting, around, at_least, exactly, on_curve
from overlay.lab.plot import curves, place

ROWS = (
    on_curve(around("X2", "hops, p = 0.5", "2", 2.1, 2, 0.5), "hops", "p", 0.5),
    on_curve(around("X2", "hops, p = 0.1", "1", 9, 1, 0.5), "hops", "p", 0.1),
    on_curve(exactly("X1", "losses, R = 1", "0", 0, 0), "losses", "R", 1),
    around("X3", "a middle", "1", 1.25, 1, 0.5),
    at_least("X3", "no end", "1", 2, 1),
)


def some(setting: Setting) -> Iterator[Report]:
    yield from ROWS


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chord, "EXPERIMENTS", (Experiment(("X1", "X2", "X3"), "some", some),))


def test_points_of_a_curve_are_in_order() -> None:
    found = {name: [row.ours for row in rows] for name, rows in curves(ROWS).items()}
    assert found == {("X1", "losses", "R"): [0], ("X2", "hops", "p"): [9, 2.1]}
    assert next(iter(found))[0] == "X1"


def test_a_figure_has_its_place_in_its_tolerance() -> None:
    low = around("X", "", "", 0.2, 1, 0.5)
    assert [place(row) for row in (*ROWS[1:], low)] == [1.25, None, 0.75, None, -0.25]


@pytest.mark.usefixtures("figures")
def test_rows_are_saved_unasked_and_where_says_the_last_line_but_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "chord"]) == 1
    assert "saved in lab-chord.csv" in capsys.readouterr().out.splitlines()[-2]
    assert len(Path("lab-chord.csv").read_text().splitlines()) == 1 + len(ROWS)


@pytest.mark.usefixtures("figures")
def test_without_matplotlib_one_line_says_what_to_install_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["lab", "chord", "--plot", "rows.png"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "pip install matplotlib" in said.err
    assert not list(Path().iterdir())


@pytest.mark.usefixtures("figures")
def test_a_file_that_cannot_be_written_is_told_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overlay.app.lab_program.run", lambda *_: pytest.fail("it was measured"))
    assert main(["lab", "chord", "--csv", "none/rows.csv"]) == 1
    assert capsys.readouterr().err == "cannot write none/rows.csv: No such file or directory\n"


@pytest.mark.usefixtures("figures")
def test_a_picture_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["lab", "chord", "--plot", "rows.svg"]) == 1
    assert "<svg" in Path("rows.svg").read_text()
    assert main(["lab", "chord", "--plot", "rows.nothing"]) == 2
    assert "cannot draw rows.nothing" in capsys.readouterr().err
