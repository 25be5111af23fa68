"""A figure, a row of the table, and how several runs become one."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec


class Figure(msgspec.Struct):
    """One number, and what was measured beside it in the same run."""

    what: str
    value: float
    unit: str
    beside: dict[str, float] = {}
    """The machine's limit and other systems, by name, in the same unit."""
    beat: str = ""
    """The strongest figure that another system of this kind has shown, as text."""


Case = dict[str, Any]
"""The keywords of one call of a row's function: one size, measured in a process of its own."""


class Row(msgspec.Struct):
    """Several cases of one measurement."""

    title: str
    measure: Callable[..., list[Figure] | Awaitable[list[Figure]]]
    cases: list[Case]
    quick: list[Case] = []
    """For a look in a minute; without any, the row is left out then."""
    runs: int = 3


def median(runs: Sequence[list[Figure]]) -> list[Figure]:
    """The medians of several runs of one case, figure by figure, and of what was measured beside."""
    merged = []
    for figures in zip(*runs, strict=True):
        beside = {name: statistics.median([f.beside[name] for f in figures]) for name in figures[0].beside}
        value = statistics.median([f.value for f in figures])
        merged.append(msgspec.structs.replace(figures[0], value=value, beside=beside))
    return merged


def shown(value: float) -> str:
    """Three digits that count."""
    if not value:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def table(title: str, figures: Sequence[Figure]) -> str:
    """A row as Markdown."""
    lines = [
        f"### {title}",
        "",
        "| | measured | | beside it, in the same run | to be beaten |",
        "|---|---:|---|---|---|",
    ]
    for figure in figures:
        beside = ", ".join(f"{name} {shown(value)}" for name, value in figure.beside.items())
        lines.append(f"| {figure.what} | {shown(figure.value)} | {figure.unit} | {beside} | {figure.beat} |")
    return "\n".join(lines) + "\n"
