"""H1 to H6: HyParView's tables and figures, with Cyclon beside it (HP07, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import TypeVar

from overlay.gossip.base import MembershipService
from overlay.gossip.dissemination.push import PushConfig, Pusher
from overlay.gossip.membership.cyclon import Cyclon, CyclonConfig
from overlay.gossip.membership.hyparview import HyParView, HyParViewConfig
from overlay.lab import graphs
from overlay.lab.crowd import UNIT_DELAY, Crowd
from overlay.lab.experiment import Experiment, Progress, Report, Row, Setting, around, at_least, at_most, exactly
from overlay.sim import Network

ROUNDS = 50
M = TypeVar("M", bound=MembershipService)

FLOOD_S = 1.0
"""For one broadcast to have gone everywhere."""

REPAIR_S = 1.0
"""For the neighbors of the dead to have asked others: much less than a round."""

SCALED = "paper: N = 10,000"


def stable_overlay(setting: Setting, nodes: int) -> Crowd[HyParView, Pusher]:
    """HyParView grown through one contact, not yet shuffled, with flooding on top."""
    crowd: Crowd[HyParView, Pusher] = Crowd(
        setting.seed,
        lambda: HyParView("lab", HyParViewConfig(period_s=0)),
        lambda member: Pusher("lab", member, PushConfig(buffer_limit=4)),
        Network(delay_s=UNIT_DELAY),
    )
    crowd.grow(nodes)
    return crowd


def flood(crowd: Crowd[M, Pusher], messages: int) -> list[tuple[float, int]]:
    """Broadcasts from random nodes: of each, the share of the others that heard it, and how far it had to go."""
    results = []
    services = [crowd.services[number] for number in crowd.alive]
    for _ in range(messages):
        before = sum(service.heard for service in services)
        for service in services:
            service.max_hops = 0
        crowd.rng.choice(services).broadcast(b"a broadcast")
        crowd.sim.run_for(FLOOD_S)
        heard = sum(service.heard for service in services) - before
        results.append((heard / (len(services) - 1), max(service.max_hops for service in services)))
    return results


def giant(percent: int, degree: int = 5) -> float:
    """The share of live nodes in the giant component of a random regular graph after failures (percolation).

    A link leads nowhere with u = 1 - q + q u**(degree - 1), where q is the share that lives.
    """
    q, u = 1 - percent / 100, 0.0
    for _ in range(10_000):
        u = 1 - q + q * u ** (degree - 1)
    return 1 - u**degree


def _run(setting: Setting) -> Iterator[Report]:
    nodes = setting.pick(300, 10_000)
    note = "" if setting.scale == "paper" else f"N = {nodes}; {SCALED}"
    yield Progress(f"{nodes} nodes join one by one", 0.0)
    crowd = stable_overlay(setting, nodes)
    for number in range(setting.pick(12, ROUNDS)):
        yield Progress("shuffling", 0.1 + 0.4 * number / ROUNDS)
        crowd.round(HyParView.shuffle)
    yield from _shape(setting, crowd, note)
    yield from _percolation(setting, crowd, note)
    points = (50, 80) if setting.scale == "small" else (10, 30, 50, 60, 70, 80, 90, 95)
    for index, percent in enumerate(points):
        yield Progress(f"{percent} % crash", 0.6 + 0.4 * index / len(points))
        yield from _failures(setting, crowd, percent, note)


def _shape(setting: Setting, crowd: Crowd[HyParView, Pusher], note: str) -> Iterator[Report]:
    paper_scale = setting.scale == "paper"
    graph = crowd.graph()
    path = graphs.mean_path(graph, crowd.rng, 500)
    if paper_scale:
        yield around("H1", "average shortest path", "6.38542", path, 6.38, 0.06, note)
        clustering, hops = 0.0015, (8.0, 9.5)
    else:
        # A random 5-regular graph of fewer nodes: the path grows with log N / log 4, the clustering with 1 / N.
        yield at_most("H1", "average shortest path", "6.38542", path, 6.38, note)
        clustering, hops = 0.0015 * 10_000 / len(graph), (5.0, 9.5)
    yield at_most("H1", "clustering coefficient", "0.00092", graphs.clustering(graph), clustering, note)
    deepest = fmean(hops for _, hops in flood(crowd.branch(), setting.pick(5, 20)))
    yield Row("H1", "hops to the last delivery", "9.0", deepest, *hops, note)
    five = sum(degree == 5 for degree in graphs.in_degrees(graph)) / len(graph)
    yield at_least("H2", "share of nodes with in-degree 5", "almost all", five, 0.995 if paper_scale else 0.98, note)
    one_way = sum(node not in graph[other] for node, links in enumerate(graph) for other in links)
    yield exactly("H2", "links with one end", "0", one_way, 0, note)


def _percolation(setting: Setting, crowd: Crowd[HyParView, Pusher], note: str) -> Iterator[Report]:
    slack = setting.pick(4, 0) / 100 or 0.015
    graph = crowd.graph()
    for percent in (50, 60, 70):
        # Nobody has noticed a death yet: these are the links that a protocol without repair would have for good.
        trials = [graphs.survivors(graph, crowd.rng, percent / 100) for _ in range(10)]
        share = fmean(graphs.components(left)[0] / len(left) for left in trials)
        closed = giant(percent)
        what = f"reached without repair, {percent} % dead"
        paper = f"closed form {closed:.3f}"
        if setting.scale == "small" and percent == 70:
            # Near the threshold a small graph's giant component is a matter of luck.
            yield around("H4", what, paper, share, closed, 0.3, note)
        else:
            yield around("H4", what, paper, share, closed, slack, note)


def _failures(setting: Setting, crowd: Crowd[HyParView, Pusher], percent: int, note: str) -> Iterator[Report]:
    branch = crowd.branch()
    branch.kill(len(branch.alive) * percent // 100)
    branch.sim.run_for(REPAIR_S)
    reliability = fmean(share for share, _ in flood(branch, setting.pick(10, 30)))
    low, high = (0.995, 1.0) if percent <= 80 else (0.97, 1.0) if percent == 90 else (0.85, 0.97)
    yield Row("H3", f"reliability, {percent} % dead", _PAPER_H3.get(percent, "~1.0"), reliability, low, high, note)
    if percent > 80:
        return
    rounds = 0
    while rounds < 10 and min(share for share, _ in flood(branch, 10)) < 0.999:
        branch.round(HyParView.shuffle)
        rounds += 1
    yield at_most("H5", f"rounds until reliable again, {percent} % dead", "1-2", rounds, 2, note)


_PAPER_H3 = {95: "~0.9"}

_PAPER_H6 = {10: 0.98, 20: 0.97, 30: 0.93, 40: 0.86, 50: 0.74, 60: 0.50, 70: 0.12, 80: 0.0}


def _cyclon(setting: Setting) -> Iterator[Report]:
    nodes = setting.pick(300, 10_000)
    note = "" if setting.scale == "paper" else f"N = {nodes}; {SCALED}"
    crowd: Crowd[Cyclon, Pusher] = Crowd(
        setting.seed,
        lambda: Cyclon("lab", CyclonConfig(view_size=35, shuffle_length=14, period_s=0)),
        lambda member: Pusher("lab", member, PushConfig(fanout=4, buffer_limit=4)),
        Network(delay_s=UNIT_DELAY),
    )
    yield Progress(f"{nodes} nodes join one by one", 0.0)
    crowd.grow(nodes)
    rounds = setting.pick(15, ROUNDS)
    for number in range(rounds):
        yield Progress("Cyclon", 0.1 + 0.6 * number / rounds)
        crowd.round(Cyclon.shuffle)
    graph = graphs.undirected(crowd.graph())
    path = graphs.mean_path(graph, crowd.rng, 200)
    clustering = graphs.clustering(graph)
    if setting.scale == "paper":
        yield around("H6", "Cyclon: average shortest path", "2.60426", path, 2.604, 0.03, note)
        yield around("H6", "Cyclon: clustering coefficient", "0.006836", clustering, 0.006836, 0.0007, note)
    else:
        yield at_most("H6", "Cyclon: average shortest path", "2.60426", path, 2.604, note)
    for percent in (50,) if setting.scale == "small" else tuple(_PAPER_H6):
        yield Progress(f"Cyclon, {percent} % crash", 0.7 + 0.3 * percent / 100)
        branch = crowd.branch()
        branch.kill(len(branch.alive) * percent // 100)
        reliability = fmean(share for share, _ in flood(branch, 20))
        wanted = _PAPER_H6[percent]
        slack = 0.05 if setting.scale == "paper" else 0.15
        yield around("H6", f"Cyclon: reliability, {percent} % dead", f"~{wanted}", reliability, wanted, slack, note)


EXPERIMENTS = (
    Experiment(("H1", "H2", "H3", "H4", "H5"), "HyParView", _run),
    Experiment(("H6",), "Cyclon, the baseline", _cyclon),
)
