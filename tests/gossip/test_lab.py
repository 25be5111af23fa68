"""overlay lab: what it prints, saves and exits with."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from overlay.app.program import main
from overlay.lab import gossip
from overlay.lab.experiment import Experiment, Progress, Report, Setting, around, at_least, at_most, exactly
from overlay.lab.suites import experiments, run


def two_figures(setting: Setting) -> Iterator[Report]:
    yield Progress("half of it", 0.5)
    yield exactly("X1", "the answer", "42", 42, 42)
    yield around("X2", "a guess", "7", 9 + setting.seed, 7, 1, "too high")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gossip, "EXPERIMENTS", (Experiment(("X1", "X2"), "two figures", two_figures),))


@pytest.mark.usefixtures("figures")
def test_paper_ours_and_tolerance_side_by_side_and_status_1_where_a_figure_is_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["lab", "gossip", "--seed", "3", "--csv", str(tmp_path / "rows.csv")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["ok", "X1", "the", "answer", "42", "42", "=", "42"]
    assert lines[2].split() == ["OUT", "X2", "a", "guess", "7", "12", "6", "..", "8", "too", "high"]
    assert lines[-2].startswith("2 figures, 1 out of tolerance")
    assert lines[-1] == "those again: overlay lab gossip --scale small --seed 3 --rows X2"
    rows = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert [(row["row"], row["ours"], row["holds"], row["seed"]) for row in rows] == [
        ("X1", "42", "True", "3"),
        ("X2", "12", "False", "3"),
    ]


@pytest.mark.usefixtures("figures")
def test_rows_can_be_picked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "gossip", "--rows", "X1"]) == 0
    assert "X2" not in capsys.readouterr().out
    assert main(["lab", "gossip", "--rows", "X9"]) == 2
    assert "there is no row X9 in gossip; there are X1, X2" in capsys.readouterr().err
    assert main(["lab", "gossip", "--rows", "X1", "--csv", "/no/such/folder/x.csv"]) == 1


def test_several_processes_give_the_same_rows() -> None:
    here = list(run("gossip", Setting(5), ("MO3", "BR2")))
    there = list(run("gossip", Setting(5), ("MO3", "BR2"), jobs=2))
    rows = sorted((report.id, report.what, report.ours) for report in here if not isinstance(report, Progress))
    assert rows == sorted((report.id, report.what, report.ours) for report in there if not isinstance(report, Progress))
    assert {id for id, _, _ in rows} == {"MO3", "BR2"}


def test_every_row_of_the_tables_is_there() -> None:
    wanted = {f"H{n}" for n in range(1, 7)} | {f"T{n}" for n in range(1, 6)} | {f"BR{n}" for n in range(1, 5)}
    wanted |= (
        {f"N{n}" for n in range(1, 6)}
        | {"L1", "L2", "L3", "MO1", "MO2", "MO3", "LG1", "LG2"}
        | {f"SW{n}" for n in range(1, 7)}
    )
    assert wanted <= {id for experiment in experiments("gossip") for id in experiment.ids}


def test_tolerances_as_text() -> None:
    assert exactly("A", "", "", 1, 2).tolerance == "= 2"
    assert at_least("A", "", "", 1, 0.5).tolerance == ">= 0.5" and at_most("A", "", "", 1, 2).tolerance == "<= 2"
    row = around("A", "", "", 1.25, 1, 0.25)
    assert row.tolerance == "0.75 .. 1.25" and row.holds
