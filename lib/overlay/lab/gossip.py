"""Every experiment of the unstructured services, in the order of the tables."""

from __future__ import annotations

from overlay.lab import hyparview, plumtree, sampling

EXPERIMENTS = (*hyparview.EXPERIMENTS, *plumtree.EXPERIMENTS, *sampling.EXPERIMENTS)
