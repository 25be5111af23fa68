"""Every experiment of the unstructured services, in the order of the tables."""

from __future__ import annotations

from overlay.lab import brisa, epidemics, hyparview, plumtree, sampling, swim

EXPERIMENTS = (
    *hyparview.EXPERIMENTS,
    *plumtree.EXPERIMENTS,
    *brisa.EXPERIMENTS,
    *sampling.EXPERIMENTS,
    *epidemics.EXPERIMENTS,
    *swim.EXPERIMENTS,
)
