"""Measure everything, or what is named; print the table and keep it.

    python -m benchmarks [--only ROW ...] [--minutes 15] [--quick] [--json]

Every case runs in a process of its own. First each runs once, and while there is time left each runs again, in turn; the
table has the medians. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "lib"))

from benchmarks.figures import Case, Figure, median, table  # noqa: E402
from benchmarks.rows import ROWS  # noqa: E402

PATIENCE_S = 600


def machine() -> str:
    """What kind of machine this is."""
    return f"{os.cpu_count()} cores, CPython {sys.version_info[0]}.{sys.version_info[1]}, {platform.system()}"


def run_here(row: str, case: Case) -> None:
    """One case, in this process; its figures as JSON on stdout."""
    outcome = ROWS[row].measure(**case)
    figures = outcome if isinstance(outcome, list) else asyncio.run(_await(outcome))
    sys.stdout.buffer.write(msgspec.json.encode(figures))


async def _await(outcome):  # type: ignore[no-untyped-def]
    return await outcome


def run_apart(row: str, case: Case) -> list[Figure]:
    """One case, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "--case", row, msgspec.json.encode(case).decode()]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, timeout=PATIENCE_S, check=True)
    return msgspec.json.decode(done.stdout, type=list[Figure])


class Job:
    """One case of a row: its runs so far, and the seconds that the longest of them took."""

    def __init__(self, row: str, case: Case):
        self.row = row
        self.case = case
        self.runs: list[list[Figure]] = []
        self.longest_s = 0.0
        self.total_s = 0.0

    def run(self) -> None:
        """Once more."""
        began = time.monotonic()
        print(
            f"{self.row} {' '.join(str(v) for v in self.case.values())} #{len(self.runs) + 1}", end="", file=sys.stderr
        )
        sys.stderr.flush()
        self.runs.append(run_apart(self.row, self.case))
        took_s = time.monotonic() - began
        self.longest_s, self.total_s = max(self.longest_s, took_s), self.total_s + took_s
        print(f" {took_s:.1f} s", file=sys.stderr)


def measure(names: Sequence[str], minutes: float, *, quick: bool) -> tuple[dict[str, list[Figure]], dict[str, float]]:
    """The figures of these rows, and the seconds that each row took. What has had its runs, or no time left, is left out."""
    jobs = [Job(name, case) for name in names for case in (ROWS[name].quick if quick else ROWS[name].cases)]
    end = time.monotonic() + 60 * minutes
    for number in range(1 if quick else max(ROWS[name].runs for name in names)):
        for job in jobs:
            if not number or (number < ROWS[job.row].runs and time.monotonic() + job.longest_s <= end):
                job.run()
    figures: dict[str, list[Figure]] = {name: [] for name in names}
    seconds = dict.fromkeys(names, 0.0)
    for job in jobs:
        figures[job.row] += median(job.runs)
        seconds[job.row] += job.total_s
    return figures, seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--minutes", type=float, default=14.0, help="no run begins that would end later (default 14)")
    parser.add_argument("--quick", action="store_true", help="small sizes, one run each; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        run_here(options.case[0], msgspec.json.decode(options.case[1]))
        return
    names = options.only or list(ROWS)
    results = Kept(machine(), *measure(names, options.minutes, quick=options.quick))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(results)).decode())
    else:
        print(report(results))
    print(f"{sum(results.seconds.values()):.0f} s in all", file=sys.stderr)
    if not options.quick:
        keep(results)


class Kept(msgspec.Struct):
    """The content of RESULTS.json."""

    machine: str
    rows: dict[str, list[Figure]]
    seconds: dict[str, float] = {}
    """That all runs of a row took together."""


def report(results: Kept) -> str:
    """The whole table."""
    head = f"Medians on {results.machine}; in brackets, the seconds of all runs of a row. README.md explains every row.\n\n"
    titles = {name: f"{ROWS[name].title} ({results.seconds.get(name, 0):.0f} s)" for name in results.rows}
    return head + "\n".join(table(titles[name], figures) for name, figures in results.rows.items() if figures)


def keep(results: Kept) -> None:
    """Write RESULTS.json and RESULTS.md; rows that were not measured now stay as they were."""
    file = HERE / "RESULTS.json"
    before = msgspec.json.decode(file.read_bytes(), type=Kept) if file.exists() else Kept(results.machine, {})
    rows, seconds = {**before.rows, **results.rows}, {**before.seconds, **results.seconds}
    kept = Kept(results.machine, {name: rows[name] for name in ROWS if name in rows}, seconds)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
    (HERE / "RESULTS.md").write_text(f"# Results\n\n{report(kept)}")


if __name__ == "__main__":
    main()
