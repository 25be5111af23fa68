"""Measures of overlay graphs: pure, over adjacency by index."""

from __future__ import annotations

import random
from collections.abc import Sequence

Graph = Sequence[Sequence[int]]
"""For each node, the nodes that it has a link to."""


def undirected(graph: Graph) -> list[list[int]]:
    """Every link in both directions, once."""
    both: list[dict[int, None]] = [{} for _ in graph]
    for node, links in enumerate(graph):
        for other in links:
            both[node][other] = None
            both[other][node] = None
    return [list(links) for links in both]


def in_degrees(graph: Graph) -> list[int]:
    """How many links come in at each node."""
    degrees = [0] * len(graph)
    for links in graph:
        for other in links:
            degrees[other] += 1
    return degrees


def depths(graph: Graph, root: int) -> list[int]:
    """Steps from `root` to each node; -1 where there is no way."""
    depth = [-1] * len(graph)
    depth[root] = 0
    layer = [root]
    while layer:
        following = []
        for node in layer:
            for other in graph[node]:
                if depth[other] < 0:
                    depth[other] = depth[node] + 1
                    following.append(other)
        layer = following
    return depth


def mean_path(graph: Graph, rng: random.Random, sources: int) -> float:
    """The mean number of steps from so many random nodes to all that they reach."""
    steps = pairs = 0
    for root in rng.sample(range(len(graph)), min(sources, len(graph))):
        reached = [depth for depth in depths(graph, root) if depth > 0]
        steps += sum(reached)
        pairs += len(reached)
    return steps / max(pairs, 1)


def clustering(graph: Graph) -> float:
    """The mean, over the nodes, of how many pairs of neighbors are neighbors, in the undirected graph `graph`."""
    total = 0.0
    sets = [set(links) for links in graph]
    for links in graph:
        degree = len(links)
        if degree > 1:
            linked = sum(len(sets[other].intersection(links)) for other in links)
            total += linked / (degree * (degree - 1))
    return total / len(graph)


def components(graph: Graph) -> list[int]:
    """The sizes of the connected components of an undirected graph, the largest first."""
    seen = [False] * len(graph)
    sizes = []
    for root in range(len(graph)):
        if not seen[root]:
            seen[root] = True
            stack, size = [root], 0
            while stack:
                size += 1
                for other in graph[stack.pop()]:
                    if not seen[other]:
                        seen[other] = True
                        stack.append(other)
            sizes.append(size)
    return sorted(sizes, reverse=True)


def survivors(graph: Graph, rng: random.Random, dead: float) -> list[list[int]]:
    """The graph that is left when a share of the nodes is gone, at random."""
    left = sorted(rng.sample(range(len(graph)), round(len(graph) * (1 - dead))))
    places = {node: index for index, node in enumerate(left)}
    return [[places[other] for other in graph[node] if other in places] for node in left]
