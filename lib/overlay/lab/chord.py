"""Every experiment with Chord, in the order of the tables."""

from __future__ import annotations

from overlay.lab import churn, correctness, tables

EXPERIMENTS = (*tables.EXPERIMENTS, *churn.EXPERIMENTS, *correctness.EXPERIMENTS)
