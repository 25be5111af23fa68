"""The rows as a picture. It needs matplotlib, the extra [lab], and nothing else here does."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overlay.errors import LocalError
from overlay.lab.experiment import Row

ACROSS = 3
"""Curves side by side."""
MISSING = "a plot needs matplotlib: pip install matplotlib (the extra [lab] has it)"


def figure_class() -> Any:
    """matplotlib's Figure, which needs no display. LocalError where there is no matplotlib."""
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError:
        raise LocalError(MISSING) from None


def curves(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """The rows that lie on curves, by (id, curve, x) in order of the ids, each in order of x."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    points = [(row.id, row.point.at, number) for number, row in enumerate(rows) if row.point is not None]
    for _, _, number in sorted(points):
        point = rows[number].point
        assert point is not None
        found.setdefault((rows[number].id, point.curve, point.x), []).append(rows[number])
    return found


def place(row: Row) -> float | None:
    """Where a figure is in its tolerance: 0 at the low end, 1 at the high end, a quarter outside where it is out of it.

    None for one that holds where there is nothing in between, or no end: it says nothing in a picture."""
    if not row.holds:
        return -0.25 if row.ours < row.low else 1.25
    width = row.high - row.low
    return (row.ours - row.low) / width if 0 < width < math.inf else None


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """Curves, the paper's with its tolerance and ours; below them, where every other figure is in its tolerance.

    LocalError without matplotlib or for an unknown kind of file, OSError where it cannot be written."""
    lines, others = curves(rows), [row for row in rows if row.point is None and place(row) is not None]
    across, down = min(ACROSS, max(1, len(lines))), -(-len(lines) // ACROSS)
    figure = figure_class()(figsize=(5 * max(2, across), 3.4 * down + 0.26 * len(others) + 1), layout="constrained")
    figure.suptitle(title)
    upper, lower = figure.subfigures(2, 1, height_ratios=(3.4 * down + 0.1, 0.26 * len(others) + 0.6))
    if lines:
        panels = list(upper.subplots(down, across, squeeze=False).flat)
        for axes, ((id, curve, x), points) in zip(panels, lines.items(), strict=False):
            _curve(axes, f"{id}: {curve}", x, points)
        for axes in panels[len(lines) :]:
            axes.set_axis_off()
    if others:
        _places(lower.subplots(), others)
    try:
        figure.savefig(path)
    except ValueError as error:
        raise LocalError(f"cannot draw {path}: {error}") from None


def _curve(axes: Any, title: str, x: str, points: list[Row]) -> None:
    at = [row.point.at for row in points if row.point is not None]
    highest = max(row.ours for row in points)
    low = [max(row.low, 0.0) for row in points]
    high = [min(row.high, max(1.1 * highest, row.low)) if math.isinf(row.high) else row.high for row in points]
    axes.fill_between(at, low, high, color="0.85", label="tolerance")
    if all(not math.isinf(row.low + row.high) for row in points):
        axes.plot(at, [(row.low + row.high) / 2 for row in points], color="0.4", linestyle="--", label="paper")
    axes.plot(at, [row.ours for row in points], color="C0", marker="o", label="ours")
    out = [(a, row.ours) for a, row in zip(at, points, strict=True) if not row.holds]
    if out:
        axes.plot(*zip(*out, strict=True), color="C3", marker="X", markersize=10, linestyle="", label="out")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.legend(fontsize=7)


def _places(axes: Any, rows: list[Row]) -> None:
    heights = range(len(rows), 0, -1)
    axes.barh(heights, [1] * len(rows), height=0.6, color="0.85")
    colors = ["C0" if row.holds else "C3" for row in rows]
    axes.scatter([place(row) for row in rows], heights, color=colors, zorder=2)
    axes.set_yticks(heights, [f"{row.id}: {row.what}, {row.ours:.4g}" for row in rows], fontsize=7)
    axes.set_xticks([0, 1], ["lowest", "highest that is allowed"], fontsize=7)
    axes.set_xlim(-0.3, 1.3)
