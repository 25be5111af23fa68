"""Rings of simulated Chord nodes that begin in the state which stabilization would have brought them to."""

from __future__ import annotations

import contextlib
import random
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import Indefinite
from overlay.ids import Key
from overlay.ring.fingers import FingerConfig, offsets
from overlay.ring.lookup import Found
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.ring.pings import Pings
from overlay.sim import Network, Simulation

BITS = 32
"""Enough to keep some ten thousand nodes apart; the width of the circle changes no figure."""


class Frozen(Pings):
    """A failure detector that never looks: stabilization is frozen."""

    __slots__ = ()

    def begin(self) -> None:
        """No rounds."""

    def watch(self, ranks: Mapping[Contact, int], awaited: frozenset[int] = frozenset()) -> None:
        """Nobody is watched."""


def root_of(key: int, line: Sequence[int]) -> int:
    """The first id at or behind a key; `line` is sorted."""
    return line[bisect_left(line, key) % len(line)]


class ComputedRing:
    """Nodes with the right pointers and fingers from the beginning (the "oracle" of PAPERS.md's rows)."""

    def __init__(
        self, seed: object, size: int, *, successors: int, interval_s: float | None = None, fix_s: float = 30.0
    ):
        self.rng = random.Random(f"{seed}/ring")
        self.sim = Simulation(seed, Network())
        self.config = RingConfig(bits=BITS, successors=successors, shown=min(2, successors))
        self.interval_s = interval_s
        self.fingers = FingerConfig(fix_s=fix_s)
        self.members: dict[int, RingParts] = {}
        self._count = 0
        numbers = set[int]()
        while len(numbers) < size:
            numbers.add(self.rng.getrandbits(BITS))
        for number in sorted(numbers):
            self.members[number] = self.add(number)
        self._point(sorted(numbers))

    def add(self, number: int) -> RingParts:
        """A node that runs and is in no ring yet. Without an interval, its stabilization is frozen."""
        self._count += 1
        me = Contact(Key(number), f"10.{self._count >> 16}.{self._count >> 8 & 255}.{self._count & 255}", 4000, 1)
        pings = Frozen() if self.interval_s is None else None
        parts = RingParts(self.interval_s or 3.0, self.config, fingers=self.fingers, pings=pings)
        self.sim.start(self.sim.add(me, *parts.protocols()))
        return parts

    def _point(self, line: list[int]) -> None:
        contacts = [self.members[number].chord.ctx.me for number in line]
        place = {number: index for index, number in enumerate(line)}
        size, reach = len(line), min(self.config.successors, len(line) - 1)
        for index, number in enumerate(line):
            parts = self.members[number]
            ahead = [contacts[(index + step) % size] for step in range(1, reach + 1)]
            starts = [(number + offset) % (1 << BITS) for offset in offsets(BITS, self.fingers.base_bits)]
            assert parts.fingers is not None
            parts.fingers.install(contacts[place[root_of(start, line)]] for start in starts)
            before = [contacts[index - step] for step in range(1, min(3, size))]
            if self.interval_s is None:
                parts.chord.begin(ahead, before, awaited=False)
            else:
                # Rounds of real nodes are spread over the interval.
                at = self.rng.random() * self.interval_s
                self.sim.at(at, lambda p=parts, a=ahead, b=before: p.chord.begin(a, b, awaited=False))

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
        open_lookups = [(key, self.rng.choice(askers).lookups.lookup(key)) for key in keys]
        with contextlib.suppress(Indefinite):
            self.sim.run_until(lambda: open_lookups[-1][1].done and all(p.done for _, p in open_lookups), timeout_s)
        return [(key, p.result() if p.done and p.error is None else None) for key, p in open_lookups]
