"""Iterative lookups: the right root or a named error, whoever is dead, paused or far away."""

from __future__ import annotations

import pytest

from overlay.core.pending import Pending
from overlay.errors import Indefinite
from overlay.lab.rings import ComputedRing
from overlay.ring.lookup import Found


def asked(ring: ComputedRing, asker: int, key: int) -> Pending[Found]:
    """A lookup by the asker-th member, after half a simulated minute."""
    pending = ring.members[sorted(ring.members)[asker]].lookups.lookup(key)
    ring.sim.run_for(30)
    assert pending.done
    return pending


def test_the_next_one_is_the_root_when_the_root_is_dead() -> None:
    ring = ComputedRing(1, 40, successors=4)
    line = sorted(ring.members)
    ring.crash(line[20])
    found = asked(ring, 3, line[20]).result()
    assert found.root.id == line[21] and found.timeouts == 1


def test_a_root_that_is_only_slow_is_not_passed_by() -> None:
    ring = ComputedRing(2, 40, successors=4)
    line = sorted(ring.members)
    ring.sim.pause(ring.members[line[20]].chord.ctx.me)
    # Whoever comes behind it knows that the key is not its own.
    assert isinstance(asked(ring, 3, line[20]).error, Indefinite)
    ring.sim.resume(ring.members[line[20]].chord.ctx.me)
    assert asked(ring, 5, line[20]).result().root.id == line[20]


def test_a_slow_one_that_has_lost_its_place_is_passed_by() -> None:
    ring = ComputedRing(3, 40, successors=4, interval_s=1.0)
    line = sorted(ring.members)
    ring.sim.pause(ring.members[line[20]].chord.ctx.me)
    ring.sim.run_for(30)
    assert asked(ring, 3, line[20]).result().root.id == line[21]


@pytest.mark.parametrize("successors", [1, 4])
def test_who_knows_nobody_alive_before_the_key_does_not_take_it_for_its_own(successors: int) -> None:
    ring = ComputedRing(4, 40, successors=successors)
    line = sorted(ring.members)
    for number in line[1:]:
        ring.crash(number)
    assert isinstance(asked(ring, 0, line[20]).error, Indefinite)


def test_two_and_three_members_and_one_alone() -> None:
    for size in (1, 2, 3):
        ring = ComputedRing(size, size, successors=4)
        line = sorted(ring.members)
        for asker in range(size):
            for at, number in enumerate(line):
                assert asked(ring, asker, number).result().root.id == number
                assert asked(ring, asker, number + 1).result().root.id == line[(at + 1) % size]
