"""Records on their way to somebody who asked for them."""

from __future__ import annotations

from overlay.store.events import Received, Receiving
from tests.rings import SimRing


def test_a_record_that_is_asked_for_twice_at_once_comes_once() -> None:
    ring = SimRing(1)
    ring.form((4, 8, 14), {14: {"0004.pdf": 5 << 20}})
    ring.sim.run_until(ring.peers[14].records.store("0004"), 30)
    asker = ring.peers[8]
    first, second = asker.records.request("0004"), asker.records.request("0004")
    assert ring.sim.run_until(first, 30) == ring.sim.run_until(second, 30) == Received("0004", 5 << 20)
    ring.sim.run_for(0.1)
    assert len(asker.told(Receiving)) == len(asker.told(Received)) == 1
    assert asker.records.cancel() == 0


def test_cancelling_ends_both_of_two_requests() -> None:
    ring = SimRing(1)
    ring.form((4, 8, 14), {14: {"0004.pdf": 500 << 20}})
    ring.sim.run_until(ring.peers[14].records.store("0004"), 60)
    asker = ring.peers[8]
    both = asker.records.request("0004"), asker.records.request("0004")
    ring.sim.run_for(1.0)
    assert asker.records.cancel("0004") == 1
    ring.sim.run_for(1.0)
    assert [str(pending.error) for pending in both] == ["cancelled"] * 2
