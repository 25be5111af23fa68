"""L1 to L3 and MO1 to MO3: lpbcast, one-shot push and MON beside their closed forms."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterator, Sequence
from statistics import fmean
from typing import TypeVar

from overlay.core.message import Contact
from overlay.gossip.base import MembershipService
from overlay.gossip.dissemination.lpbcast import Lpbcast, LpbcastConfig
from overlay.gossip.dissemination.mon import Branch, Mon, MonConfig
from overlay.gossip.dissemination.push import PushConfig, Pusher
from overlay.gossip.membership.cyclon import Cyclon, CyclonConfig
from overlay.lab.crowd import UNIT_DELAY, Crowd, place
from overlay.lab.experiment import Experiment, Progress, Report, Row, Setting, around, exactly
from overlay.lab.hyparview import flood
from overlay.lab.sampling import know
from overlay.sim import Network
from overlay.sim.faults import Faults

M = TypeVar("M", bound=MembershipService)
LOSS, CRASHED = 0.05, 0.01
"""epsilon and tau of lpbcast's analysis."""


class Given(MembershipService):
    """A membership whose view somebody has drawn: the uniform views that closed forms suppose."""

    def __init__(self) -> None:
        super().__init__("given/lab")
        self.peers: Sequence[Contact] = ()

    def neighbors(self) -> tuple[Contact, ...]:
        return tuple(self.peers)

    def sample(self, count: int, exclude: Collection[int] = ()) -> list[Contact]:
        # Of everybody, without a copy of everybody: a few more are drawn than are wanted.
        drawn = self.ctx.rng.sample(self.peers, min(count + len(exclude) + 1, len(self.peers)))
        return [peer for peer in drawn if peer.id not in exclude and peer.id != self.ctx.me.id][:count]


def infected(nodes: int, fanout: int) -> list[float]:
    """lpbcast's analysis: the expected share that has heard after each round, from one on."""
    p = fanout / (nodes - 1) * (1 - LOSS) * (1 - CRASHED)
    shares: list[float] = []
    s = 1.0
    while s < 0.999 * nodes and len(shares) < 50:
        s += (nodes - s) * (1 - (1 - p) ** s)
        shares.append(s / nodes)
    return shares


def rounds_to(shares: list[float], share: float) -> int:
    """In which round so many had heard."""
    return next((number for number, reached in enumerate(shares, 1) if reached >= share), 99)


def _lpbcast_run(seed: object, nodes: int, fanout: int, view: int) -> int:
    """Rounds until 99 % of the living have heard one broadcast; all gossip at the same moment."""
    crowd: Crowd[Given, Lpbcast] = Crowd(
        seed,
        Given,
        lambda member: Lpbcast("lab", member, LpbcastConfig(fanout=fanout, period_s=0, digest_rounds=50)),
        Faults(Network(), loss=LOSS),
    )
    for _ in range(nodes):
        crowd.add()
    crowd.kill(round(nodes * CRASHED))
    crowd.services[crowd.alive[0]].broadcast(b"an event")
    for number in range(1, 50):
        _redraw(crowd, view)
        for index in crowd.alive:
            crowd.sim.call_soon(crowd.services[index].gossip)
        crowd.sim.run_for(5.0)
        heard = 1 + sum(crowd.services[index].heard for index in crowd.alive)
        if heard >= 0.99 * len(crowd.alive):
            return number
    return 99


def _redraw(crowd: Crowd[Given, Lpbcast], size: int) -> None:
    """New views: the analysis supposes uniform ones in each round, and a membership changes them all the time."""
    nodes = len(crowd.members)
    for number in crowd.alive:
        others = [other for other in crowd.rng.sample(range(nodes), size + 1) if other != number]
        crowd.members[number].peers = [place(other) for other in others[:size]]


def _lpbcast(setting: Setting) -> Iterator[Report]:
    cases = [(125, 3, 6), (125, 5, 4), (250, 3, 6), (500, 3, 7), (1000, 3, 7), (1000, 4, 6)]
    cases = cases[: setting.pick(2, len(cases))]
    runs = setting.pick(3, 10)
    for index, (nodes, fanout, paper) in enumerate(cases):
        yield Progress(f"lpbcast, n = {nodes}", index / len(cases))
        assert rounds_to(infected(nodes, fanout), 0.99) == paper, "the recursion of PAPERS.md"
        for view in (15, 30) if setting.scale == "small" else (10, 20, 30):
            seeds = [f"{setting.seed}/{nodes}/{fanout}/{view}/{run}" for run in range(runs)]
            rounds = fmean(_lpbcast_run(seed, nodes, fanout, view) for seed in seeds)
            what = f"rounds to 99 %, n = {nodes}, F = {fanout}, l = {view}"
            yield around("L1", what, f"recursion {paper}", rounds, paper, 1, f"{runs} runs")


def _randcast(setting: Setting) -> Iterator[Report]:
    nodes, runs, size = setting.pick(600, 10_000), setting.pick(10, 30), 20
    crowd: Crowd[Cyclon, Pusher] = Crowd(
        setting.seed,
        functools.partial(Cyclon, "lab", CyclonConfig(view_size=size, period_s=0)),
        lambda member: Pusher("lab", member, PushConfig(buffer_limit=4)),
        Network(delay_s=UNIT_DELAY),
    )
    for _ in range(nodes):
        crowd.add()
    for number, member in enumerate(crowd.members):
        know(member.links, [other for other in crowd.rng.sample(range(nodes), size + 1) if other != number][:size])
    rounds = setting.pick(20, 50)
    for number in range(rounds):
        yield Progress("Cyclon", 0.5 * number / rounds)
        crowd.round(Cyclon.shuffle)
    yield from _misses(setting, crowd, "L2", runs, size)


def _uniform(setting: Setting) -> Iterator[Report]:
    nodes, runs = setting.pick(1000, 10_000), setting.pick(10, 30)
    crowd: Crowd[Given, Pusher] = Crowd(
        setting.seed,
        Given,
        lambda member: Pusher("lab", member, PushConfig(buffer_limit=4)),
        Network(delay_s=UNIT_DELAY),
    )
    everybody(crowd, nodes)
    yield from _misses(setting, crowd, "L3", runs, None)


def everybody(crowd: Crowd[Given, Pusher] | Crowd[Given, Mon], nodes: int) -> None:
    """So many nodes, each of which may pick any other."""
    for _ in range(nodes):
        crowd.add()
    contacts = [place(number) for number in range(nodes)]
    for member in crowd.members:
        member.peers = contacts


def _misses(setting: Setting, crowd: Crowd[M, Pusher], id: str, runs: int, size: int | None) -> Iterator[Report]:
    note = f"N = {len(crowd.members)}, {runs} broadcasts"
    for fanout in (2, 3, 4, 5) if setting.scale == "paper" else (2, 3):
        yield Progress(f"F = {fanout}", 0.5 + fanout / 12)
        for service in crowd.services:
            service.config = PushConfig(fanout=fanout, buffer_limit=4)
        # A broadcast that dies in its first steps tells about luck with two links, not about the many.
        shares = [share for share, _ in flood(crowd, runs) if share > 0.5]
        missed = 1 - fmean(shares)
        closed = 1 - reach(fanout, size)
        slack = {"L2": 0.15, "L3": 0.1}[id] if setting.scale == "paper" else 0.4
        what = f"missed by one-shot push, F = {fanout}, " + (f"Cyclon l = {size}" if size else "uniform targets")
        yield around(id, what, f"closed form {closed:.3%}", missed, closed, slack * closed, note)


def reach(fanout: int, size: int | None) -> float:
    """The share reached: r = 1 - (1 - F r / l)**l over views of l, r = 1 - e**(-F r) over everybody."""
    r = 1.0
    for _ in range(1000):
        r = 1 - ((1 - fanout * r / size) ** size if size else math.exp(-fanout * r))
    return r


def _mon(setting: Setting) -> Iterator[Report]:
    nodes = setting.pick(1000, 10_000)
    note = f"N = {nodes}"
    for index, (fanout, dag) in enumerate(((3, False), (5, False), (10, False), (5, True))):
        yield Progress(f"a session, k = {fanout}", index / 4)
        config = MonConfig(fanout=fanout, dag=dag, tree_life_s=3600, repeat_s=0)
        crowd: Crowd[Given, Mon] = Crowd(
            f"{setting.seed}/{fanout}/{dag}", Given, functools.partial(_make_mon, config), Network(delay_s=UNIT_DELAY)
        )
        everybody(crowd, nodes)
        crowd.services[0].broadcast(b"a body")
        crowd.sim.run_for(5.0)
        yield from _session(setting, crowd, fanout, dag, note)


def _make_mon(config: MonConfig, member: Given) -> Mon:
    return Mon("lab", member, config)


def _session(setting: Setting, crowd: Crowd[Given, Mon], fanout: int, dag: bool, note: str) -> Iterator[Row]:
    services = crowd.services
    covered = 1 + sum(service.heard for service in services)
    kind = f"{'DAG' if dag else 'tree'}, k = {fanout}"
    closed = reach(fanout, None)
    if not dag:
        slack = 0.003 if setting.scale == "paper" else 0.02
        paper = f"closed form {closed:.4%}"
        yield around(
            "MO1", f"covered by one session, k = {fanout}", paper, covered / len(services), closed, slack, note
        )
    sessions = sum(service.invitations for service in services)
    yield exactly("MO2", f"Session messages, {kind}", "covered x k", sessions, covered * fanout, note)
    branches: list[Branch] = [next(iter(service.sessions.values())) for service in services if service.sessions]
    parents = sum(len(branch.parents) for branch in branches)
    copies = sum(service.heard + service.duplicates for service in services)
    yield exactly("MO2", f"copies, {kind}", "sum of parents" if dag else "covered - 1", copies, parents, note)
    if dag:
        levels = [next(iter(service.sessions.values())).level if service.sessions else 0 for service in services]
        uphill = sum(
            levels[parent - 1] >= levels[number]
            for number, service in enumerate(services)
            for branch in service.sessions.values()
            for parent in branch.parents
        )
        yield exactly("MO3", "links that do not go to a higher level", "0", uphill, 0, note)
    else:
        yield exactly("MO2", f"parents, {kind}", "covered - 1", parents, covered - 1, note)


EXPERIMENTS = (
    Experiment(("L1",), "lpbcast", _lpbcast),
    Experiment(("L2",), "one-shot push over Cyclon", _randcast),
    Experiment(("L3",), "one-shot push to anybody", _uniform),
    Experiment(("MO1", "MO2", "MO3"), "MON", _mon),
)
