"""Fingers: logarithmic routes, to the right peer, also while peers come and go (CH03)."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from overlay.core.message import Command, Contact, Message
from overlay.ids import distance
from overlay.kbr import Pass, Route
from overlay.lab.experiment import Setting
from overlay.lab.proximity import CANDIDATES, FIX_S, Lookups
from overlay.lab.rings import BITS
from overlay.ring.fingers import FingerConfig, offsets
from overlay.ring.hops import LEAST_S, RoundTrips
from tests.fakes import contact
from tests.ring.churn import ChurningRing


def test_offsets_are_the_papers_in_base_2_and_more_in_larger_ones() -> None:
    assert offsets(8, 1) == (1, 2, 4, 8, 16, 32, 64, 128)
    assert offsets(4, 2) == (1, 2, 3, 4, 8, 12)
    assert len(offsets(160, 4)) == 15 * 40


@pytest.mark.parametrize("size", [1, 2, 3, 20, 128])
def test_every_lookup_is_right_from_the_moment_that_the_last_join_returns_and_routes_are_short(size: int) -> None:
    ring = ChurningRing(1, size)
    for _ in range(300):
        ring.look_up()
        ring.sim.run_for(0.05)
    ring.sim.run_for(10)
    assert (ring.right, ring.errors, ring.wrong) == (300, {}, [])
    assert statistics.mean(ring.paths) <= math.log2(size) / 2 + 1


@pytest.mark.parametrize(("loss", "candidates"), [(0.0, 1), (0.2, 1), (0.2, 9)])
def test_under_churn_a_lookup_ends_at_the_right_root_or_in_a_named_error(loss: float, candidates: int) -> None:
    ring = ChurningRing(2, 40, loss=loss, candidates=candidates)
    ring.churn(60, changes_per_s=1.0, lookups_per_s=4.0)
    assert not ring.wrong
    assert ring.right > 0.97 * (ring.right + sum(ring.errors.values()))


def test_a_fifth_of_the_peers_dies_at_once() -> None:
    ring = ChurningRing(3, 60)
    ring.sim.run_for(20)
    for _ in range(12):
        ring.crash()
    for _ in range(200):
        ring.look_up()
    ring.sim.run_for(60)
    assert (ring.right, ring.errors, ring.wrong) == (200, {}, [])


def test_the_nearest_of_an_intervals_first_peers_is_its_finger() -> None:
    ring = Lookups(Setting(), FingerConfig(fix_s=FIX_S, candidates=CANDIDATES))
    contacts = sorted((parts.chord.ctx.me for parts in ring.members), key=lambda contact: contact.id)
    starts, reached = offsets(BITS, 1), 0
    for parts in ring.members:
        me, fingers = parts.chord.ctx.me, parts.fingers
        assert fingers is not None
        place = contacts.index(me)
        behind = [*contacts[place + 1 :], *contacts[:place]]
        for low, high in itertools.pairwise((*starts, 1 << BITS)):
            inside = [peer for peer in behind if low <= distance(me.id, peer.id, BITS) < high]
            if inside and low > distance(me.id, parts.chord.first.id, BITS):
                nearest = min(inside[:CANDIDATES], key=lambda peer: ring.sim.network.copies(me, peer, False))
                assert [peer for peer in inside if peer in fingers.line] == [nearest]
                reached += nearest != inside[0]
    assert reached > 100


def test_timeouts_follow_the_measured_round_trip() -> None:
    trips, peer = RoundTrips(), contact(1)
    assert trips.timeout_s(peer, 2.0) == 2.0
    for _ in range(50):
        trips.note(peer, 0.1)
    assert trips.timeout_s(peer, 2.0) == LEAST_S
    for seconds in (0.2, 0.6, 0.2, 0.6) * 20:
        trips.note(peer, seconds)
    assert 0.9 < trips.timeout_s(peer, 2.0) < 1.5


class Word(Command, frozen=True):
    text: str


class Once:
    """An application that counts."""

    name = "once"
    messages: tuple[type[Message], ...] = (Word,)

    def __init__(self) -> None:
        self.delivered = 0

    def forward(self, key: int, message: Message, next_hop: Contact) -> Pass:
        return Pass(next_hop)

    def deliver(self, message: Message, route: Route) -> Message:
        self.delivered += 1
        return message

    def update(self, neighbor: Contact, joined: bool) -> None: ...


def test_an_attempt_that_is_repeated_is_served_once() -> None:
    ring = ChurningRing(4, 8)
    applications = [Once() for _ in ring.members]
    for parts, application in zip(ring.members.values(), applications, strict=True):
        parts.router.register(application)
    router = next(iter(ring.members.values())).router
    pending = router.route("once", ring.rng.getrandbits(160), Word("word"))
    (operation,) = [one for one in router._waiting.values() if one.pending is pending]
    for _ in range(2):
        ring.sim.call_soon(router._attempt, operation)
    ring.sim.run_until(pending, 10)
    ring.sim.run_for(10)
    assert sum(application.delivered for application in applications) == 1
