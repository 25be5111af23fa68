"""A write that asks nobody for the newest version first is the newer one all the same, or nobody is told that it was done."""

from __future__ import annotations

import msgspec
import pytest

from overlay.errors import Indefinite
from overlay.store.replicated.messages import Version
from tests.store.replicated.test_replicas import CONFIG, NUMBERS, do, ring_of, settle, value
from tests.sweep.stores import StorePeer, StoreRing


def behind(ring: StoreRing) -> tuple[StorePeer, StorePeer, Version]:
    """Who knows the root of a name and has seen little; the root; and the newest version, which somebody else wrote."""
    root, *others = ring.keepers(b"name")
    writer, other = [peer for peer in ring.live() if peer not in (root, *others)][:2]
    do(ring, writer.replicas.put("name", b"first"))
    for _ in range(5):
        last = do(ring, other.replicas.put("name", b"other's")).version
    assert writer.replicas._site.clock < last.counter
    return writer, root, last


def test_a_later_write_is_the_newer_one_whatever_its_origin_has_seen() -> None:
    ring = ring_of()
    writer, _, last = behind(ring)
    assert do(ring, writer.replicas.put("name", b"later")).version > last
    assert {value(ring, peer, "name") for peer in ring.live()} == {b"later"}


def test_what_a_dead_root_was_not_even_sent_is_written_at_the_next_one() -> None:
    ring = ring_of()
    writer, root, last = behind(ring)
    ring.crash(root)
    assert do(ring, writer.replicas.put("name", b"later")).version > last
    settle(ring)
    assert {value(ring, peer, "name") for peer in ring.live()} == {b"later"}


@pytest.mark.parametrize("is_newer", [False, True])
def test_what_a_silent_root_may_have_written_keeps_its_version(is_newer: bool) -> None:
    ring = ring_of()
    writer, root, last = behind(ring)
    if is_newer:
        writer.replicas._site.saw(last)
    ring.sim.pause(root.contact)
    pending = writer.replicas.put("name", b"perhaps")
    if is_newer:
        assert do(ring, pending).version > last
    else:
        # Under a newer version it could take the place of what somebody wrote who had read it.
        with pytest.raises(Indefinite, match="nobody knows"):
            do(ring, pending)
    ring.sim.resume(root.contact)
    ring.sim.run_until(lambda: len(ring.members()) == len(NUMBERS) and not ring.wrong_ring(), 120)
    settle(ring)
    assert {value(ring, peer, "name") for peer in ring.live()} == {b"perhaps" if is_newer else b"other's"}


def test_what_two_of_three_acknowledged_is_read_at_once_where_the_root_s_own_disk_is_the_slow_one() -> None:
    ring = ring_of(config=msgspec.structs.replace(CONFIG, durable=2))
    root, *_ = ring.keepers(b"name")
    do(ring, root.replicas.put("name", b"first"))
    ring.sim.disk(root.contact).write_s = (1.0, 1.0)
    reader = next(peer for peer in ring.live() if peer not in ring.keepers(b"name"))
    assert do(ring, reader.replicas.put("name", b"second")).copies >= 2
    assert value(ring, reader, "name") == b"second"
