"""C1 to C5: Chord's tables (CH01, section 6; CH03, section V)."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Iterator
from statistics import fmean

from overlay.lab.experiment import Experiment, Progress, Report, Row, Setting, around, exactly, on_curve
from overlay.lab.rings import BITS, ComputedRing, root_of

PER_BATCH = 5_000


def _percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


# C1: the length of paths ------------------------------------------------------------------------------------------


def _path_length(setting: Setting) -> Iterator[Report]:
    """Mean path length by N; r = 1, converged (CH01, section 6.3)."""
    powers = setting.pick(8, 14)
    means = {}
    for power in range(5, powers + 1):
        yield Progress(f"N = {1 << power}", (power - 5) / (powers - 4))
        ring = ComputedRing(setting.seed, 1 << power, successors=1)
        hops: list[int] = []
        lookups = setting.pick(2_000, 10_000)
        for _ in range(0, lookups, PER_BATCH):
            found = ring.look_up([ring.rng.getrandbits(BITS) for _ in range(min(PER_BATCH, lookups))])
            hops += [one.hops for _, one in found if one is not None]
        means[power] = fmean(hops)
        what, paper = f"path length, N = 2^{power}", f"{power / 2:g} = log2(N) / 2"
        yield on_curve(around("C1", what, paper, means[power], power / 2, 0.3), "path length", "log2 N", power)
    slope = (means[powers] - means[5]) / (powers - 5)
    slack, note = (0.02, "") if setting.scale == "paper" else (0.08, "small rings")
    yield around("C1", "growth a doubling", "0.50", slope, 0.50, slack, note)


# C2, C3: how many keys a node has ---------------------------------------------------------------------------------


def _loads(rng: random.Random, nodes: int, keys: int, virtual: int) -> list[int]:
    """Keys by node, where each has `virtual` places on the circle."""
    places = sorted((rng.random(), node) for node in range(nodes) for _ in range(virtual))
    at = [place for place, _ in places]
    loads = [0] * nodes
    for _ in range(keys):
        loads[places[bisect_left(at, rng.random()) % len(at)][1]] += 1
    return loads


def _keys(setting: Setting) -> Iterator[Report]:
    """Keys per node with consistent hashing (CH01, figure 8)."""
    nodes, keys = 10_000, setting.pick(200_000, 500_000)
    yield Progress(f"{keys} keys on {nodes} nodes", 0.0)
    loads = _loads(random.Random(f"{setting.seed}/C2"), nodes, keys, 1)
    mean = keys / nodes
    yield around("C2", "99th percentile / mean", "4.6", _percentile(loads, 0.99) / mean, 4.6, 0.3)
    yield Row("C2", "largest / mean", "9.1 (one run)", max(loads) / mean, 7.5, 13.0, "ln N + 0.58 = 9.8 on average")


def _virtual(setting: Setting) -> Iterator[Report]:
    """Keys per node with virtual nodes (CH01, figure 9)."""
    nodes, keys = setting.pick(2_000, 10_000), setting.pick(200_000, 1_000_000)
    rng = random.Random(f"{setting.seed}/C3")
    for index, (virtual, first, last) in enumerate(((1, 0.0, 4.8), (20, 0.5, 1.6))):
        yield Progress(f"{virtual} virtual nodes", index / 2)
        loads = _loads(rng, nodes, keys, virtual)
        mean = keys / nodes
        slack = 0.3 if virtual == 1 else 0.15
        yield around(
            "C3", f"1st percentile / mean, v = {virtual}", f"{first:g}", _percentile(loads, 0.01) / mean, first, 0.15
        )
        yield around(
            "C3", f"99th percentile / mean, v = {virtual}", f"{last:g}", _percentile(loads, 0.99) / mean, last, slack
        )


# C4: simultaneous failures -----------------------------------------------------------------------------------------

TABLE_II = {
    0.0: (3.84, 0.0),
    0.1: (4.03, 0.60),
    0.2: (4.22, 1.17),
    0.3: (4.44, 2.02),
    0.4: (4.69, 3.23),
    0.5: (5.09, 5.10),
}
"""Path length and timeouts by the share that failed (CH03, table II)."""


def _failures(setting: Setting) -> Iterator[Report]:
    """N = 1,000, r = 20, stabilization frozen: every lookup still ends at the key's live successor.

    All lookups of a ring begin at once, so that none learns from another who is dead: the paper's timeouts are as many as
    hops times p / (1 - p), which is what comes of asking blindly."""
    shares = list(TABLE_II) if setting.scale == "paper" else [0.0, 0.5]
    rings, lookups = setting.pick(2, 5), setting.pick(500, 2_000)
    slack = 0.05 if setting.scale == "paper" else 0.10
    for index, share in enumerate(shares):
        hops: list[int] = []
        timeouts: list[int] = []
        failed = 0
        for number in range(rings):
            yield Progress(f"{share:.0%} have failed", (index + number / rings) / len(shares))
            ring = ComputedRing(f"{setting.seed}/{number}", 1_000, successors=20)
            ring.crash_each(share)
            line = sorted(ring.members)
            for key, found in ring.look_up([ring.rng.getrandbits(BITS) for _ in range(lookups)]):
                if found is None or found.root.id != root_of(key, line):
                    failed += 1
                else:
                    hops.append(found.hops)
                    timeouts.append(found.timeouts)
        told_hops, told_timeouts = TABLE_II[share]
        of = f"p = {share:g}"
        row = around("C4", f"path length, {of}", f"{told_hops}", fmean(hops), told_hops, slack * told_hops)
        yield on_curve(row, "path length", "p", share)
        around_it = 5 * slack * told_timeouts
        row = around("C4", f"timeouts, {of}", f"{told_timeouts}", fmean(timeouts), told_timeouts, around_it)
        yield on_curve(row, "timeouts", "p", share)
        yield exactly("C4", f"failed lookups, {of}", "0", failed, 0)


# C5: keys that are lost with their nodes ---------------------------------------------------------------------------


def _lost(setting: Setting) -> Iterator[Report]:
    """A share p fails at once and the ring heals; a key without replicas is lost with its node (CH01, figure 11)."""
    nodes, lookups = setting.pick(300, 10_000), setting.pick(2_000, 10_000)
    for index, share in enumerate((0.2,) if setting.scale == "small" else (0.1, 0.2, 0.3, 0.4, 0.5)):
        yield Progress(f"{share:.0%} fail", index / 5)
        ring = ComputedRing(f"{setting.seed}/{share}", nodes, successors=20, interval_s=3.0)
        ring.sim.run_for(6)
        before = sorted(ring.members)
        ring.crash_each(share)
        ring.sim.run_for(60)
        line = sorted(ring.members)
        found = ring.look_up([ring.rng.getrandbits(BITS) for _ in range(lookups)])
        astray = sum(one is None or one.root.id != root_of(key, line) for key, one in found)
        lost = sum(one is None or one.root.id != root_of(key, before) for key, one in found)
        # Three deviations: nodes have shares of many sizes, and only some keys are looked for.
        chance = 3 * math.sqrt(share * (1 - share) * (2 / nodes + 1 / lookups))
        what, paper = f"lookups that fail, p = {share:g}", f"{share:g}: nearly exactly p"
        row = around("C5", what, paper, lost / lookups, share, max(0.01, chance), "chance within 3 deviations")
        yield on_curve(row, "lookups that fail", "p", share)
        yield exactly("C5", f"lookups that end elsewhere than at the live successor, p = {share:g}", "0", astray, 0)


EXPERIMENTS = (
    Experiment(("C1",), "the length of paths", _path_length),
    Experiment(("C2",), "keys by node", _keys),
    Experiment(("C3",), "virtual nodes", _virtual),
    Experiment(("C4",), "simultaneous failures", _failures),
    Experiment(("C5",), "keys lost with their nodes", _lost),
)
"""In the order of the papers."""
