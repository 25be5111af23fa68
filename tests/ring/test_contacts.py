"""Peers that remember each other: the ring is found again, whoever of it was away, and two that began apart become one."""

from __future__ import annotations

import pytest

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import Indefinite, RemoteError
from overlay.ids import Key
from overlay.peer.parts import PeerParts
from overlay.peer.preset import Preset, chord
from overlay.ring.contacts import LOOK_S, MAX_REMEMBERED
from overlay.sim import Faults
from overlay.sim.disk import Disk
from tests.lasting import PRESET, Lasting
from tests.sweep.lasting import LastingRun


@pytest.mark.parametrize("begins", [False, True])
def test_the_first_peer_comes_back_into_its_ring_by_whom_it_remembers(begins: bool) -> None:
    ring = Lasting(1, 6)
    ring.sim.run_for(10)
    first = ring.places[0]
    ring.sim.crash(first)
    ring.sim.run_for(20)
    assert not ring.is_whole()
    pending = ring.restart(first, begins=begins)
    assert ring.sim.run_until(pending, 30) is True
    ring.sim.run_until(ring.is_whole, 30)


def test_all_are_started_again_at_once_and_the_least_begins() -> None:
    ring = Lasting(2, 6)
    ring.sim.run_for(10)
    for place in ring.places:
        ring.sim.crash(place)
    outcomes = [ring.restart(place) for place in ring.places]
    came_back = [ring.sim.run_until(outcome, 60) for outcome in outcomes]
    least = min(range(6), key=lambda index: ring.places[index].id)
    assert came_back == [index != least for index in range(6)]
    ring.sim.run_until(ring.is_whole, 30)


def test_all_quit_in_good_order_and_any_may_be_started_first() -> None:
    ring = Lasting(12, 3)
    ring.sim.run_for(10)
    for place in ring.places:
        left = Pending[None]()
        ring.of(place).leave(lambda left=left: left.resolve(None))
        ring.sim.run_until(left, 60)
        ring.sim.stop(place)
        ring.sim.run_for(5)
    for place in reversed(ring.places):
        ring.restart(place)
        ring.sim.run_for(20)
    ring.sim.run_until(ring.is_whole, 60)


def test_two_rings_that_were_begun_apart_become_one() -> None:
    network = Faults()
    ring = Lasting(3, 6, network)
    ring.sim.run_for(10)
    for place in ring.places:
        ring.sim.crash(place)
    halves = ring.places[:3], ring.places[3:]
    network.partition(*halves)
    for place in ring.places:
        ring.restart(place)
    ring.sim.run_for(60)
    assert [sum(ring.of(place).ring.chord.member for place in half) for half in halves] == [3, 3]
    network.heal()
    ring.sim.run_until(ring.is_whole, 120)


def test_a_copy_of_a_peer_that_lives_is_refused() -> None:
    ring = Lasting(4, 3)
    ring.sim.run_for(10)
    twin = Contact(ring.places[1].id, "10.0.0.9", 5000, 9)
    parts = PeerParts(1.0, PRESET)
    ring.sim.start(ring.sim.add(twin, *parts.protocols(), disk=ring.sim.disk(ring.places[1])))
    with pytest.raises(RemoteError, match="is in the ring already"):
        ring.sim.run_until(parts.come_back(False), 60)


def test_what_is_remembered_is_bounded_and_outlives_a_ring_of_one() -> None:
    ring = Lasting(5, 40)
    ring.sim.run_for(30)
    contacts = [ring.of(place).contacts for place in ring.places]
    assert all(one is not None and 6 <= len(one.remembered) <= MAX_REMEMBERED for one in contacts)
    survivor = ring.places[7]
    for place in ring.places:
        if place is not survivor:
            ring.sim.crash(place)
    ring.sim.run_for(60 + LOOK_S)
    last = ring.of(survivor)
    assert last.ring.chord.first == survivor
    assert last.contacts is not None and last.contacts.remembered


@pytest.mark.parametrize("seed", range(8))
def test_after_crashes_restarts_and_partitions_it_is_one_ring_again(seed: int) -> None:
    LastingRun(seed).run()


def newcomer(ring: Lasting, host: str, *, preset: Preset = PRESET) -> PeerParts:
    """One more peer in the simulation, in no ring yet."""
    me = Contact(Key(ring.rng.getrandbits(preset.ring.bits)), host, 5000, 99)
    parts = PeerParts(1.0, preset)
    ring.sim.start(ring.sim.add(me, *parts.protocols(), disk=Disk()))
    return parts


def test_strangers_at_remembered_addresses_are_not_taken_for_the_ring() -> None:
    ring = Lasting(6, 4)
    ring.sim.run_for(10)
    survivor, *others = ring.places
    for place in ring.places:
        ring.sim.crash(place)
    strangers = [newcomer(ring, place.host) for place in others]
    assert ring.sim.run_until(strangers[0].come_back(True), 10) is False
    for stranger in strangers[1:]:
        ring.sim.run_until(stranger.join((None, others[0].host, 5000), 10), 10)
    assert ring.sim.run_until(ring.restart(survivor, begins=True), 30) is False
    ring.sim.run_for(200)
    assert ring.of(survivor).ring.chord.first == ring.of(survivor).ring.chord.ctx.me
    assert all(stranger.ring.chord.first.host in {place.host for place in others} for stranger in strangers)


def test_whoever_cannot_join_by_one_peer_may_join_by_another_at_once() -> None:
    ring = Lasting(9, 2)
    parts, second = newcomer(ring, "10.0.0.9"), Pending[None]()
    first = parts.join((None, "10.9.9.9", 5000), 1)
    first.when_done(lambda _: parts.join((None, "10.0.0.1", 5000), 10).when_done(lambda _: second.resolve(None)))
    ring.sim.run_until(second, 30)
    assert isinstance(first.error, Indefinite) and parts.ring.chord.member


def test_two_that_come_back_do_not_wait_for_each_other() -> None:
    ring = Lasting(10, 3)
    ring.sim.run_for(10)
    least, member, third = sorted(ring.places, key=lambda place: place.id)
    for place in ring.places:
        ring.sim.crash(place)
    ring.sim.run_until(ring.restart(member, begins=True), 30)
    ring.restart(least)
    ring.sim.run_until(lambda: ring.of(least).ring.admission._joining is not None, 30)
    # The one that is to let it in is started again this moment: now it looks for a ring itself.
    for place in (member, third):
        ring.restart(place)
    ring.sim.run_until(ring.is_whole, 200)


def test_a_peer_of_one_ring_is_refused_by_another() -> None:
    ring = Lasting(7, 3)
    ring.sim.run_for(10)
    alone = newcomer(ring, "10.0.0.8")
    ring.sim.run_until(alone.come_back(True), 10)
    mover = ring.places[2]
    ring.sim.restart(mover, ring._make)
    with pytest.raises(RemoteError, match="another ring"):
        ring.sim.run_until(ring.of(mover).join((None, "10.0.0.8", 5000), 10), 30)


@pytest.mark.parametrize(
    ("preset", "says"),
    [
        (chord(64, 4), "the ring has ids of 160 bits, the newcomer of 64"),
        (chord(160, 8), "the ring has lists of 4 successors, the newcomer of 8"),
        (Preset(PRESET.ring), "the ring has fingers"),
        (chord(160, 4, swim=True), "the ring has no SWIM"),
    ],
)
def test_who_does_not_fit_is_refused_by_name(preset: Preset, says: str) -> None:
    ring = Lasting(8, 2)
    with pytest.raises(RemoteError, match=says):
        ring.sim.run_until(newcomer(ring, "10.0.0.9", preset=preset).join((None, "10.0.0.1", 5000), 10), 30)
