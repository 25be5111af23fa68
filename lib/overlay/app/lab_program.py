"""overlay lab: the papers' tables, measured again. `overlay lab gossip --scale paper` takes a while."""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import overlay
from overlay.app.options import make_parser
from overlay.app.terminal import Output, is_terminal
from overlay.errors import LocalError
from overlay.lab import plot
from overlay.lab.experiment import Progress, Row, Setting
from overlay.lab.suites import SUITES, run

EXAMPLES = """\
examples:
  overlay lab gossip                       every table, in a minute, with small networks
  overlay lab chord --scale paper --jobs 2 --csv chord.csv --plot chord.png
  overlay lab gossip --rows T1,H3 --seed 7

The exit status is 1 where a figure is out of its tolerance.
Many peers at once: overlay lab mass-join --help, mass-leave, mass-data, watch.
"""
MASS = ("mass-join", "mass-leave", "mass-data", "watch")
"""These have a module, and --help, of their own."""

REDRAW_S = 0.2


def lab_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """`suite`, `rows`, `scale`, `seed`, `jobs`, `csv`, `plot`."""
    parser = make_parser("overlay lab", "Measure what the papers measured, and put it beside their figures.", EXAMPLES)
    parser.add_argument("suite", choices=sorted(SUITES), help="whose tables")
    parser.add_argument("--rows", default="", metavar="H1,T1", help="these rows only")
    parser.add_argument(
        "--scale", choices=("small", "paper"), default="small", help="small networks, or the paper's (small)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all chance: the same seed, the same figures (1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="experiments at a time, 0 for one a core (1)")
    parser.add_argument("--csv", metavar="FILE", help="where the rows are saved (lab-SUITE.csv)")
    parser.add_argument("--plot", metavar="FILE", help="draw them too, as PNG, SVG or PDF; needs the extra [lab]")
    parser.add_argument("--no-color", action="store_true", help="no colors")
    parser.add_argument("--version", action="version", version=overlay.__version__)
    options = parser.parse_args(arguments)
    options.ids = tuple(id.strip() for id in options.rows.split(",") if id.strip())
    options.csv = options.csv or f"lab-{options.suite}.csv"
    options.jobs = options.jobs if options.jobs > 0 else os.cpu_count() or 1
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole command; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in MASS:
        from overlay.app import mass_program

        return mass_program.main(words)
    options = lab_arguments(words)
    output = Output(no_color=options.no_color)
    table = Table(output)
    began = time.monotonic()
    setting = Setting(options.seed, options.scale)
    try:
        # What cannot be is better said now than after an hour.
        if options.plot:
            plot.figure_class()
            check_writable(Path(options.plot))
        check_writable(Path(options.csv))
        for report in run(options.suite, setting, options.ids, options.jobs):
            table.take(report)
        table.progress("")
        save(Path(options.csv), table.rows, setting)
        if options.plot:
            plot.draw(table.rows, f"{options.suite}, {options.scale}, seed {options.seed}", Path(options.plot))
    except LocalError as error:
        output.error(str(error))
        return 2
    except OSError as error:
        output.error(f"cannot write {error.filename or options.csv}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        table.progress("")
        return 130
    return summary(output, table.rows, options, time.monotonic() - began)


def summary(output: Output, figures: Sequence[Row], options: argparse.Namespace, took_s: float) -> int:
    """How many are out, where they are saved, and the command that repeats them; the exit status."""
    out = [row for row in figures if not row.holds]
    rows = ",".join(dict.fromkeys(row.id for row in out)) or options.rows
    again = f"overlay lab {options.suite} --scale {options.scale} --seed {options.seed}" + (
        f" --rows {rows}" if rows else ""
    )
    saved = options.csv + (f" and {options.plot}" if options.plot else "")
    output.answer(("", f"{len(figures)} figures, {len(out)} out of tolerance, {took_s:.0f} s; saved in {saved}"))
    output.answer((f"{'those again' if out else 'again'}: {again}",))
    return 1 if out else 0


class Table:
    """Rows as they come, and on a terminal how far it is."""

    def __init__(self, output: Output):
        self.rows: list[Row] = []
        self._output = output
        self._live = is_terminal(sys.stderr)
        self._drawn = 0.0

    def take(self, report: Row | Progress) -> None:
        """One more report."""
        if isinstance(report, Progress):
            now = time.monotonic()
            if now - self._drawn >= REDRAW_S:
                self._drawn = now
                self.progress(f"{report.done:4.0%} {report.what}")
            return
        if not self.rows:
            self.show("", "row", "what", "paper", "ours", "tolerance", "")
        self.rows.append(report)
        ours = f"{report.ours:,.0f}" if report.ours == int(report.ours) else f"{report.ours:.4g}"
        mark = "ok" if report.holds else "OUT"
        self.show(mark, report.id, report.what, report.paper, ours, report.tolerance, report.note)

    def show(self, mark: str, id: str, what: str, paper: str, ours: str, tolerance: str, note: str) -> None:
        """One line."""
        self.progress("")
        self._output.answer((f"{mark:3} {id:4} {what:62} {paper:>26} {ours:>10}  {tolerance:18} {note}".rstrip(),))

    def progress(self, text: str) -> None:
        """In the place of what was there."""
        if self._live:
            sys.stderr.write(f"\r\x1b[K{text[:100]}")
            sys.stderr.flush()


def check_writable(path: Path) -> None:
    """OSError where a file cannot be written; nothing is left where there was none."""
    new = not path.exists()
    path.open("ab").close()
    if new:
        path.unlink()


def save(path: Path, rows: Sequence[Row], setting: Setting) -> None:
    """The rows as CSV. OSError where that cannot be written."""
    seed, scale = setting.seed, setting.scale
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("row", "what", "paper", "ours", "low", "high", "holds", "note", "seed", "scale"))
        for row in rows:
            writer.writerow(
                (row.id, row.what, row.paper, row.ours, row.low, row.high, row.holds, row.note, seed, scale)
            )


if __name__ == "__main__":
    sys.exit(main())
