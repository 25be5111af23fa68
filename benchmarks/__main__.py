"""Measure everything, or what is named; print the table and keep it.

    python -m benchmarks [--only ROW ...] [--quick] [--json]

Every case runs in a process of its own, several times; the table has the medians. Progress goes to stderr.
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


def measure(name: str, *, quick: bool) -> list[Figure]:
    """All cases of a row."""
    row, figures = ROWS[name], []
    for case in row.quick if quick else row.cases:
        runs: list[list[Figure]] = []
        for number in range(1 if quick else row.runs):
            began = time.monotonic()
            print(f"{name} {' '.join(str(value) for value in case.values())} #{number + 1}", end="", file=sys.stderr)
            sys.stderr.flush()
            runs.append(run_apart(name, case))
            print(f" {time.monotonic() - began:.1f} s", file=sys.stderr)
        figures += median(runs)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, one run each; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        run_here(options.case[0], msgspec.json.decode(options.case[1]))
        return
    names = options.only or list(ROWS)
    results = {name: measure(name, quick=options.quick) for name in names}
    if options.json:
        print(msgspec.json.format(msgspec.json.encode({"machine": machine(), "rows": results})).decode())
    else:
        print(report(results))
    if not options.quick:
        keep(results)


def report(results: dict[str, list[Figure]]) -> str:
    """The whole table."""
    head = f"Medians on {machine()}. README.md explains every row.\n\n"
    return head + "\n".join(table(ROWS[name].title, figures) for name, figures in results.items() if figures)


class Kept(msgspec.Struct):
    """The content of RESULTS.json."""

    machine: str
    rows: dict[str, list[Figure]]


def keep(results: dict[str, list[Figure]]) -> None:
    """Write RESULTS.json and RESULTS.md; rows that were not measured now stay as they were."""
    file = HERE / "RESULTS.json"
    before = msgspec.json.decode(file.read_bytes(), type=Kept).rows if file.exists() else {}
    rows = {name: {**before, **results}[name] for name in ROWS if name in before or name in results}
    file.write_bytes(msgspec.json.format(msgspec.json.encode(Kept(machine(), rows))) + b"\n")
    (HERE / "RESULTS.md").write_text(f"# Results\n\n{report(rows)}")


if __name__ == "__main__":
    main()
