"""One run of peers that last: a seed decides who crashes, leaves, comes back, and who hears whom meanwhile."""

from __future__ import annotations

import random

from overlay.core.message import Contact
from overlay.errors import Indefinite
from overlay.sim import Faults
from tests.lasting import Lasting
from tests.sweep.run import Wrong

HEAL_S = 300.0
"""Within which all are one ring again; those who are apart look for each other every half minute."""


class LastingRun:
    """What a seed makes of a ring. `run` raises Wrong, or returns."""

    def __init__(self, seed: int):
        self.seed = seed
        self.rng = random.Random(f"lasting/{seed}")
        self.network = Faults(loss=self.rng.choice((0.0, 0.0, 0.1, 0.2)))
        self.ring = Lasting(seed, self.rng.choice((3, 5, 8, 12)), self.network)
        self.down: list[Contact] = []

    def run(self) -> None:
        """Trouble, and then none."""
        self.ring.sim.run_for(self.rng.uniform(0, 10))
        for _ in range(self.rng.randrange(3, 14)):
            happens = self.rng.choices(
                (self._crash, self._leave, self._restart, self._power_failure, self._partition, self.network.heal),
                (35, 5, 35, 7, 10, 8),
            )
            happens[0]()
            self.ring.sim.run_for(self.rng.choice((0.0, 0.3, 2.0, 10.0, 40.0)))
        self.network.heal()
        self.network.loss = 0.0
        for place in self.down:
            self.ring.restart(place)
        try:
            self.ring.sim.run_until(self.ring.is_whole, HEAL_S)
        except Indefinite:
            pictures = [
                (place.id >> 144, chord.member, chord.first.id >> 144)
                for place in self.ring.places
                for chord in (self.ring.of(place).ring.chord,)
            ]
            raise Wrong(f"it is not one ring after {HEAL_S} s: {pictures}") from None

    def _up(self) -> list[Contact]:
        return [place for place in self.ring.places if place not in self.down]

    def _crash(self) -> None:
        if self._up():
            self._end(self.rng.choice(self._up()))

    def _end(self, place: Contact) -> None:
        self.down.append(place)
        self.ring.sim.crash(self.ring.of(place).ring.chord.ctx.me)

    def _leave(self) -> None:
        """In good order, if it comes so far; it is started again later, like the others."""
        members = [place for place in self._up() if self.ring.of(place).ring.chord.member]
        if members:
            place = self.rng.choice(members)
            left: list[None] = []
            self.ring.of(place).leave(lambda: left.append(None), 5.0)
            self.ring.sim.run_for(6.0)
            self._end(place)

    def _restart(self) -> None:
        if self.down:
            place = self.down.pop(self.rng.randrange(len(self.down)))
            self.ring.restart(place, begins=self.rng.random() < 0.2)

    def _power_failure(self) -> None:
        for place in self._up():
            self._end(place)

    def _partition(self) -> None:
        line = self.rng.sample(self.ring.places, len(self.ring.places))
        cut = self.rng.randrange(1, len(line))
        self.network.partition(line[:cut], line[cut:])


def one_lasting(seed: int) -> tuple[int, str]:
    """Run a seed: what was wrong, or nothing."""
    try:
        LastingRun(seed).run()
    except Exception as error:
        return seed, f"{type(error).__name__}: {error}"
    return seed, ""
