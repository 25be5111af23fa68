"""Rings that are hurt, and are whole again: each case by itself. The sweep mixes them."""

from __future__ import annotations

import pytest

from overlay.core.message import Contact
from overlay.errors import Indefinite, RemoteError
from overlay.ids import Key
from overlay.ring.events import (
    DepartureReceived,
    IdTaken,
    JoinAccepted,
    PeerDied,
    PingsSent,
    SuccessorsChanged,
    Waiting,
)
from overlay.sim import Faults
from tests.rings import EXAMPLE, SimPeer, SimRing


def formed(numbers: tuple[int, ...] = EXAMPLE, seed: int = 1, interval_s: float = 3.0) -> SimRing:
    ring = SimRing(seed, interval_s=interval_s)
    ring.form(numbers)
    ring.sim.run_for(2 * interval_s)
    return ring


@pytest.mark.parametrize("first", range(7))
def test_two_neighbors_that_die_together(first: int) -> None:
    ring = formed()
    ring.kill(EXAMPLE[first])
    ring.kill(EXAMPLE[(first + 1) % 7])
    ring.settle(20)
    said = [event.peer for peer in ring.live() for event in peer.told(PeerDied)]  # type: ignore[attr-defined]
    assert set(said) == {EXAMPLE[first], EXAMPLE[(first + 1) % 7]}


@pytest.mark.parametrize("first", range(7))
def test_three_neighbors_that_die_together(first: int) -> None:
    """One less than the successor list is long (HOSTILE, row 17); then more join."""
    ring = formed()
    for step in range(3):
        ring.kill(EXAMPLE[(first + step) % 7])
    ring.settle(30)
    known = ring.live()[0].id
    for number in (100, 200, 50):
        ring.sim.run_until(ring.join(number, known), 10)
    ring.settle(30)


def test_the_first_successor_and_then_the_second_within_one_interval() -> None:
    ring = formed()
    ring.kill(9)
    ring.sim.run_for(1.5)
    ring.kill(14)
    ring.settle(20)
    assert ring.peers[8].successors == (19, 2)


def test_a_peer_that_quits_before_anyone_pinged_it() -> None:
    ring = formed()
    ring.sim.run_until(ring.join(15, 4), 10)
    quitting = ring.quit(15)
    ring.sim.run_until(quitting, 20)
    ring.settle(20)
    ring = SimRing(2)
    for number, ahead in ((2, (4, 5)), (4, (5, 2)), (5, (2, 4))):
        ring.init(number, *ahead)
    # It has heard from those ahead, and not yet who is behind it.
    ring.sim.run_until(lambda: not ring.peers[4].parts.chord.awaited, 3)
    left = ring.quit(4)
    ring.sim.run_until(left, 60)
    ring.settle(30)


def test_the_last_two_and_one_alone() -> None:
    ring = formed((2, 4, 5))
    ring.sim.run_until(ring.quit(4), 30)
    ring.settle()
    assert ring.peers[2].successors == (5, 2)
    ring.kill(5)
    ring.settle()
    assert ring.peers[2].successors == (2, 2)
    ring.sim.run_for(10)
    ring.peers[2].events.clear()
    ring.sim.run_for(30)
    assert not ring.peers[2].told(PingsSent)
    ring.sim.run_until(ring.join(7, 2), 10)
    ring.settle()
    assert (ring.peers[2].successors, ring.peers[7].successors) == ((7, 2), (2, 7))
    ring.sim.run_until(ring.quit(7), 30)
    ring.sim.run_until(ring.quit(2), 30)


@pytest.mark.parametrize("newcomer", [0, 1, 3, 6, 13, 18, 20, 255])
@pytest.mark.parametrize("known", [2, 9, 19])
def test_a_join_anywhere_through_anyone(newcomer: int, known: int) -> None:
    ring = formed()
    ring.sim.run_until(ring.join(newcomer, known), 10)
    ring.settle(20)
    ring.sim.run_for(1)
    assert len(ring.peers[newcomer].told(JoinAccepted)) == 1


def test_joins_at_the_same_place_and_through_one_that_is_joining() -> None:
    ring = formed()
    joins = [ring.join(number, 4) for number in (15, 16, 17, 18)]
    joins.append(ring.join(30, 16))
    for join in joins:
        ring.sim.run_until(join, 30)
    ring.settle(30)


def test_a_join_during_a_quit_of_the_peer_that_would_let_it_in() -> None:
    ring = formed()
    left, joined = ring.quit(14), ring.join(15, 4)
    ring.sim.run_until(joined, 30)
    ring.sim.run_until(left, 60)
    ring.settle(20)
    assert ring.peers[9].successors == (15, 19)


def test_neighbors_that_quit_together() -> None:
    ring = formed()
    left = [ring.quit(number) for number in (9, 14)]
    for one in left:
        ring.sim.run_until(one, 60)
    ring.settle(20)
    assert not [p.id for p in ring.live() if p.told(PeerDied)]


def test_an_id_that_dies_and_returns_is_not_its_dead_self() -> None:
    ring = formed()
    ring.kill(14)
    ring.settle(20)
    ring.sim.run_until(ring.join(14, 4), 10)
    ring.settle(20)
    ring.sim.run_for(1)
    for peer in ring.live():
        peer.events.clear()
    ring.sim.run_for(60)
    assert not [event for peer in ring.live() for event in (*peer.told(PeerDied), *peer.told(SuccessorsChanged))]


def test_an_id_that_returns_at_once_takes_over() -> None:
    ring = formed()
    ring.kill(14)
    ring.sim.run_until(ring.join(14, 4), 30)
    ring.settle(30)


def test_an_id_that_is_in_the_ring_is_refused() -> None:
    ring = formed()
    ring.sim.run_until(ring.join(15, 4), 10)
    other = ring.add(16)
    impostor = Contact(Key(15), "127.0.0.9", 13015, 99)
    del ring.peers[16], other
    peer = SimPeer(impostor, 3.0)
    ring.sim.start(ring.sim.add(impostor, *peer.parts.protocols(), peer.records))
    with pytest.raises(RemoteError, match="Peer 15 is in the ring already"):
        ring.sim.run_until(peer.parts.admission.join("127.0.0.1", 12004), 30)
    ring.settle(10)


def test_an_id_that_is_only_awaited_may_join() -> None:
    ring = SimRing()
    ring.init(2, 4, 5)
    ring.init(4, 5, 2)
    ring.sim.run_for(5)
    ring.sim.run_until(ring.join(5, 4), 10)
    ring.settle(20)


def test_who_answers_pings_before_it_is_in_the_ring_is_awaited_until_it_is() -> None:
    """Its listener and its place in the ring are two steps, and a busy machine has time for a ping in between."""
    ring = SimRing(interval_s=30.0)
    ring.init(2, 4, 5)
    ring.init(5, 2, 4)
    late = SimPeer(Contact(Key(4), "127.0.0.1", 12004), 30.0)
    node = ring.sim.add(late.contact, *late.parts.protocols(), late.records)
    ring.sim.start(node)
    ring.sim.run_for(4.5)
    assert ring.peers[2].parts.chord.awaited == {4}
    late.parts.chord.begin([ring.peers[5].contact, ring.peers[2].contact], awaited=True)
    ring.sim.run_for(1.2)
    assert ring.peers[2].parts.chord.awaited == set()
    assert late.parts.chord.before is not None
    assert late.parts.chord.before.id == 2


def test_who_begins_with_the_id_of_another_does_not_take_its_place_and_is_told() -> None:
    ring = formed()
    ring.sim.run_until(ring.peers[2].records.store("0009"), 10)
    impostor = SimPeer(Contact(Key(9), "127.0.0.2", 12009, 99), 3.0)
    node = ring.sim.add(impostor.contact, *impostor.parts.protocols(), impostor.records)
    ring.sim.listen(node, impostor.events.append)
    ring.sim.start(node)
    impostor.parts.chord.begin([ring.peers[14].contact, ring.peers[19].contact], awaited=True)
    for _ in range(30):
        ring.sim.run_for(1)
        assert ring.wrong([ring.live()]) == []
    assert impostor.told(IdTaken) == [IdTaken(ring.peers[9].contact)]
    assert ring.sim.run_until(ring.peers[4].records.request("0009"), 10) is not None
    ring.kill(9)
    ring.sim.run_for(10)
    assert ring.peers[8].parts.chord.first == impostor.contact, "the place is free now"


@pytest.mark.parametrize("after", [0.2, 0.6, 1.0, 1.5, 2.5, 4.0])
def test_a_quit_in_the_first_seconds_leaves_nobody_waiting(after: float) -> None:
    ring = SimRing(7, interval_s=30.0)
    for index, number in enumerate(EXAMPLE):
        ring.init(number, EXAMPLE[(index + 1) % 7], EXAMPLE[(index + 2) % 7])
        ring.sim.run_for(0.05)
    ring.sim.run_for(after)
    ring.sim.run_until(ring.quit(9), 60)
    ring.settle(120)


def test_a_known_peer_that_is_not_there() -> None:
    ring = formed()
    began = ring.sim.now
    with pytest.raises(Indefinite, match=r"no peer answers at 127\.0\.0\.1:12099"):
        ring.sim.run_until(ring.join(15, 99), 30)
    assert ring.sim.now - began < 8


def test_starts_in_any_order_wait_for_each_other() -> None:
    ring = SimRing(3)
    for index in (5, 0, 3, 1):
        ring.init(EXAMPLE[index], EXAMPLE[(index + 1) % 7], EXAMPLE[(index + 2) % 7])
        ring.sim.run_for(7)
    assert [event.peer.id for event in ring.peers[14].told(Waiting)] == [19]  # type: ignore[attr-defined]
    for index in (6, 2, 4):
        ring.init(EXAMPLE[index], EXAMPLE[(index + 1) % 7], EXAMPLE[(index + 2) % 7])
    ring.settle(10)
    assert not [event for peer in ring.live() for event in (*peer.told(PeerDied), *peer.told(SuccessorsChanged))]


def test_a_pause_of_our_own_makes_us_doubt_ourselves_first() -> None:
    ring = formed()
    for peer in ring.live():
        peer.events.clear()
    for number in (9, 14):
        ring.sim.pause(ring.peers[number].contact)
    ring.sim.run_for(30)
    for number in (9, 14):
        ring.sim.resume(ring.peers[number].contact)
    ring.settle(60)
    assert not ring.peers[9].told(PeerDied)
    assert not ring.peers[14].told(PeerDied)


@pytest.mark.parametrize("seconds", [8, 40])
def test_a_partition_heals_to_one_ring(seconds: float) -> None:
    faults = Faults()
    ring = SimRing(4, interval_s=1.0, network=faults)
    ring.form()
    faults.partition([ring.peers[number].contact for number in (4, 8, 14)])
    ring.sim.run_for(seconds)
    faults.heal()
    ring.settle(60)


@pytest.mark.parametrize("interval_s", [1.0, 3.0])
def test_an_hour_of_lost_datagrams_kills_nobody(interval_s: float) -> None:
    ring = SimRing(5, interval_s=interval_s, network=Faults(loss=0.2))
    ring.form()
    for peer in ring.live():
        peer.events.clear()
    ring.sim.run_for(3600)
    assert not [event for peer in ring.live() for event in (*peer.told(PeerDied), *peer.told(SuccessorsChanged))]


@pytest.mark.parametrize("interval_s", [0.1, 1.0, 3.0, 30.0, 120.0])
@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_death_shows_within_one_interval_and_5_s(interval_s: float, loss: float) -> None:
    ring = SimRing(6, interval_s=interval_s, network=Faults(loss=loss))
    ring.form()
    for step, number in enumerate((9, 19, 4)):
        ring.sim.run_for(0.37 * interval_s + step)
        behind = [peer for peer in ring.live() if number in peer.successors]
        ring.kill(number)
        began = ring.sim.now
        ring.sim.run_until(lambda behind=behind, number=number: all(_saw(p, number) for p in behind), 600)  # type: ignore[misc]
        assert ring.sim.now - began <= min(interval_s, 50) + 5
        ring.settle(600)


def _saw(peer: object, number: int) -> bool:
    return any(event.peer == number for event in peer.told(PeerDied))  # type: ignore[attr-defined]


def test_a_departure_is_told_to_both_behind_it() -> None:
    ring = formed()
    ring.sim.run_until(ring.quit(9), 30)
    assert [p.id for p in ring.live() if p.told(DepartureReceived)] == [5, 8]
