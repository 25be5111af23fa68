"""What an experiment is, and what comes out of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

Scale = Literal["small", "paper"]
"""As the tests run it, in seconds; or with the numbers of the paper, in minutes."""


class Setting(msgspec.Struct, frozen=True):
    """What a run depends on: the same setting, the same rows."""

    seed: int = 1
    scale: Scale = "small"

    def pick(self, small: int, paper: int) -> int:
        """A number by the scale."""
        return paper if self.scale == "paper" else small


class Point(msgspec.Struct, frozen=True):
    """Where a figure lies on a curve."""

    curve: str
    x: str
    """What varies, such as N."""
    at: float


class Row(msgspec.Struct, frozen=True):
    """One figure of a paper beside ours."""

    id: str
    """Of the row in the table of targets, such as H1."""
    what: str
    paper: str
    """The paper's figure, in its own words; "closed form" where it is arithmetic."""
    ours: float
    low: float
    high: float
    """The tolerance: from, to, both included."""
    note: str = ""
    """At what scale, or why it is out."""
    point: Point | None = None
    """Of the curve it is part of, when it is drawn."""

    @property
    def holds(self) -> bool:
        """Whether ours is within the tolerance."""
        return self.low <= self.ours <= self.high

    @property
    def tolerance(self) -> str:
        """The tolerance as text."""
        if self.low == self.high:
            return f"= {self.low:g}"
        if math.isinf(self.high):
            return f">= {self.low:.4g}"
        return f"<= {self.high:.4g}" if math.isinf(self.low) else f"{self.low:.4g} .. {self.high:.4g}"


class Progress(msgspec.Struct, frozen=True):
    """How far it is."""

    what: str
    done: float
    """From 0 to 1, of this experiment."""


Report = Row | Progress


class Experiment(msgspec.Struct, frozen=True):
    """One or a few rows that come from one run. Each experiment can be run alone, in any process."""

    ids: tuple[str, ...]
    title: str
    run: Callable[[Setting], Iterator[Report]]


def on_curve(row: Row, curve: str, x: str, at: float) -> Row:
    """The same row as a point of a curve; rows of one id with one curve are drawn together."""
    return msgspec.structs.replace(row, point=Point(curve, x, at))


def exactly(id: str, what: str, paper: str, ours: float, wanted: float, note: str = "") -> Row:
    """A row without tolerance."""
    return Row(id, what, paper, ours, wanted, wanted, note)


def at_least(id: str, what: str, paper: str, ours: float, low: float, note: str = "") -> Row:
    """A row with a lower bound."""
    return Row(id, what, paper, ours, low, math.inf, note)


def at_most(id: str, what: str, paper: str, ours: float, high: float, note: str = "") -> Row:
    """A row with an upper bound."""
    return Row(id, what, paper, ours, -math.inf, high, note)


def around(id: str, what: str, paper: str, ours: float, center: float, slack: float, note: str = "") -> Row:
    """A row with an even tolerance."""
    return Row(id, what, paper, ours, center - slack, center + slack, note)
