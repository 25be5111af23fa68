"""A ring of peers in the simulator, and whatever may happen to it in any order; hypothesis finds the smallest way to harm."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.rings import SimPeer
from tests.sweep.run import RingRun

ids = st.integers(0, 255)
which = st.integers(0, 20)
"""One of the peers to which something may happen, counted around."""

MOST = 14
LISTS_S = 10.0
SETTINGS = settings(
    deadline=None,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class RingMachine(RuleBasedStateMachine):
    """In the end nothing goes wrong any more: then it is one right ring, or several whose peers know nothing of each other,
    and every acknowledged record is where it belongs unless its holder died."""

    def __init__(self) -> None:
        super().__init__()
        self.run = RingRun(0)
        self.run.faults.loss = self.run.faults.duplicate = self.run.faults.reorder = 0.0

    @initialize(numbers=st.lists(ids, min_size=2, max_size=8, unique=True))
    def begin(self, numbers: list[int]) -> None:
        self.run.begin(numbers)
        # Pointers are right before the lists behind them are full; a list of nobody survives nothing.
        self.run.ring.sim.run_for(LISTS_S)

    def one(self, place: int) -> SimPeer:
        members = self.run.free()
        return members[place % len(members)]

    def few(self) -> bool:
        return len(self.run.free()) < 2

    @rule(seconds=st.sampled_from((0.001, 0.05, 0.5, 2.0, 10.0)))
    def time_passes(self, seconds: float) -> None:
        self.run.ring.sim.run_for(seconds)
        self.run.check()

    @precondition(lambda self: len(self.run.ring.peers) < MOST and not self.few())
    @rule(number=ids, known=which)
    def join(self, number: int, known: int) -> None:
        peer = self.run.ring.peers.get(number)
        if peer is None:
            self.run.join_as(number, self.one(known).id)
        elif peer.gone and peer.contact not in self.run.ring.sim.nodes:
            self.run.returned.add(number)
            self.run.join_as(number, self.one(known).id)

    @precondition(lambda self: not self.few())
    @rule(place=which)
    def quit(self, place: int) -> None:
        self.run.quit_one(self.one(place))

    @precondition(lambda self: not self.few())
    @rule(place=which)
    def kill(self, place: int) -> None:
        self.run.kill_one(self.one(place))

    @precondition(lambda self: not self.few())
    @rule(place=which, seconds=st.sampled_from((0.5, 3.0, 15.0)))
    def pause(self, place: int, seconds: float) -> None:
        self.run.pause_one(self.one(place), seconds)

    @precondition(lambda self: self.run.free())
    @rule(place=which)
    def store(self, place: int) -> None:
        self.run.store_at(self.one(place))

    @precondition(lambda self: self.run.free() and self.run.stored)
    @rule(place=which, record=which)
    def request(self, place: int, record: int) -> None:
        names = list(self.run.stored)
        self.one(place).records.request(names[record % len(names)]).when_done(lambda _: None)

    @rule(loss=st.sampled_from((0.0, 0.1, 0.3)))
    def lose(self, loss: float) -> None:
        self.run.faults.loss = loss

    @rule(apart=st.sets(which, max_size=6), seconds=st.sampled_from((1.0, 10.0, 20.0)))
    def partition(self, apart: set[int], seconds: float) -> None:
        live = [peer.contact for peer in self.run.ring.peers.values() if not peer.gone]
        self.run.faults.partition([contact for place, contact in enumerate(live) if place in apart])
        self.run.heal_after(seconds)

    def teardown(self) -> None:
        if self.run.ring.peers:
            self.run.end()


def some(count: int = 50, **more: Any) -> int:
    """Try so many rings; how many. AssertionError, and the steps printed, when one does not end well."""
    run_state_machine_as_test(RingMachine, settings=settings(SETTINGS, max_examples=count, **more))
    return count
