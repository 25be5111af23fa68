"""N1 to N5: Newscast and the generic peer sampling service (VO06, sections 2.5 to 2.8; PS07, section 5; CY05)."""

from __future__ import annotations

import functools
import math
from collections.abc import Generator, Iterator
from statistics import fmean, pstdev
from typing import Literal

from overlay.gossip.base import Service
from overlay.gossip.membership.cyclon import Cyclon, CyclonConfig
from overlay.gossip.membership.newscast import Newscast, NewscastConfig
from overlay.gossip.membership.peer_sampling import PeerSampling, SamplingConfig
from overlay.gossip.view import Descriptor, View
from overlay.lab import graphs
from overlay.lab.crowd import Crowd, place
from overlay.lab.experiment import Experiment, Progress, Report, Row, Setting, around, at_least, at_most, exactly

Sampled = Crowd[PeerSampling, Service]


def newscast(setting: Setting, nodes: int, size: int) -> Sampled:
    """Newscast, grown through one contact, not yet mixed."""
    crowd: Sampled = Crowd(setting.seed, lambda: Newscast("lab", NewscastConfig(view_size=size, period_s=0)))
    crowd.grow(nodes)
    return crowd


def _note(setting: Setting, nodes: int, paper: int = 10_000) -> str:
    return "" if nodes == paper else f"N = {nodes}; paper: N = {paper:,}"


_PAPER_N1 = {20: "0.285 to 0.29", 50: "~0.14"}


def _converged(setting: Setting) -> Iterator[Report]:
    nodes, rounds = setting.pick(1000, 10_000), setting.pick(14, 50)
    yield Progress(f"{nodes} nodes join one by one", 0.0)
    # VO06, Fig. 2.11, with its lines for 10^3 and for 10^4 nodes.
    path = {20: (2.55, 3.4), 50: (math.nan, 2.5)}
    degrees: list[int] = []
    for size, wanted in ((20, 0.2875), (50, 0.14)) if setting.scale == "paper" else ((20, 0.2875),):
        crowd = newscast(setting, nodes, size)
        # A larger view mixes sooner, and each round of it takes longer.
        for number in range(rounds if size == 20 else 25):
            yield Progress(f"Newscast, l = {size}", number / rounds)
            crowd.round(PeerSampling.gossip)
        graph = crowd.graph()
        both = graphs.undirected(graph)
        clustering = graphs.clustering(both)
        note = _note(setting, nodes)
        yield around("N1", f"clustering, l = {size}", _PAPER_N1[size], clustering, wanted, 0.0525, note)
        random_graph = 2 * size / nodes
        if setting.scale == "paper" and size == 20:
            yield at_least(
                "N1", f"clustering beside a random graph's, l = {size}", "much more", clustering / random_graph, 20
            )
        length = path[size][setting.pick(0, 1)]
        ours = graphs.mean_path(both, crowd.rng, 200)
        yield around("N1", f"average path length, l = {size}", f"~{length}", ours, length, 0.25, note)
        if size == 20:
            degrees = graphs.in_degrees(graph)
    yield around(
        "N5", "Newscast: deviation of the in-degree, l = 20", "long tail", pstdev(degrees), 9, 2, _note(setting, nodes)
    )


def _ps07(setting: Setting, nodes: int, **policy: int | Literal["push"]) -> Sampled:
    config = SamplingConfig(period_s=0, attempts=10, **policy)  # type: ignore[arg-type]
    return Crowd(setting.seed, lambda: PeerSampling("sampling/lab", config))


def know(links: View, others: list[int]) -> None:
    """Give a view that has just begun fresh news of these nodes."""
    links.merge([Descriptor(place(other), 0.0) for other in others], 0.0)


def _healing(setting: Setting) -> Iterator[Report]:
    nodes = setting.pick(300, 10_000)
    note = _note(setting, nodes)
    for healer, what in ((15, "H = c/2"), (1, "H = 1"))[: setting.pick(1, 2)]:
        crowd = _ps07(setting, nodes, healer=healer)
        crowd.grow(nodes)
        for number in range(setting.pick(15, 30)):
            yield Progress(f"mixing, {what}", number / 60 + (healer == 1) / 2)
            crowd.round(PeerSampling.gossip)
        crowd.kill(nodes // 2)
        clean = 0
        while crowd.links()[1] and clean < 60:
            yield Progress(f"healing, {what}", 0.5)
            crowd.round(PeerSampling.gossip)
            clean += 1
        if healer > 1:
            yield at_most("N2", "rounds until no dead link is left, H = c/2", "as little as 5", clean, 7, note)
        else:
            yield Row("N2", "the same, H = 1", "20 to 35", clean, 15, 40, note)


def _removal(setting: Setting) -> Iterator[Report]:
    nodes = setting.pick(500, 10_000)
    yield Progress(f"{nodes} nodes join one by one", 0.0)
    crowd = newscast(setting, nodes, 30)
    rounds = setting.pick(12, 20)
    for number in range(rounds):
        yield Progress("mixing", number / rounds)
        crowd.round(PeerSampling.gossip)
    graph = graphs.undirected(crowd.graph())
    split = sum(len(graphs.components(graphs.survivors(graph, crowd.rng, 0.6))) > 1 for _ in range(20))
    note = _note(setting, nodes)
    yield exactly("N3", "partitions in 20 removals of 60 %, c = 30", "none below 67 %", split, 0, note)


def _push(setting: Setting) -> Iterator[Report]:
    """The growing scenario of PS07, section 4: each round 100 newcomers come, each of which knows the first node."""
    nodes, runs, rounds = setting.pick(700, 2000), setting.pick(1, 10), setting.pick(40, 300)
    healers: dict[str, dict[str, int]] = {"healer": {"healer": 15}, "swapper": {"healer": 0, "swapper": 15}}
    for name, policy in list(healers.items())[: setting.pick(1, 2)]:
        split = []
        for run in range(runs):
            again = Setting(setting.seed * 1000 + run, setting.scale)
            crowd = _ps07(again, nodes, propagation="push", **policy)
            crowd.add()
            for number in range(rounds):
                yield Progress(f"(rand, {name}, push), run {run + 1}", number / rounds)
                while len(crowd.members) < min(nodes, 1 + (number + 1) * 100):
                    crowd.add()
                    crowd.members[-1].links.merge([Descriptor(place(0), 0.0)], crowd.sim.now)
                crowd.round(PeerSampling.gossip)
            split.append(len(graphs.components(graphs.undirected(crowd.graph()))) > 1)
        note = _note(setting, nodes) + f", {len(split)} runs"
        if name == "healer":
            yield at_least("N4", "partitioned runs, (rand, healer, push)", "100 %", fmean(split), 0.9, note)
        else:
            yield exactly("N4", "partitioned runs, (rand, swapper, push)", "0 %", fmean(split), 0, note)


def _even(setting: Setting, nodes: int, size: int, *, enhanced: bool) -> Iterator[Progress | float]:
    """Cyclon from random views: at last, which share of the in-degrees is within 5 % of the mean."""
    config = CyclonConfig(view_size=size, shuffle_length=8, period_s=0, enhanced=enhanced)
    crowd: Crowd[Cyclon, Service] = Crowd(setting.seed, functools.partial(Cyclon, "lab", config))
    for _ in range(nodes):
        crowd.add()
    fresh = [Descriptor(member.ctx.me, 0.0) for member in crowd.members]
    for number, member in enumerate(crowd.members):
        others = [other for other in crowd.rng.sample(fresh, size + 1) if other is not fresh[number]]
        member.links.merge(others[:size], 0.0)
    rounds = setting.pick(20, 55)
    for number in range(rounds):
        yield Progress(f"Cyclon, l = {size}, {'enhanced' if enhanced else 'basic'}", number / rounds)
        crowd.round(Cyclon.shuffle)
    yield fmean(abs(degree - size) <= size / 20 for degree in graphs.in_degrees(crowd.graph()))


_PAPER_N5 = {20: (0.8031, 0.3622), 50: (0.9395, 0.3847)}
"""The share of in-degrees within 5 % of l by CY05, enhanced and basic, in a network of 100,000."""


def _cyclon(setting: Setting) -> Iterator[Report]:
    """Two views that share a contact cannot swap it, so the share grows with N; see docs/gossip.md."""
    if setting.scale == "small":
        shares = yield from _shares(setting, 10, 600, 600)
        what = "Cyclon, l = 10: in-degree within 5 %, enhanced less basic shuffling"
        yield at_least("N5", what, "0.44", shares[0] - shares[1], 0.05, "N = 600 from random views; paper: N = 100,000")
        return
    for size, nodes in ((20, 10_000), (50, 50_000)):
        shares = yield from _shares(setting, size, nodes, 10_000)
        yield from _beside(size, shares, f"N = {nodes:,}, basic 10,000, from random views; paper: N = 100,000")


def _shares(setting: Setting, size: int, enhanced: int, basic: int) -> Generator[Report, None, list[float]]:
    """The shares with so many nodes for either kind of shuffling."""
    shares = []
    for nodes, kind in ((enhanced, True), (basic, False)):
        for report in _even(setting, nodes, size, enhanced=kind):
            if isinstance(report, float):
                shares.append(report)
            else:
                yield report
    return shares


def _beside(size: int, shares: list[float], note: str) -> Iterator[Row]:
    kinds = zip(("enhanced", "basic"), _PAPER_N5[size], shares, (0.02, 0.03), strict=True)
    for name, paper, ours, slack in kinds:
        what = f"Cyclon, l = {size}, {name} shuffling: in-degree within 5 %"
        yield around("N5", what, f"{paper:.2%}", ours, paper, slack, note)


EXPERIMENTS = (
    Experiment(("N1", "N5"), "Newscast, converged", _converged),
    Experiment(("N2",), "healing", _healing),
    Experiment(("N3",), "connectivity", _removal),
    Experiment(("N4",), "push alone", _push),
    Experiment(("N5",), "Cyclon's in-degree", _cyclon),
)
