"""The replicated store in small simulated rings: what it does, sentence by sentence of docs/store.md."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import pytest

from overlay.core.message import Contact, Message
from overlay.core.pending import Pending
from overlay.core.protocol import Answer
from overlay.errors import Indefinite, LocalError
from overlay.ids import Key
from overlay.kbr import Route
from overlay.sim import Faults
from overlay.store.replicated.config import NotFound, ReplicasConfig
from overlay.store.replicated.messages import MAX_NAME, VALUE_BYTES, Item, Look, Seen, Version, tag_of
from overlay.store.replicated.replicas import Replicas
from overlay.store.replicated.shelf import PREFIX
from tests.sweep.stores import StorePeer, StoreRing

T = TypeVar("T")
CONFIG = ReplicasConfig(sync_s=2.0, forget_s=5.0, scrub_s=20.0)
NUMBERS = (1000, 9000, 17000, 25000, 33000, 41000, 49000, 57000)
LONG = b"0123456789abcdef" * 4000


def ring_of(
    numbers: Sequence[int] = NUMBERS, config: ReplicasConfig = CONFIG, network: Faults | None = None
) -> StoreRing:
    ring = StoreRing(1, config, network=network)
    ring.form(numbers)
    settle(ring)
    return ring


def settle(ring: StoreRing, timeout_s: float = 60.0) -> None:
    """Until every peer says that nothing is missing, and then until nothing is left over."""
    ring.sim.run_until(lambda: all(peer.replicas.status().complete for peer in ring.live()), timeout_s)
    ring.sim.run_until(lambda: not ring.misplaced(), timeout_s)


def do(ring: StoreRing, pending: Pending[T], timeout_s: float = 60.0) -> T:
    result = ring.sim.run_until(pending, timeout_s)
    assert result is not None
    return result


def value(ring: StoreRing, peer: StorePeer, name: str) -> bytes | None:
    try:
        return do(ring, peer.replicas.get(name)).value
    except NotFound:
        return None


def join(ring: StoreRing, number: int, known: int) -> None:
    ring.sim.run_until(ring.add(number).parts.admission.join("127.0.0.1", ring.peers[known].contact.port), 60)


def test_what_is_acknowledged_is_on_disk_at_the_right_peers() -> None:
    ring = ring_of()
    for number, data in enumerate((b"", b"short", LONG)):
        name = f"name {number}"
        acked = do(ring, ring.peers[1000].replicas.put(name, data))
        assert acked.copies == 3
        for peer in ring.keepers(name.encode()):
            assert ring.held(peer)[name.encode()] == acked.version
        assert {value(ring, peer, name) for peer in ring.live()} == {data}
    listed = {one.name: one.size for peer in ring.live() for one in peer.replicas.list()}
    assert listed == {b"name 0": 0, b"name 1": 5, b"name 2": len(LONG)}


def test_what_is_written_after_something_was_seen_is_newer_whatever_the_name() -> None:
    ring = ring_of()
    one, other = ring.peers[1000].replicas, ring.peers[33000].replicas
    for _ in range(5):
        last = do(ring, one.put("often", b"x")).version
    first = do(ring, other.put("elsewhere", b"y", after=last)).version
    assert first > last
    do(ring, other.get("often"))
    assert do(ring, other.delete("never there")).version > first
    assert value(ring, ring.peers[9000], "never there") is None


def test_names_and_values_that_cannot_be_are_refused_by_name() -> None:
    store = ring_of().peers[1000].replicas
    for name in ("", "x" * (MAX_NAME + 1), "\udcff"):
        with pytest.raises(LocalError):
            store.get(name)
    with pytest.raises(LocalError, match="1048577 bytes"):
        store.put("name", bytes(VALUE_BYTES + 1))
    with pytest.raises(LocalError, match="durable = 4"):
        ReplicasConfig(durable=4).check()


@pytest.mark.parametrize("at", range(len(NUMBERS)))
def test_two_neighbors_die_at_once_wherever_and_others_join(at: int) -> None:
    ring = ring_of()
    names = [f"name {number}" for number in range(16)]
    for name in names:
        do(ring, ring.peers[1000].replicas.put(name, name.encode()))
    for step in range(2):
        ring.crash(ring.peers[NUMBERS[(at + step) % len(NUMBERS)]])
    join(ring, NUMBERS[at] + 1, ring.live()[0].id)
    join(ring, NUMBERS[at] - 900, ring.live()[0].id)
    settle(ring)
    assert [value(ring, ring.live()[at % 6], name) for name in names] == [name.encode() for name in names]


def test_quit_returns_when_everything_is_in_good_hands() -> None:
    ring = ring_of()
    for number in range(12):
        do(ring, ring.peers[9000].replicas.put(f"name {number}", LONG if number == 3 else b"x"))
    leaver = ring.peers[33000]
    assert len(ring.held(leaver)) > 0
    do(ring, ring.quit(leaver), 60)
    assert ring.held(leaver) == {}
    # The others have what it had at this moment, not only after repair.
    assert ring.misplaced(left_over=False) == []


def test_a_smaller_ring_takes_fewer_copies_but_not_while_somebody_is_missed() -> None:
    ring = ring_of((1000, 33000), ReplicasConfig(sync_s=2.0, fewer_s=60.0, deadline_s=15.0))
    assert do(ring, ring.peers[1000].replicas.put("name", b"two")).copies == 2
    ring.crash(ring.peers[33000])
    with pytest.raises(Indefinite, match="too few"):
        do(ring, ring.peers[1000].replicas.put("name", b"one"))
    ring.sim.run_for(60.0)
    assert do(ring, ring.peers[1000].replicas.put("name", b"one")).copies == 1


def test_what_is_past_its_time_is_not_found_and_a_deletion_is_remembered_for_a_while() -> None:
    ring = ring_of(config=ReplicasConfig(sync_s=2.0, forget_s=5.0, tombstone_s=60.0))
    store = ring.peers[1000].replicas
    do(ring, store.put("short-lived", b"x", ttl_s=20.0))
    do(ring, store.put("deleted", b"x"))
    do(ring, store.delete("deleted"))
    assert value(ring, ring.peers[9000], "short-lived") == b"x"
    ring.sim.run_for(32.0)
    assert value(ring, ring.peers[9000], "short-lived") is None
    assert len(ring.held(ring.keepers(b"deleted")[0])) > 0
    ring.sim.run_for(100.0)
    assert [ring.held(peer) for peer in ring.live()] == [{}] * len(NUMBERS)


def test_who_was_away_does_not_bring_back_what_was_deleted_meanwhile() -> None:
    ring = ring_of()
    do(ring, ring.peers[1000].replicas.put("name", b"old"))
    away = ring.keepers(b"name")
    for peer in away[1:]:
        ring.crash(peer)
    settle(ring)
    do(ring, away[0].replicas.delete("name"))
    for peer in away[1:]:
        back = ring.restart(peer.id)
        assert list(ring.held(back)) == [b"name"]
        ring.sim.run_until(back.parts.admission.join("127.0.0.1", away[0].contact.port), 60)
    settle(ring)
    assert {value(ring, peer, "name") for peer in ring.live()} == {None}


def test_a_full_disk_is_passed_by_and_the_copy_comes_when_there_is_room() -> None:
    ring = ring_of()
    full = ring.keepers(b"name")[1]
    ring.sim.disk(full.contact).full = True
    assert do(ring, ring.peers[1000].replicas.put("name", b"x")).copies == 3
    assert not all(peer.replicas.status().complete for peer in ring.live())
    ring.sim.disk(full.contact).full = False
    settle(ring)
    assert full in [peer for peer in ring.live() if b"name" in ring.held(peer)]


def test_bits_that_rot_are_found_and_mended_from_another_copy() -> None:
    ring = ring_of()
    do(ring, ring.peers[1000].replicas.put("name", LONG))
    for peer in ring.keepers(b"name")[:2]:
        disk = ring.sim.disk(peer.contact)
        body = disk.entries["replicas"][PREFIX + tag_of(b"name").hex()].blob
        assert body is not None
        disk.rot(body.sha256)
    # Wrong bytes are not taken from anybody, and who has them himself finds out.
    assert {value(ring, peer, "name") for peer in ring.live()} == {LONG}
    ring.sim.run_for(60.0)
    for peer in ring.keepers(b"name"):
        assert ring.sim.disk(peer.contact).bodies[body.sha256].content == LONG


def test_of_two_sides_of_a_partition_the_newer_version_wins_on_both() -> None:
    network = Faults()
    ring = ring_of(network=network)
    do(ring, ring.peers[1000].replicas.put("name", b"before"))
    network.partition([ring.peers[number].contact for number in NUMBERS[:4]])
    ring.sim.run_for(20.0)
    one = do(ring, ring.peers[NUMBERS[0]].replicas.put("name", b"one side"))
    do(ring, ring.peers[NUMBERS[7]].replicas.put("name", b"other side"))
    other = do(ring, ring.peers[NUMBERS[7]].replicas.put("name", b"other side again"))
    assert other.version > one.version
    network.heal()
    ring.sim.run_until(lambda: not ring.wrong_ring(), 60)
    settle(ring)
    assert {value(ring, peer, "name") for peer in ring.live()} == {b"other side again"}


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_liars_that_drop_mix_up_or_damage_what_is_asked_for_are_got_around(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(f"liars/{share}")
    ring = ring_of(rng.sample(range(1 << 16), 20))
    values = {f"name {number}": b"%d" % number * (20_000 if number % 2 else 1) for number in range(20)}
    for name, data in values.items():
        do(ring, ring.live()[0].replicas.put(name, data))
    liars = {peer.id for peer in rng.sample(ring.live()[1:], round(share * 20))}
    honest = Replicas.deliver, Replicas.handlers[Look]
    wrong = Item(b"another name", Version(99, Key(1), 1), b"wrong")

    def deliver(self: Replicas, message: Message, route: Route) -> Message | Pending[Message]:
        return Pending() if self.ctx.me.id in liars else honest[0](self, message, route)

    def look(self: Replicas, sender: Contact, look: Look) -> Answer:
        return Seen(wrong.version, wrong) if self.ctx.me.id in liars else honest[1](self, sender, look)

    monkeypatch.setattr(Replicas, "deliver", deliver)
    monkeypatch.setattr(Replicas, "handlers", {**Replicas.handlers, Look: look})
    for number in liars:
        disk = ring.sim.disk(ring.peers[number].contact)
        for sha256 in list(disk.bodies):
            disk.rot(sha256)
    readers = [peer for peer in ring.live() if peer.id not in liars]
    assert {name: value(ring, rng.choice(readers), name) for name in values} == values
