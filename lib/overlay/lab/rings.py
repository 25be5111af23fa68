"""Rings of simulated Chord nodes that begin in the state which stabilization would have brought them to."""

from __future__ import annotations

import contextlib
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.errors import Indefinite
from overlay.ids import Key, distance
from overlay.ring.fingers import FingerConfig, offsets
from overlay.ring.lookup import Found
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.ring.pings import Pings
from overlay.ring.watching import PingConfig
from overlay.sim import Network, Simulation

T = TypeVar("T")

BITS = 32
"""Enough to keep some ten thousand nodes apart; the width of the circle changes no figure."""
NEVER_S = 1e9
"""Between two repairs of a finger where stabilization is frozen."""


class Frozen(Pings):
    """A failure detector that never looks: stabilization is frozen."""

    __slots__ = ()

    def begin(self) -> None:
        """No rounds."""

    def watch(self, ranks: Mapping[Contact, int], awaited: frozenset[int] = frozenset()) -> None:
        """Nobody is watched."""


class Spread(Pings):
    """Nodes that begin together, as if each had begun at a moment of its own."""

    __slots__ = ()

    def begin(self) -> None:
        """The first round at a random time within an interval."""
        self.ctx.after(self.ctx.rng.random() * self.config.interval_s, super().begin)


def root_of(key: int, line: Sequence[int]) -> int:
    """The first id at or behind a key; `line` is sorted."""
    return line[bisect_left(line, key) % len(line)]


def contact_of(number: int, index: int) -> Contact:
    """The node with this id, which is the index-th of a simulation."""
    return Contact(Key(number), f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", 4000, 1)


def point(parts: RingParts, line: Sequence[int], index: int, contact_at: Callable[[int], Contact]) -> None:
    """Give the node at this index of the line the pointers and fingers to which stabilization would have brought it."""
    assert parts.fingers is not None
    chord, number, size = parts.chord, line[index], len(line)
    bits = chord.config.bits
    reach = min(chord.config.successors, size - 1)
    ahead = [contact_at((index + step) % size) for step in range(1, reach + 1)]
    starts = offsets(bits, parts.fingers.config.base_bits)
    if ahead:
        # Up to the first successor every finger is that one.
        starts = starts[bisect_left(starts, distance(number, ahead[0].id, bits)) :]
    places = {bisect_left(line, (number + start) % (1 << bits)) % size: None for start in starts}
    parts.fingers.install([*ahead[:1], *map(contact_at, places)])
    chord.begin(ahead, [contact_at((index - step) % size) for step in range(1, min(3, size))], awaited=False)


class ComputedRing:
    """Nodes with the right pointers and fingers from the beginning (the "oracle" of PAPERS.md's rows)."""

    def __init__(
        self, seed: object, size: int, *, successors: int, interval_s: float | None = None, fix_s: float = 30.0
    ):
        self.rng = random.Random(f"{seed}/ring")
        self.sim = Simulation(seed, Network())
        self.config = RingConfig(bits=BITS, successors=successors, shown=min(2, successors))
        self.interval_s = interval_s
        self.fingers = FingerConfig(fix_s=NEVER_S if interval_s is None else fix_s)
        self._count = 0
        numbers = set[int]()
        while len(numbers) < size:
            numbers.add(self.rng.getrandbits(BITS))
        line = sorted(numbers)
        self.members = {number: self.add(number, first=True) for number in line}
        contacts = [parts.chord.ctx.me for parts in self.members.values()]
        for index, parts in enumerate(self.members.values()):
            point(parts, line, index, contacts.__getitem__)

    def add(self, number: int, *, first: bool = False) -> RingParts:
        """A node that runs and is in no ring yet. Without an interval, its stabilization is frozen."""
        self._count += 1
        pings: Pings = Frozen()
        if self.interval_s is not None:
            pings = (Spread if first else Pings)(PingConfig(interval_s=self.interval_s))
        parts = RingParts(ring=self.config, fingers=self.fingers, pings=pings)
        self.sim.start(self.sim.add(contact_of(number, self._count), *self.protocols_of(number, parts)))
        return parts

    def protocols_of(self, number: int, parts: RingParts) -> tuple[Protocol, ...]:
        """What runs at a node."""
        return parts.protocols()

    # What happens to it --------------------------------------------------------------------------------------

    def crash(self, number: int) -> None:
        """One node is gone."""
        self.sim.crash(self.members.pop(number).chord.ctx.me)

    def crash_each(self, probability: float) -> None:
        """Every node fails with this probability, all at once."""
        for number in [number for number in self.members if self.rng.random() < probability]:
            self.crash(number)

    def ask(self, *, retry: bool = True) -> tuple[int, Pending[Found]]:
        """A lookup of a random key by a random member."""
        key = self.rng.getrandbits(BITS)
        return key, self.rng.choice(list(self.members.values())).lookups.lookup(key, retry=retry)

    def look_up(self, keys: Iterable[int], timeout_s: float = 60.0) -> list[tuple[int, Found | None]]:
        """Look keys up, each from a random member; all at once, for a lookup does not disturb another."""
        askers = list(self.members.values())
        lookups = [(key, self.rng.choice(askers).lookups.lookup(key)) for key in keys]
        run_all(self.sim, [pending for _, pending in lookups], timeout_s)
        return [(key, p.result() if p.done and p.error is None else None) for key, p in lookups]


def run_all(sim: Simulation, pendings: Sequence[Pending[T]], timeout_s: float) -> None:
    """Let time pass until all of them are done, or for so long."""
    left = len(pendings)
    over: Pending[None] = Pending()

    def done(_: Pending[T]) -> None:
        nonlocal left
        left -= 1
        if not left:
            over.resolve(None)

    for pending in pendings:
        pending.when_done(done)
    with contextlib.suppress(Indefinite):
        sim.run_until(over, timeout_s)
