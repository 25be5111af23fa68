"""C6 and C7: lookups while nodes come and go (CH03, table III; CH01, section 6.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean

from overlay.core.pending import Pending
from overlay.lab.experiment import Experiment, Progress, Report, Row, Setting, around, at_most, on_curve
from overlay.lab.rings import BITS, ComputedRing, root_of
from overlay.ring.lookup import Found
from overlay.ring.parts import RingParts

STABILIZE_S = 30.0
"""Between two rounds, on average (CH03: uniform in [15, 45] s; ours are even, and spread over the nodes)."""

TABLE_III = {
    0.05: (3.90, 0.05, 0),
    0.10: (3.83, 0.11, 0),
    0.15: (3.84, 0.16, 2),
    0.20: (3.81, 0.23, 5),
    0.25: (3.83, 0.30, 6),
    0.30: (3.91, 0.34, 8),
    0.35: (3.94, 0.42, 16),
    0.40: (4.06, 0.46, 15),
}
"""Path length, timeouts, failures in 10,000 lookups, by joins and by leaves a second (CH03, table III)."""
FIX_S = 3 * STABILIZE_S
"""Between two refreshed fingers. CH03 refreshes one other entry a round, of some 10 fingers and 20 successors; here a round
brings the whole list of successors (ZV15), and the fingers are refreshed as often as there."""


class ChurningRing:
    """A ring whose nodes come and go at random times, and in which somebody always looks something up."""

    def __init__(self, seed: object, size: int, rate: float, *, fix_s: float, crash: bool):
        self.ring = ComputedRing(seed, size, successors=20, interval_s=STABILIZE_S, fix_s=fix_s)
        self.rate = rate
        """Joins a second, and as many departures."""
        self.crashing = crash
        self.hops: list[int] = []
        self.timeouts: list[int] = []
        self.failures = 0
        self.lookups = 0
        self._lines: list[tuple[float, list[int]]] = []
        """Who was a member, from when on; a newcomer counts from when it is let in, a leaver until it is gone."""
        self._note()

    def run(self, seconds: float, lookups_per_s: float = 1.0, *, retry: bool = True) -> Iterator[float]:
        """Let it be for a while; how far that is, from 0 to 1, now and then."""
        sim = self.ring.sim
        sim.run_for(STABILIZE_S)
        end = sim.now + seconds
        for rate, what in (
            (self.rate, self._join),
            (self.rate, self._leave),
            (lookups_per_s, partial(self._look_up, retry)),
        ):
            self._again(end, rate, what)
        for step in range(20):
            yield step / 20
            sim.run_for(seconds / 20)
        sim.run_for(30)

    def _again(self, end: float, rate: float, what: Callable[[], None]) -> None:
        sim = self.ring.sim

        def happen() -> None:
            if sim.now < end:
                what()
                self._again(end, rate, what)

        sim.at(sim.now + self.ring.rng.expovariate(rate), happen)

    def _join(self) -> None:
        number = self.ring.rng.getrandbits(BITS)
        if number in self.ring.members:
            return
        known = self.ring.rng.choice(list(self.ring.members.values())).chord.ctx.me
        parts = self.ring.add(number)

        def let_in() -> None:
            if parts.chord.member and number not in self.ring.members:
                self.ring.members[number] = parts
                self._note()

        parts.chord.on_change.append(let_in)
        parts.admission.join(known.host, known.port, 30)

    def _leave(self) -> None:
        number = self.ring.rng.choice(list(self.ring.members))
        parts = self.ring.members[number]
        if self.crashing:
            self.ring.crash(number)
            self._note()
        elif not parts.chord.leaving:
            parts.admission.depart(lambda: self._left(number, parts))

    def _left(self, number: int, parts: RingParts) -> None:
        del self.ring.members[number]
        self._note()
        self.ring.sim.call_soon(self.ring.sim.stop, parts.chord.ctx.me)

    def _look_up(self, retry: bool) -> None:
        key, began = self.ring.rng.getrandbits(BITS), self.ring.sim.now
        asker = self.ring.rng.choice([p for p in self.ring.members.values() if not p.chord.leaving])

        def done(pending: Pending[Found]) -> None:
            self.lookups += 1
            if pending.error is not None or int(pending.result().root.id) not in self._roots(key, began):
                self.failures += 1
            else:
                self.hops.append(pending.result().hops)
                self.timeouts.append(pending.result().timeouts)

        asker.lookups.lookup(key, retry=retry).when_done(done)

    def _note(self) -> None:
        self._lines.append((self.ring.sim.now, sorted(self.ring.members)))
        del self._lines[:-200]

    def _roots(self, key: int, since: float) -> set[int]:
        roots = set()
        for at, line in reversed(self._lines):
            roots.add(root_of(key, line))
            if at < since:
                break
        return roots


def _table_iii(setting: Setting, rate: float) -> Iterator[Report]:
    """N = 1,000, r = 20; one lookup a second for two hours."""
    nodes, seconds = setting.pick(200, 1_000), setting.pick(200, 7_200)
    churn = ChurningRing(f"{setting.seed}/{rate}", nodes, rate * nodes / 1_000, fix_s=FIX_S, crash=False)
    for done in churn.run(seconds, 1.0 if setting.scale == "paper" else 4.0):
        yield Progress(f"{rate:g} joins and leaves a second", done)
    hops, timeouts, failures = TABLE_III[rate]
    of, ours = f"R = {rate:g}", (fmean(churn.hops), fmean(churn.timeouts), 10_000 * churn.failures / churn.lookups)
    note = "" if setting.scale == "paper" else "200 nodes, so shorter paths"
    if setting.scale == "paper":
        length = around("C6", f"path length, {of}", f"{hops:g}", ours[0], hops, 0.07 * hops)
        silent = around("C6", f"timeouts, {of}", f"{timeouts:g}", ours[1], timeouts, 0.4 * timeouts)
    else:
        length = at_most("C6", f"path length, {of}", f"{hops:g}", ours[0], hops, note)
        silent = at_most("C6", f"timeouts, {of}", f"{timeouts:g}", ours[1], 1.4 * timeouts, note)
    few = max(2 * failures, 2)
    yield on_curve(length, "path length", "R", rate)
    yield on_curve(silent, "timeouts", "R", rate)
    failed = at_most("C6", f"failures in 10,000, {of}", f"{failures}", ours[2], few, note)
    yield on_curve(failed, "failures in 10,000", "R", rate)


def _no_retry(setting: Setting) -> Iterator[Report]:
    """500 nodes, every finger refreshed every 30 s; nodes crash; a lookup fails at the first silent node."""
    nodes, seconds = setting.pick(100, 500), setting.pick(200, 1_800)
    shares = {}
    for index, rate in enumerate((0.1, 0.2)):
        # Some log2 N fingers are distinct, and one is refreshed at a time.
        churn = ChurningRing(f"{setting.seed}/{rate}", nodes, rate * nodes / 500, fix_s=STABILIZE_S / 9, crash=True)
        for done in churn.run(seconds, 4.0, retry=False):
            yield Progress(f"{rate:g} crashes a second", (index + done) / 2)
        shares[rate] = churn.failures / churn.lookups
    note = "" if setting.scale == "paper" else "a fifth of the nodes, and of the crashes"
    low = 0.02 if setting.scale == "paper" else 0.0
    yield Row("C7", "failed lookups, R = 0.1", "0.03 expected, a little more", shares[0.1], low, 0.08, note)
    if setting.scale == "paper":
        yield around("C7", "R = 0.2 to R = 0.1", "2: linear in R", shares[0.2] / shares[0.1], 2.0, 0.5)
    else:
        yield Row("C7", "failed lookups, R = 0.2", "twice as many", shares[0.2], low, 0.16, note)


EXPERIMENTS = (
    *(
        Experiment(("C6",), f"joins and leaves, R = {rate:g}", partial(_table_iii, rate=rate))
        for rate in (0.2, *[rate for rate in TABLE_III if rate != 0.2])
    ),
    Experiment(("C7",), "crashes without retries", _no_retry),
)
