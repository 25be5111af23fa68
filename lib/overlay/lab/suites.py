"""The suites of experiments, and how one is run: in this process, or on several."""

from __future__ import annotations

import importlib
import multiprocessing
import traceback
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from overlay.errors import LocalError
from overlay.lab.experiment import Experiment, Progress, Report, Row, Setting

SUITES = {"chord": "overlay.lab.chord", "gossip": "overlay.lab.gossip", "store": "overlay.lab.store"}
"""A module each, with its EXPERIMENTS; imported when it is run."""


def experiments(suite: str, ids: Collection[str] = ()) -> list[Experiment]:
    """Those of a suite that have one of these rows; with no rows, all. LocalError for a row that there is not."""
    everything: tuple[Experiment, ...] = importlib.import_module(SUITES[suite]).EXPERIMENTS
    known = {id for experiment in everything for id in experiment.ids}
    unknown = [id for id in ids if id not in known]
    if unknown:
        raise LocalError(f"there is no row {', '.join(unknown)} in {suite}; there are {', '.join(sorted(known))}")
    return [experiment for experiment in everything if not ids or set(ids) & set(experiment.ids)]


def run(suite: str, setting: Setting, ids: Collection[str] = (), jobs: int = 1) -> Iterator[Report]:
    """The rows, as they come; those of one experiment are in order. A row of an experiment that was not asked for is left out."""
    chosen = experiments(suite, ids)
    reports = _here(chosen, setting) if jobs == 1 else _elsewhere(suite, chosen, setting, jobs)
    return (report for report in reports if not ids or isinstance(report, Progress) or report.id in ids)


def _here(chosen: list[Experiment], setting: Setting) -> Iterator[Report]:
    for number, experiment in enumerate(chosen):
        for report in experiment.run(setting):
            if isinstance(report, Progress):
                done = (number + min(report.done, 1.0)) / len(chosen)
                yield Progress(f"{experiment.title}: {report.what}", done)
            else:
                yield report


def _elsewhere(suite: str, chosen: list[Experiment], setting: Setting, jobs: int) -> Iterator[Report]:
    # Fresh processes: what runs in this one, threads above all, is not for an experiment to inherit.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        coming = {
            pool.submit(_rows, suite, experiment.ids, experiment.title, setting): experiment for experiment in chosen
        }
        try:
            for number, future in enumerate(as_completed(coming), 1):
                yield Progress(coming[future].title, number / len(chosen))
                yield from future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _rows(suite: str, ids: tuple[str, ...], title: str, setting: Setting) -> list[Row]:
    """One experiment, in a process of the pool."""
    (experiment,) = [one for one in experiments(suite, ids) if (one.ids, one.title) == (ids, title)]
    try:
        return [report for report in experiment.run(setting) if isinstance(report, Row)]
    except Exception:
        # An exception of a row is shown with its own lines, not with the pool's.
        raise RuntimeError(traceback.format_exc()) from None
