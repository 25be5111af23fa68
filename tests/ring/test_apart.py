"""Two rings whose peers took each other for dead, or never met."""

from __future__ import annotations

from tests.rings import SimRing


def test_one_peer_that_was_only_heard_of_brings_two_rings_together() -> None:
    ring = SimRing(1)
    for line in ((40, 56, 225, 239), (65, 126, 160)):
        for index, number in enumerate(line):
            ring.init(number, line[(index + 1) % len(line)], line[(index + 2) % len(line)])
    ring.sim.run_for(10)
    ring.kill(225)
    ring.sim.run_for(10)
    assert ring.peers[239].successors == (40, 56)
    ring.peers[239].parts.chord.consider(ring.peers[160].contact)
    ring.settle(60)


def test_whoever_a_dead_neighbor_last_showed_may_be_the_only_one_left() -> None:
    ring = SimRing()
    line = range(10, 130, 10)
    ring.form(line)
    ring.sim.run_for(10)
    assert ring.peers[60].contact not in ring.peers[10].parts.chord.successors
    for number in line:
        if number not in (10, 60):
            ring.kill(number)
    ring.settle(60)
    assert ring.peers[60].successors == (10, 60)
