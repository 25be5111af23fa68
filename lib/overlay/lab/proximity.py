"""P1: what proximity-chosen fingers save of a lookup's time."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from statistics import fmean

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.kbr import Answered
from overlay.lab.experiment import Experiment, Progress, Report, Setting, around, at_most
from overlay.lab.rings import BITS, Frozen, contact_of, point, run_all
from overlay.ring.fingers import FingerConfig
from overlay.ring.messages import FindFinger
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Network, Simulation

LEAST_S, ACROSS_S = 0.001, 0.1
"""The delay between two that are at one place, and what is added from one side of the square to the other."""
CANDIDATES = 9
"""A finger's first peer and its eight successors."""
PASSES_S, FIX_S = 12.0, 0.5
"""Time enough to find every finger once or twice."""
PER_BATCH = 100


class Plane(Network):
    """Peers are at random places of a square, and messages take as long as the way is."""

    plain = False

    def __init__(self, seed: object):
        super().__init__()
        self._rng = random.Random(f"{seed}/plane")
        self._places: dict[tuple[str, int], tuple[float, float]] = {}

    def copies(self, sender: Contact, peer: Contact, reliable: bool) -> Sequence[float]:
        return (LEAST_S + ACROSS_S * math.dist(self._place(sender), self._place(peer)),)

    def _place(self, contact: Contact) -> tuple[float, float]:
        place = self._places.get(contact.address)
        if place is None:
            place = self._places[contact.address] = self._rng.random(), self._rng.random()
        return place


class Lookups:
    """A ring on a plane, and how long and how many hops its lookups took."""

    def __init__(self, setting: Setting, fingers: FingerConfig):
        self.rng, self.sim = random.Random(f"{setting.seed}/P1"), Simulation(setting.seed, Plane(setting.seed))
        line = sorted(self.rng.sample(range(1 << BITS), setting.pick(128, 1024)))
        contacts = [contact_of(number, index) for index, number in enumerate(line)]
        self.members = []
        for index, contact in enumerate(contacts):
            parts = RingParts(ring=RingConfig(bits=BITS, successors=8), fingers=fingers, pings=Frozen())
            self.sim.start(self.sim.add(contact, *parts.protocols()))
            point(parts, line, index, contacts.__getitem__)
            self.members.append(parts)
        self.sim.run_for(PASSES_S)
        self.times_s: list[float] = []
        self.hops: list[int] = []
        for _ in range(setting.pick(5, 50)):
            run_all(self.sim, [self._look_up() for _ in range(PER_BATCH)], 60)

    def _look_up(self) -> Pending[Answered]:
        """Recursive, by a random member: the root answers at once."""
        began = self.sim.now

        def found(pending: Pending[Answered]) -> None:
            self.times_s.append(self.sim.now - began)
            self.hops.append(len(pending.result().path) - 1)

        pending = self.rng.choice(self.members).router.route("fingers", self.rng.getrandbits(BITS), FindFinger())
        pending.when_done(found)
        return pending


def _proximity(setting: Setting) -> Iterator[Report]:
    """Lookup times on a square, with the first peer of every interval for its finger, and with the nearest of nine."""
    times: list[float] = []
    hops: list[float] = []
    for candidates in (1, CANDIDATES):
        yield Progress(f"the best of {candidates}", 0.5 * (candidates > 1))
        ring = Lookups(setting, FingerConfig(fix_s=FIX_S, candidates=candidates))
        times.append(fmean(ring.times_s))
        hops.append(fmean(ring.hops))
    note = f"{1000 * times[0]:.0f} ms, {1000 * times[1]:.0f} ms"
    yield at_most("P1", f"lookup time, nearest of {CANDIDATES} / first", "less", times[1] / times[0], 0.85, note)
    yield around("P1", "hops, the same", "as many", hops[1] / hops[0], 1.0, 0.1)


EXPERIMENTS = (Experiment(("P1",), "proximity-chosen fingers", _proximity),)
