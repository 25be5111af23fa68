"""The papers' tables, at the scale of seconds; `make papers` has the papers' own."""

from __future__ import annotations

import pytest

from overlay.lab.experiment import Experiment, Progress, Row, Setting
from overlay.lab.gossip import EXPERIMENTS


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: "-".join(experiment.ids))
def test_every_row_is_within_its_tolerance(experiment: Experiment) -> None:
    reports = list(experiment.run(Setting(seed=1)))
    rows = [report for report in reports if isinstance(report, Row)]
    assert {row.id for row in rows} == set(experiment.ids)
    assert all(0 <= report.done <= 1 for report in reports if isinstance(report, Progress))
    assert [(row.id, row.what, row.ours, row.tolerance) for row in rows if not row.holds] == []
