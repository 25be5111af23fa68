"""Every experiment with Chord, in the order of the tables."""

from __future__ import annotations

from overlay.lab import churn, correctness, million, proximity, tables

EXPERIMENTS = (
    *tables.EXPERIMENTS,
    *churn.EXPERIMENTS,
    *million.EXPERIMENTS,
    *proximity.EXPERIMENTS,
    *correctness.EXPERIMENTS,
)
