"""The papers' tables, at the scale of seconds; `make papers` has the papers' own."""

from __future__ import annotations

import pytest

from overlay.lab.churn import TABLE_III
from overlay.lab.correctness import PARTS
from overlay.lab.experiment import Experiment, Progress, Row, Setting
from overlay.lab.suites import SUITES, experiments

SOME = [
    experiment
    for suite in sorted(SUITES)
    for experiment in experiments(suite)
    # The rates of table III and the parts of an exploration are alike: one of each will do here.
    if experiment.title not in {f"joins and leaves, R = {rate:g}" for rate in TABLE_III if rate != 0.2}
    and experiment.title not in {f"random schedules, part {part}" for part in range(2, PARTS + 1)}
]


@pytest.mark.parametrize("experiment", SOME, ids=lambda experiment: "-".join(experiment.ids))
def test_every_row_is_within_its_tolerance(experiment: Experiment) -> None:
    reports = list(experiment.run(Setting(seed=1)))
    rows = [report for report in reports if isinstance(report, Row)]
    assert {row.id for row in rows} == set(experiment.ids)
    assert all(0 <= report.done <= 1 for report in reports if isinstance(report, Progress))
    assert [(row.id, row.what, row.ours, row.tolerance) for row in rows if not row.holds] == []
