"""The measures of graphs, on graphs whose measures are known."""

from __future__ import annotations

import random

import pytest

from overlay.lab import graphs
from overlay.lab.hyparview import giant

LINE = [[1], [0, 2], [1], []]
TRIANGLE_AND_TAIL = [[1, 2], [0, 2], [0, 1, 3], [2]]


def test_depths_components_and_degrees() -> None:
    assert graphs.depths(LINE, 0) == [0, 1, 2, -1]
    assert graphs.components(LINE) == [3, 1]
    assert graphs.in_degrees([[1], [2], [1], [1]]) == [0, 3, 1, 0]
    assert graphs.undirected([[1], [2], [1], []]) == [[1], [0, 2], [1], []]


def test_clustering_and_paths() -> None:
    assert graphs.clustering(TRIANGLE_AND_TAIL) == pytest.approx((1 + 1 + 1 / 3 + 0) / 4)
    assert graphs.mean_path(LINE, random.Random(1), 4) == pytest.approx((1 + 2 + 1 + 1 + 1 + 2) / 6)


def test_survivors_keep_the_links_among_themselves() -> None:
    ring = [[(node + 1) % 10, (node - 1) % 10] for node in range(10)]
    left = graphs.survivors(ring, random.Random(1), 0.3)
    assert len(left) == 7 and all(node in left[other] for node, links in enumerate(left) for other in links)


def test_percolation_has_its_threshold_at_three_quarters() -> None:
    assert [round(giant(percent), 3) for percent in (0, 50, 60, 70)] == [1.0, 0.952, 0.842, 0.474]
    assert giant(76) < 0.01
