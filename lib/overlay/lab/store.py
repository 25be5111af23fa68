"""R1 and R2: records that are lost when many nodes die at once, and what repair makes of the others (CFS, section 7.2.5)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.lab.experiment import Experiment, Progress, Report, Setting, around, exactly
from overlay.lab.rings import BITS, ComputedRing
from overlay.ring.parts import RingParts
from overlay.store.replicated.config import Acked, ReplicasConfig
from overlay.store.replicated.messages import key_of_tag, tag_of
from overlay.store.replicated.replicas import Replicas

SHARES = ((6, 0.5), (3, 0.5), (5, 0.3))
"""Copies, and the probability with which each node fails."""
CONFIDENCE = 1.96
"""Standard deviations of a binomial on either side: 95 %."""
PUTS_AT_ONCE = 50
REPAIR_S = 120.0


# R1: records lost at once -----------------------------------------------------------------------------------------


def _lost(setting: Setting) -> Iterator[Report]:
    """k replicas, each node fails with probability p before repair: p^k of the records are lost."""
    nodes, samples = setting.pick(300, 1_000), setting.pick(40_000, 200_000)
    rng = random.Random(f"{setting.seed}/R1")
    ring = ComputedRing(setting.seed, nodes, successors=max(k for k, _ in SHARES))
    members = list(ring.members.values())
    for index, (k, p) in enumerate(SHARES):
        yield Progress(f"k = {k}, p = {p:g}", index / len(SHARES))
        # Sets of replicas that have no node in common live and die independently of each other.
        roots = members[: nodes - k : k]
        replicas = [[peer.id for peer in parts.router.replica_set(parts.chord.ctx.me.id, k)] for parts in roots]
        lost = count = 0
        while count < samples:
            dead = {number for number in ring.members if rng.random() < p}
            lost += sum(dead.issuperset(line) for line in replicas)
            count += len(replicas)
        expected = p**k
        slack = CONFIDENCE * math.sqrt(expected * (1 - expected) / count)
        note = f"{count} sets of replicas, N = {nodes}; binomial 95 %"
        yield around(
            "R1", f"records lost, k = {k}, p = {p:g}", f"p^k = {expected:.4g}", lost / count, expected, slack, note
        )


# R2: repair -------------------------------------------------------------------------------------------------------


class StoringRing(ComputedRing):
    """A computed ring whose nodes have the replicated store."""

    def __init__(self, seed: object, size: int, *, successors: int, interval_s: float):
        self.stores: dict[int, Replicas] = {}
        super().__init__(seed, size, successors=successors, interval_s=interval_s)

    def protocols_of(self, number: int, parts: RingParts) -> tuple[Protocol, ...]:
        store = self.stores[number] = Replicas(parts.router, BITS, ReplicasConfig())
        return *parts.protocols(), store

    def live(self) -> list[int]:
        """The ids of those that live, in order."""
        return sorted(self.members)

    def keepers(self, name: bytes, line: list[int]) -> list[int]:
        """The right three of a line of ids."""
        key = key_of_tag(tag_of(name), BITS)
        start = next((at for at, number in enumerate(line) if number >= key), 0)
        return [line[(start + step) % len(line)] for step in range(3)]

    def put(self, names: list[bytes]) -> None:
        """Store them all."""
        for at in range(0, len(names), PUTS_AT_ONCE):
            waiting: list[Pending[Acked]] = [
                self.stores[self.rng.choice(list(self.members))].put(name, name)
                for name in names[at : at + PUTS_AT_ONCE]
            ]
            self.sim.run_until(lambda waiting=waiting: all(one.done for one in waiting), 60)  # type: ignore[misc]
            for one in waiting:
                one.result()

    def is_complete(self) -> bool:
        """Whether every node says so."""
        return all(self.stores[number].status().complete for number in self.members)

    def held(self) -> dict[bytes, list[int]]:
        """Who has what on disk."""
        found: dict[bytes, list[int]] = {}
        for number in self.live():
            contact = self.members[number].chord.ctx.me
            for key in self.sim.disk(contact).stored("replicas"):
                found.setdefault(bytes.fromhex(key.removeprefix("item/")), []).append(number)
        return found


def _repair(setting: Setting) -> Iterator[Report]:
    """A share p fails at once; every surviving record then has exactly k copies on the right k nodes, none elsewhere."""
    nodes, keys, p = setting.pick(40, 300), setting.pick(200, 3_000), 0.4
    names = [b"record %d" % number for number in range(keys)]
    yield Progress("records are stored", 0.0)
    ring = StoringRing(f"{setting.seed}/R2", nodes, successors=16, interval_s=1.0)
    ring.sim.run_for(5)
    ring.put(names)
    before = ring.live()
    yield Progress(f"{p:.0%} of the nodes fail", 0.4)
    ring.crash_each(p)
    line = ring.live()
    survivors = [name for name in names if any(number in ring.members for number in ring.keepers(name, before))]
    ring.sim.run_for(REPAIR_S)
    yield Progress("repaired", 0.9)
    held = ring.held()
    wrong = sum(sorted(held.get(tag_of(name), [])) != sorted(ring.keepers(name, line)) for name in survivors)
    note = f"{keys} records on {nodes} nodes, of which {len(line)} live; {keys - len(survivors)} died with their three"
    yield exactly("R2", "surviving records that are not at exactly the right 3 nodes after repair", "0", wrong, 0, note)
    yield exactly("R2", "copies of what did not survive", "0", len(held) - len(survivors), 0)
    yield exactly("R2", "nodes that say that something is missing", "0", 0 if ring.is_complete() else 1, 0)


EXPERIMENTS = (
    Experiment(("R1",), "records lost at once", _lost),
    Experiment(("R2",), "repair", _repair),
)
"""In the order of the table."""
