"""Many simulated nodes of one kind, and rounds: what the experiments with gossip have in common."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from overlay.core.message import Contact
from overlay.core.trace import Observer
from overlay.gossip.base import MembershipService, Service
from overlay.ids import Key
from overlay.sim import Network, Simulation

ROUND_S = 10.0
"""A round of an experiment: everybody acts once in its first tenth, the rest is for what follows from it. Long enough
that a peer that does not answer is given up, and others are tried, within the round."""

JOIN_S = 0.05
"""For one join, with all that follows from it, on a LAN."""

M = TypeVar("M", bound=MembershipService)
S = TypeVar("S", bound=Service)


def place(number: int) -> Contact:
    """The contact of node `number`."""
    return Contact(Key(number + 1), f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 4000, 1)


class Crowd(Generic[M, S]):
    """Nodes 0, 1, 2, ... with a membership each, and a service on top of it where `above` says so."""

    def __init__(
        self,
        seed: object,
        make: Callable[[], M],
        above: Callable[[M], S] | None = None,
        network: Network | None = None,
        observers: Sequence[Observer] = (),
    ):
        self.sim = Simulation(seed, network, observers)
        self.rng = random.Random(f"{seed}/crowd")
        self.members: list[M] = []
        self.services: list[S] = []
        self.alive: list[int] = []
        """Who lives, in order."""
        self._make = make
        self._above = above

    def add(self, bootstrap: int | None = None) -> None:
        """One more node; it joins by that one."""
        member = self._make()
        number = len(self.members)
        protocols: list[Service] = [member]
        if self._above is not None:
            self.services.append(self._above(member))
            protocols.append(self.services[-1])
        self.sim.start(self.sim.add(place(number), *protocols))
        self.members.append(member)
        self.alive.append(number)
        member.join([] if bootstrap is None else [place(bootstrap).address])

    def grow(self, count: int) -> None:
        """So many more, one by one through node 0, each when the one before it is in."""
        for _ in range(count):
            self.add(0 if self.members else None)
            self.sim.run_for(JOIN_S)

    def round(self, verb: Callable[[M], None]) -> None:
        """Everybody acts once, at a random moment; then wait until all is quiet."""
        for number in self.alive:
            self.sim.at(self.sim.now + self.rng.random() * ROUND_S / 10, verb, self.members[number])
        self.sim.run_for(ROUND_S)

    def kill(self, count: int) -> None:
        """So many at once, at random."""
        gone = set(self.rng.sample(self.alive, count))
        self.alive = [number for number in self.alive if number not in gone]
        for number in sorted(gone):
            self.sim.crash(place(number))

    def branch(self) -> Crowd[M, S]:
        """The same nodes at the same moment, in a world of their own: several things can be done to one overlay."""
        return copy.deepcopy(self)

    def graph(self) -> list[list[int]]:
        """The links among those that live, by their place in `alive`. Links to the dead are left out."""
        places = {number + 1: index for index, number in enumerate(self.alive)}
        return [
            [places[peer.id] for peer in self.members[number].neighbors() if peer.id in places] for number in self.alive
        ]

    def links(self) -> tuple[int, int]:
        """How many links those that live have, and how many of these are to the dead."""
        alive = {number + 1 for number in self.alive}
        peers = [peer.id for number in self.alive for peer in self.members[number].neighbors()]
        return len(peers), sum(id not in alive for id in peers)


UNIT_DELAY = (0.001, 0.001)
"""Of every link, where hops are compared with the rounds of a paper's cycle-driven simulator."""


def fill(crowd: Crowd[M, S], count: int, know: Callable[[M, Sequence[Contact]], None], size: int) -> None:
    """So many nodes at once, each of which knows `size` others at random: a computed beginning."""
    for _ in range(count):
        crowd.add()
    for number in crowd.alive:
        others = crowd.rng.sample(range(count - 1), min(size, count - 1))
        know(crowd.members[number], [place(other + (other >= number)) for other in others])
