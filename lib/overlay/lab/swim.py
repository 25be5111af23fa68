"""SW1 to SW6: SWIM's figures (SW02, sections 3 to 5). LG1 and LG2: Lifeguard's (LG18)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean, median, pstdev
from typing import Any

import msgspec

from overlay.core.message import Contact, Message
from overlay.core.trace import Observer
from overlay.gossip.base import Service
from overlay.gossip.detection.messages import Probe, SwimConfig
from overlay.gossip.detection.swim import Swim
from overlay.gossip.detection.updates import DEAD, Update
from overlay.ids import Key
from overlay.lab.crowd import Crowd, place
from overlay.lab.experiment import Experiment, Progress, Report, Row, Setting, around, at_least, at_most, exactly
from overlay.sim import Network, Simulation
from overlay.sim.faults import Faults

Group = Crowd[Swim, Service]
PLAIN = SwimConfig(timer=False, lifeguard=False, suspicion=False, returning=False)
"""SW02's basic detector with infection, driven in rounds."""


def group(
    seed: object,
    nodes: int,
    config: SwimConfig,
    network: Network | None = None,
    observers: Sequence[Observer] = (),
) -> Group:
    """A group in which everybody knows everybody: a computed beginning, as after a long quiet time."""
    crowd: Group = Crowd(seed, lambda: Swim("lab", config), network=network, observers=observers)
    for _ in range(nodes):
        crowd.add()
    everybody = [Update(place(number), 0, 0) for number in range(nodes)]
    for number, member in enumerate(crowd.members):
        member.admitted(place(number), _Known(tuple(everybody[:number] + everybody[number + 1 :])))
        member.hush()
    return crowd


class _Known(msgspec.Struct):
    updates: tuple[Update, ...]


def a_round(crowd: Group) -> None:
    """One period: all probe at once, and what follows from that."""
    for number in crowd.alive:
        crowd.sim.call_soon(crowd.members[number].probe)
    # A little more than a period, so that what ends with the period has ended.
    crowd.sim.run_for(crowd.members[0].config.period_s * 1.001)


def finders(crowd: Group, victim: int) -> int:
    """How many know that node `victim` is dead."""
    members = (crowd.members[number].members.get(Key(victim + 1)) for number in crowd.alive)
    return sum(member is None or member.status == DEAD for member in members)


# SW1, SW4: detection and dissemination ---------------------------------------------------------------------------


def _first(setting: Setting) -> Iterator[Report]:
    """A crash, and how many periods pass until somebody has found it, and until everybody knows."""
    sizes = ((16, 60), (56, 60)) if setting.scale == "small" else ((16, 2000), (56, 2000), (500, 1000))
    medians: dict[int, float] = {}
    for index, (nodes, crashes) in enumerate(sizes):
        first: list[int] = []
        known: list[int] = []
        while len(first) < crashes:
            yield Progress(f"crashes in a group of {nodes}", (index + len(first) / crashes) / len(sizes))
            crowd = group(f"{setting.seed}/{nodes}/{len(first)}", nodes, PLAIN)
            for number in range(max(2, nodes // 8)):
                # How far the news has gone is looked at now and then: it takes much longer than the detection.
                took, spread = _crash(crowd, follow=number % max(1, nodes // 50) == 0)
                first.append(took)
                known += spread
        expected = _expected(nodes - max(2, nodes // 8) // 2)
        slack = 0.06 if setting.scale == "paper" else 0.45
        note = f"{len(first)} crashes; e/(e-1) = 1.582 for a large group, {expected:.2f} for this one"
        yield around("SW1", f"periods to the first detection, n = {nodes}", "1.58", fmean(first), expected, slack, note)
        medians[nodes] = median(known)
        most = PLAIN.spread * math.log(nodes)
        yield at_most(
            "SW4", f"median periods until a death is known, n = {nodes}", "lambda log n", medians[nodes], most
        )
    growth = medians[max(medians)] / max(medians[16], 1)
    largest = math.log(max(medians)) / math.log(16)
    yield Row("SW4", f"the same, n = {max(medians)} beside n = 16", f"log: {largest:.2f}", growth, 1, 1.5 * largest)


def _expected(nodes: int) -> float:
    return 1 / (1 - (1 - 1 / (nodes - 1)) ** (nodes - 1))


def _crash(crowd: Group, *, follow: bool) -> tuple[int, list[int]]:
    """One crash: after how many periods it was found, and, if wanted, after how many more each other member knew."""
    victim = crowd.rng.choice(crowd.alive)
    crowd.alive.remove(victim)
    crowd.sim.crash(place(victim))
    took = 0
    while not finders(crowd, victim):
        a_round(crowd)
        took += 1
    spread, knew = [], finders(crowd, victim)
    for number in range(1, 100):
        if knew == len(crowd.alive) or not follow:
            break
        a_round(crowd)
        now = finders(crowd, victim)
        spread += [number] * (now - knew)
        knew = now
    return took, spread


# SW2, SW3: completeness and load ---------------------------------------------------------------------------------


class _Tally(Observer):
    """Counts messages, and remembers in which round who was probed by whom."""

    def __init__(self) -> None:
        self.sent_by: Counter[int] = Counter()
        self.round = 0
        self.last: dict[tuple[int, int], int] = {}
        self.longest = 0

    def sent(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        self.sent_by[node.id] += 1
        if isinstance(message, Probe):
            pair = (node.id, peer.id)
            self.longest = max(self.longest, self.round - self.last.get(pair, 0))
            self.last[pair] = self.round


def _load(setting: Setting) -> Iterator[Report]:
    for nodes in (16, 56) if setting.scale == "small" else (16, 56, 200):
        rounds = setting.pick(6, 10) * nodes if nodes == 16 else setting.pick(1, 4) * nodes
        tally = _Tally()
        crowd = group(setting.seed, nodes, PLAIN, observers=[tally])
        for tally.round in range(1, rounds + 1):
            if tally.round % 10 == 1:
                yield Progress(f"a quiet group of {nodes}", tally.round / rounds)
            a_round(crowd)
        load = sum(tally.sent_by.values()) / nodes / rounds
        yield around("SW3", f"messages sent by a member in a period, n = {nodes}", "2.0", load, 2.0, 0.05)
        if nodes == 16:
            late = max(rounds - last for last in tally.last.values())
            longest = max(tally.longest, late)
            yield at_most("SW2", "periods between two probes of one by another, n = 16", "2n-1", longest, 2 * nodes - 1)
            yield exactly("SW2", "pairs in which one was never probed", "0", nodes * (nodes - 1) - len(tally.last), 0)


# SW5, SW6: loss --------------------------------------------------------------------------------------------------


def _loss(setting: Setting) -> Iterator[Report]:
    """17 members join one by one with 10 % loss; whoever hears that it is dead leaves. How many are left?"""
    rounds = setting.pick(60, 100)
    # A suspicion lasts as long as its news is told: lambda log n periods.
    alpha = PLAIN.spread * math.log(10)
    variants = {
        "suspicion": msgspec.structs.replace(PLAIN, suspicion=True, alpha=alpha, forget_s=1e9),
        "infection": msgspec.structs.replace(PLAIN, forget_s=1e9),
        "basic": msgspec.structs.replace(PLAIN, infection=False, forget_s=1e9),
    }
    # How many are left without suspicion is largely chance, and takes many runs to compare.
    runs = dict.fromkeys(variants, setting.pick(3, 600)) | {"suspicion": setting.pick(3, 20)}
    left: dict[str, list[int]] = {name: [] for name in variants}
    for name, config in variants.items():
        for run in range(runs[name]):
            done = sum(map(len, left.values())) / sum(runs.values())
            yield Progress(f"17 members with {name}", done)
            left[name].append(_left(f"{setting.seed}/{run}", config, rounds))
    paper = {"suspicion": "12", "infection": "4", "basic": "2"}
    ours = ", ".join(
        f"{name} {fmean(sizes):.1f}, from run to run {pstdev(sizes):.1f} (paper {paper[name]})"
        for name, sizes in left.items()
    )
    note = f"{rounds} periods, {runs['basic']} runs: {ours}"
    gain = fmean(left["suspicion"]) - fmean(left["infection"])
    yield at_least("SW5", "members left with suspicion, beyond those with infection alone", "8", gain, 2, note)
    if setting.scale == "paper":
        gain = fmean(left["infection"]) - fmean(left["basic"])
        yield at_least("SW5", "members left with infection, beyond those with basic SWIM", "2 (one run)", gain, 0, note)


def _left(seed: object, config: SwimConfig, rounds: int) -> int:
    crowd: Group = Crowd(seed, lambda: Swim("lab", config), network=Faults(Network(), loss=0.1))
    for _ in range(17):
        crowd.add(0 if crowd.members else None)
        a_round(crowd)
    for _ in range(rounds):
        a_round(crowd)
        for number in [number for number in crowd.alive if crowd.members[number].expelled]:
            crowd.alive.remove(number)
            crowd.sim.crash(place(number))
    return len(crowd.alive)


def _false_positives(setting: Setting) -> Iterator[Report]:
    """How often a probe of a member that lives finds silence, with 10 % of the datagrams lost."""
    loss, helpers = 0.1, 3
    nodes, wanted = 20, setting.pick(20_000, 300_000)
    config = msgspec.structs.replace(PLAIN, suspicion=True, alpha=1e6, helpers=helpers)
    crowd = group(setting.seed, nodes, config, Faults(Network(), loss=loss))
    probes = 0
    while probes < wanted:
        yield Progress("probing", probes / wanted)
        a_round(crowd)
        probes = sum(member.probes for member in crowd.members)
    silent = sum(member.silences for member in crowd.members) / probes
    expected = (1 - (1 - loss) ** 2) * (1 - (1 - loss) ** 4) ** helpers
    slack = 3 * math.sqrt(expected * (1 - expected) / probes)
    note = f"{probes:,} probes; within three standard deviations"
    yield around(
        "SW6", "false positives a probe, 10 % loss, k = 3", f"closed form {expected:.4f}", silent, expected, slack, note
    )


# Lifeguard -------------------------------------------------------------------------------------------------------


class SlowInbox(Network):
    """Some members read what has come only now and then, while their clocks go on: they hear everything late."""

    plain = False

    def __init__(self, slow: Sequence[Contact], blocked_s: float, open_s: float):
        super().__init__()
        self.slow = {contact.address for contact in slow}
        self.blocked_s, self.open_s = blocked_s, open_s
        self.sim: Simulation

    def copies(self, sender: Contact, peer: Contact, reliable: bool) -> Sequence[float]:
        delay = self.draw()
        if peer.address in self.slow:
            # Each slow member has its own rhythm.
            cycle = self.blocked_s + self.open_s
            phase = (self.sim.now + delay + peer.id * 1.7) % cycle
            if phase < self.blocked_s:
                delay += self.blocked_s - phase
        return (delay,)


class _Deaths(Observer):
    """Who was taken for dead, by whom, when."""

    def __init__(self) -> None:
        self.all: list[tuple[float, int, int]] = []

    def recorded(self, now: float, node: Contact, service: str, what: str, fields: dict[str, Any]) -> None:
        if what == "dead":
            self.all.append((now, int(node.id), int(fields["peer"])))


def _anomaly(seed: object, nodes: int, slow: int, seconds: float, config: SwimConfig) -> tuple[int, int]:
    """Members that hear late: how often a healthy member was taken for dead, and how often by a healthy one."""
    network = SlowInbox([place(number) for number in range(slow)], 12.0, 1.0)
    deaths = _Deaths()
    crowd = group(f"{seed}/{slow}", nodes, config, network, [deaths])
    network.sim = crowd.sim
    crowd.sim.run_for(seconds)
    false = [by for _, by, of in deaths.all if of > slow]
    return len(false), sum(by > slow for by in false)


def _latency(seed: object, nodes: int, config: SwimConfig) -> float:
    """A crash in a healthy group: after how many seconds half of the members knew."""
    deaths = _Deaths()
    crowd = group(seed, nodes, config, observers=[deaths])
    crowd.sim.run_for(5.0)
    began = crowd.sim.now
    crowd.sim.crash(place(nodes - 1))
    crowd.sim.run_for(60.0)
    return median(at - began for at, _, of in deaths.all if of == nodes)


def _lifeguard(setting: Setting) -> Iterator[Report]:
    nodes, seconds, crashes = setting.pick(32, 100), setting.pick(40, 300), setting.pick(3, 20)
    counts = (4,) if setting.scale == "small" else (2, 4, 8, 12)
    variants = {
        "SWIM": SwimConfig(lifeguard=False, alpha=5.0),
        "Lifeguard": SwimConfig(lifeguard=True, alpha=5.0),
        "Lifeguard, alpha = 4": SwimConfig(lifeguard=True, alpha=4.0),
    }
    false: dict[str, int] = {}
    healthy: dict[str, int] = {}
    for name, config in variants.items():
        yield Progress(f"slow members, {name}", len(false) / 4)
        results = [_anomaly(setting.seed, nodes, slow, seconds, config) for slow in counts]
        false[name], healthy[name] = sum(one for one, _ in results), sum(other for _, other in results)
    note = f"N = {nodes}, of which {counts} slow, {seconds} s each; {false}, of these by healthy members {healthy}"
    ratio = false["SWIM"] / max(false["Lifeguard"], 1)
    yield at_least("LG1", "false positives about healthy members, SWIM beside Lifeguard", "> 50x", ratio, 10, note)
    ratio = false["SWIM"] / max(false["Lifeguard, alpha = 4"], 1)
    yield at_least("LG2", "the same, alpha = 4 beside SWIM's 5", "20x", ratio, 2, note)
    yield Progress("crashes", 0.75)
    times = {
        name: fmean(_latency(f"{setting.seed}/{run}", nodes, config) for run in range(crashes))
        for name, config in variants.items()
    }
    faster = times["Lifeguard, alpha = 4"] / times["SWIM"]
    detail = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items())
    yield at_most("LG2", "time until a crash is known, alpha = 4 beside SWIM's 5", "0.8", faster, 0.9, detail)


EXPERIMENTS = (
    Experiment(("SW1", "SW4"), "SWIM finds a crash", _first),
    Experiment(("SW2", "SW3"), "SWIM's load", _load),
    Experiment(("SW5",), "SWIM with loss", _loss),
    Experiment(("SW6",), "SWIM's false positives", _false_positives),
    Experiment(("LG1", "LG2"), "Lifeguard", _lifeguard),
)
