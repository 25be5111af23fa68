"""C8: lookups in a ring of a million nodes, of which only those exist that somebody asks."""

from __future__ import annotations

import gc
import math
import random
import resource
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from statistics import fmean

from overlay.core.message import Contact
from overlay.lab.experiment import Experiment, Progress, Report, Setting, around, at_most, exactly
from overlay.lab.rings import NEVER_S, Frozen, contact_of, point, root_of, run_all
from overlay.ring.fingers import FingerConfig, Fingers
from overlay.ring.messages import FindFinger
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Network, Simulation

BITS = 64
CONFIG = RingConfig(bits=BITS, successors=1, shown=1)
"""As in C1: with one successor, every hop but the last is a finger."""
PER_BATCH = 1_000
"""Lookups under way at a time."""
PATIENCE_S = 60.0
"""Of simulated time, for a batch."""


class OnDemand(Network):
    """A network that brings a node to life when the first message to it is on its way."""

    plain = False

    def __init__(self, ring: SparseRing):
        super().__init__()
        self._ring = ring

    def copies(self, sender: Contact, peer: Contact, reliable: bool) -> Sequence[float]:
        self._ring.wake_soon(int(peer.id))
        return super().copies(sender, peer, reliable)


class SparseRing:
    """A ring of which only the sorted ids are there. What a node points to follows from them, so a node is made, whole and
    by the code that runs on sockets, when it is first spoken to; it then answers by that code and nothing else."""

    def __init__(self, seed: object, size: int):
        self.rng = random.Random(f"{seed}/ring")
        self.sim = Simulation(seed, OnDemand(self))
        numbers = set[int]()
        while len(numbers) < size:
            numbers.add(self.rng.getrandbits(BITS))
        self.line = array("Q", sorted(numbers))
        self.awake: dict[int, RingParts | None] = {}
        """By id; None for one that is about to wake."""

    def wake_soon(self, number: int) -> None:
        """Before its next message arrives."""
        if number not in self.awake:
            self.awake[number] = None
            self.sim.call_soon(self._wake, number)

    def _wake(self, number: int) -> None:
        self.node(number)

    def node(self, number: int) -> RingParts:
        """The node with this id, which lives from now on."""
        parts = self.awake.get(number)
        if parts is None:
            index = bisect_left(self.line, number)
            parts = self.awake[number] = RingParts(ring=CONFIG, fingers=FingerConfig(fix_s=NEVER_S), pings=Frozen())
            self.sim.start(self.sim.add(self._contact(index), *parts.protocols()))
            point(parts, self.line, index, self._contact)
        return parts

    def _contact(self, index: int) -> Contact:
        return contact_of(self.line[index], index)

    # What is asked of it --------------------------------------------------------------------------------------

    def iterative(self, count: int) -> Iterator[tuple[bool, int]]:
        """Lookups of random keys by random nodes: whether each found the key's root, and over how many hops."""
        asked = [(key, node.lookups.lookup(key)) for key, node in self._draw(count)]
        run_all(self.sim, [pending for _, pending in asked], PATIENCE_S)
        for key, pending in asked:
            found = pending.result()
            yield found.root.id == root_of(key, self.line), found.hops

    def recursive(self, count: int) -> Iterator[tuple[bool, int]]:
        """The same by messages that are passed on from node to node, each hop acknowledged."""
        asked = [(key, node.router.route(Fingers.name, key, FindFinger())) for key, node in self._draw(count)]
        run_all(self.sim, [pending for _, pending in asked], PATIENCE_S)
        for key, pending in asked:
            answered = pending.result()
            # Neither the origin nor the root is counted.
            yield answered.root.id == root_of(key, self.line), max(0, len(answered.path) - 2)

    def _draw(self, count: int) -> list[tuple[int, RingParts]]:
        return [(self.rng.getrandbits(BITS), self.node(self.rng.choice(self.line))) for _ in range(count)]


def _million(setting: Setting) -> Iterator[Report]:
    """20,000 iterative lookups, and recursive ones. Seconds are the processor's, memory is the process's at its largest."""
    # Nodes live as long as the ring: the collector would walk through all of them in vain, in a third of the time.
    gc.disable()
    try:
        yield from _ask_sparsely(setting)
    finally:
        gc.enable()


def _ask_sparsely(setting: Setting) -> Iterator[Report]:
    began, size = time.process_time(), setting.pick(10_000, 1_000_000)
    yield Progress(f"{size:,} ids", 0.0)
    ring, half = SparseRing(setting.seed, size), math.log2(size) / 2
    ways = (
        ("iterative", ring.iterative, setting.pick(400, 20_000)),
        ("recursive", ring.recursive, setting.pick(400, 2_000)),
    )
    for number, (how, ask, lookups) in enumerate(ways):
        wrong, hops = 0, list[int]()
        for start in range(0, lookups, PER_BATCH):
            yield Progress(f"{how} lookups among {size:,} nodes", (number + start / lookups) / 2)
            for is_right, length in ask(min(PER_BATCH, lookups - start)):
                wrong += not is_right
                hops.append(length)
        what = f"{lookups:,} lookups, N = {size:,}, {how}"
        yield exactly("C8", f"{what}: wrong roots", "0", wrong, 0)
        note = f"{len(ring.awake):,} nodes came to life" if number else ""
        yield around("C8", f"{what}: path length", f"{half:.2f} = log2(N) / 2", fmean(hops), half, 0.3, note)
    if setting.scale == "paper":
        yield at_most("C8", "seconds of one processor, all in all", "120", time.process_time() - began, 120)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        yield at_most("C8", "GiB of memory at the most", "8", peak, 8)


EXPERIMENTS = (Experiment(("C8",), "a million nodes", _million),)
