"""Which peer keeps what: who wins, what is answered while a copy comes, what a leaver says; in simulated rings."""

from __future__ import annotations

import pytest

from overlay.core.storage import BlobRef
from overlay.errors import LocalError
from overlay.ring.events import Forwarded
from overlay.store.events import (
    Awaited,
    FileFound,
    LeftBehind,
    PlaceholderMade,
    Received,
    Sending,
    StoreAccepted,
    Stored,
    StoreFailed,
)
from overlay.store.messages import Move, Placed, Version
from overlay.store.records import EMPTY, GIVE_UP_S
from tests.rings import SimRing

BODY = b"five hundred" * 50
SLOW = 50 << 20
"""Bytes that take some seconds to come."""


def ring_of(*numbers: int, **files: dict[str, bytes | int]) -> SimRing:
    """A ring in which `p8={"0009.pdf": b"nine"}` gives a file to peer 8."""
    ring = SimRing(1)
    ring.form(numbers, {int(who[1:]): what for who, what in files.items()})
    return ring


@pytest.mark.parametrize("while_it_comes", [True, False])
def test_a_placeholder_does_not_take_the_place_of_bytes(while_it_comes: bool) -> None:
    ring = ring_of(4, 8, 14, p8={"0014.pdf": SLOW})
    first = ring.peers[8].records.store("0014")
    if while_it_comes:
        ring.sim.run_until(lambda: bool(ring.peers[14].told(StoreAccepted)), 30)
    else:
        ring.sim.run_until(first, 60)
    second = ring.peers[4].records.store("0014")
    assert ring.sim.run_until(second, 60) == Stored("0014", 14, SLOW), "what is there, not what was offered"
    assert ring.sim.run_until(first, 60) == Stored("0014", 14, SLOW)
    assert ring.peers[4].told(PlaceholderMade) == [PlaceholderMade("0014")]
    assert ring.peers[14].told(StoreAccepted) == [StoreAccepted("0014")] * 2
    assert ring.sim.run_until(ring.peers[4].records.request("0014"), 60) == Received("0014", SLOW)


@pytest.mark.parametrize("bytes_move", [True, False])
def test_bytes_win_over_a_newer_placeholder_that_moves(bytes_move: bool) -> None:
    ring = ring_of(4, 14, p4={"0014.pdf": BODY})
    records = ring.peers[14].records
    if bytes_move:
        ring.sim.disk(ring.peers[4].contact).files.clear()
    ring.sim.run_until(ring.peers[4].records.store("0014"), 30)
    ring.sim.disk(ring.peers[4].contact).put_files({"0014.pdf": BODY})
    found: list[BlobRef] = []
    ring.peers[4].records.ctx.find_blob("0014.pdf", found.append, lambda _: None)
    ring.sim.run_for(1)
    ref, version = (found[0], Version(1, 0)) if bytes_move else (EMPTY, Version(9, 9))
    placed = records.deliver(Move("0014", ref, ring.peers[4].contact, version), None)  # type: ignore[arg-type]
    assert isinstance(placed, Placed)
    ring.sim.run_for(1)
    assert records.records["0014"].ref == found[0]
    assert records.records["0014"].version >= placed.version


def test_a_record_that_is_accepted_can_be_asked_for_while_it_comes() -> None:
    ring = ring_of(4, 8, 14, p8={"0014.pdf": SLOW})
    stored = ring.peers[8].records.store("0014")
    ring.sim.run_until(lambda: bool(ring.peers[14].told(StoreAccepted)), 30)
    assert ring.sim.run_until(ring.peers[4].records.request("0014"), 120) == Received("0014", SLOW)
    assert ring.sim.run_until(stored, 60) == Stored("0014", 14, SLOW)


def test_an_original_that_takes_a_minute_to_hash_is_waited_for() -> None:
    ring = ring_of(4, 8, 14, p14={"0014.pdf": 6000})
    ring.sim.disk(ring.peers[14].contact).hash_rate = 100
    asker, root = ring.peers[4], ring.peers[14]
    outcomes = [asker.records.request("0014"), ring.peers[8].records.request("0014"), root.records.request("0014")]
    for outcome in outcomes:
        assert ring.sim.run_until(outcome, 90) == Received("0014", 6000)
    assert asker.told(Awaited) == [Awaited("0014", 14)]
    assert len([event for event in asker.told(Forwarded) if event.first_hop]) == 1  # type: ignore[attr-defined]
    assert asker.told(FileFound) == [FileFound("0014", 14, (4, 8, 14))]
    assert set(root.told(Sending)) == {Sending("0014", 4), Sending("0014", 8)}


def test_what_is_waited_for_can_be_cancelled() -> None:
    ring = ring_of(4, 14, p14={"0014.pdf": 6000})
    ring.sim.disk(ring.peers[14].contact).hash_rate = 100
    asker = ring.peers[4]
    outcome = asker.records.request("0014")
    ring.sim.run_until(lambda: bool(asker.told(Awaited)), 30)
    assert asker.records.cancel() == 1
    ring.sim.run_for(60)
    assert str(outcome.error) == "cancelled"
    assert not asker.told(FileFound)


def test_each_of_two_who_store_a_name_at_once_is_accepted() -> None:
    ring = ring_of(4, 8, 14, p4={"0014.pdf": SLOW}, p8={"0014.pdf": SLOW})
    both = [ring.peers[number].records.store("0014") for number in (4, 8)]
    for outcome in both:
        assert ring.sim.run_until(outcome, 60) == Stored("0014", 14, SLOW)
    assert ring.peers[14].told(StoreAccepted) == [StoreAccepted("0014")] * 2


def test_a_file_that_cannot_be_read_is_no_placeholder() -> None:
    ring = ring_of(4, 14, p4={"0014.pdf": BODY})
    ring.sim.disk(ring.peers[4].contact).unreadable.add("0014.pdf")
    stored = ring.peers[4].records.store("0014")
    ring.sim.run_for(1)
    assert isinstance(stored.error, LocalError)
    assert ring.peers[4].told(StoreFailed) == [StoreFailed("0014", "0014.pdf cannot be read")]
    assert not ring.peers[4].told(PlaceholderMade)
    assert not ring.peers[14].records.records


def test_a_leaver_tells_what_nobody_took_and_why() -> None:
    ring = ring_of(4, 9, 14, p4={"0009.pdf": BODY, "0008.pdf": BODY})
    for name in ("0009", "0008"):
        ring.sim.run_until(ring.peers[4].records.store(name), 30)
    for number in (4, 14):
        ring.sim.disk(ring.peers[number].contact).full = True
    leaver = ring.peers[9].records
    ring.peers[9].parts.admission.depart(lambda: leaver.leave().when_done(lambda _: leaver.left_behind("own")))
    ring.sim.run_for(GIVE_UP_S + 5)
    assert ring.peers[9].told(LeftBehind) == [LeftBehind(("0008", "0009"), 9, "own", "no space left on the disk")]


def test_the_last_of_a_ring_keeps_its_records_and_blames_nobody() -> None:
    ring = ring_of(9, p9={"0009.pdf": BODY})
    ring.sim.run_until(ring.peers[9].records.store("0009"), 30)
    ring.sim.run_until(ring.peers[9].records.leave(), 30)
    assert ring.peers[9].records.left_behind("own") == LeftBehind(("0009",), 9, "own", "")
