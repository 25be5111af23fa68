"""Bodies and durable writes: rate, cut, resume, cancel, wrong bytes, crash."""

from __future__ import annotations

import pytest

from overlay.core.context import Reason
from overlay.core.storage import BlobRef, Entry, Export, Write
from overlay.errors import OverlayError
from overlay.sim import Faults, Network
from overlay.sim.disk import Body
from tests.sim.toys import A, B, C, Toy, toys

RATE = 1e6
TEN_S = 10_000_000
"""Bytes that take ten seconds."""


class Fetching:
    """Two peers; the second has a file of which the first pulls the bytes."""

    def __init__(self, content: bytes | int = TEN_S, peers: int = 2):
        self.faults = Faults(Network(rate=RATE))
        self.sim, (self.a, self.b, *self.others) = toys(peers, self.faults)
        self.sim.disk(B).put_files({"4103.pdf": content})
        self.outcomes: list[object] = []
        found: list[BlobRef] = []
        self.b.ctx.find_blob("4103.pdf", found.append, self.outcomes.append)
        self.sim.run_until(lambda: bool(found), 1)
        self.ref = found[0]

    def fetch(self, toy: Toy | None = None, start: int = 0, end: int | None = None):
        return (toy or self.a).ctx.fetch_blob(
            B,
            self.ref,
            start,
            self.ref.size if end is None else end,
            lambda: self.outcomes.append("done"),
            lambda failure: self.outcomes.append(failure.reason),
        )


@pytest.mark.parametrize("content", [b"", b"x", b"%PDF" * 100_000, TEN_S, 0, 10**13])
def test_a_body_comes_at_the_rate_and_is_exported(content):
    world = Fetching(content)
    world.fetch()
    size = world.ref.size
    world.sim.run_until(lambda: bool(world.outcomes), size / RATE + 1)
    assert world.outcomes == ["done"]
    assert size / RATE <= world.sim.now <= size / RATE + 0.1
    batch = (Write("4103", Entry(b"", world.ref)), Export("received_4103.pdf", world.ref))
    world.a.ctx.persist(batch, lambda: world.outcomes.append("durable"), world.outcomes.append)
    world.sim.run_for(1)
    assert world.outcomes[1:] == ["durable"]
    assert world.sim.files(A) == {"received_4103.pdf": content}


def test_what_has_come_before_a_cut_stays_and_a_stall_ends_the_transfer():
    world = Fetching()
    transfer = world.fetch()
    world.sim.run_for(5)
    assert 0.4 * TEN_S < transfer.done_bytes <= 0.5 * TEN_S
    world.faults.cut(B, A)
    came = transfer.done_bytes
    world.sim.run_for(8)
    assert world.outcomes == [], "it may go on yet"
    assert transfer.done_bytes == came
    world.sim.run_for(8)
    assert world.outcomes == [Reason.TIMEOUT]
    world.faults.heal()
    again = world.fetch()
    world.sim.run_for(1)
    assert again.done_bytes > 0.45 * TEN_S
    world.sim.run_for(5)
    assert world.outcomes == [Reason.TIMEOUT, "done"]


def test_a_short_cut_only_delays():
    world = Fetching()
    world.fetch()
    world.sim.at(3, world.faults.cut, B, A)
    world.sim.at(8, world.faults.heal)
    world.sim.run_for(14.8)
    assert world.outcomes == []
    world.sim.run_for(1)
    assert world.outcomes == ["done"]


def test_a_cancelled_transfer_says_so_once():
    world = Fetching()
    transfer = world.fetch()
    world.sim.run_for(2)
    transfer.cancel()
    transfer.cancel()
    assert world.outcomes == [], "not while the handler runs"
    world.sim.run_for(20)
    assert world.outcomes == [Reason.CANCELLED]
    assert transfer.done_bytes < 0.3 * TEN_S


def test_a_crash_of_the_other_side_ends_a_transfer_and_our_own_forgets_what_came():
    world = Fetching()
    world.fetch()
    world.sim.run_for(5)
    second = Toy()
    world.sim.restart(A, lambda me: [second])
    transfer = world.fetch(second)
    world.sim.run_for(1)
    assert world.outcomes == []
    assert transfer.done_bytes < 0.2 * TEN_S
    world.sim.crash(B)
    world.sim.run_for(1)
    assert world.outcomes == [Reason.UNREACHABLE]


def test_a_body_is_fetched_once_at_a_time():
    """The others wait, and find it here."""
    world = Fetching()
    transfers = [world.fetch() for _ in range(3)]
    world.sim.run_for(9)
    assert world.outcomes == []
    assert [0 < transfer.done_bytes < TEN_S for transfer in transfers] == [True, False, False]
    world.sim.run_for(2)
    assert world.outcomes == ["done"] * 3
    world.fetch()
    world.sim.run_for(1)
    assert world.outcomes[3:] == ["done"], "it is here"


def test_a_body_stays_until_it_was_used_and_as_long_as_an_entry_needs_it():
    world = Fetching()
    sha256, disk = world.ref.sha256, world.sim.disk(A)
    world.fetch()
    world.sim.run_for(11)
    there = []
    for step in (
        Write("other", Entry(b"")),
        Write("4103", Entry(b"", world.ref)),
        Write("4103", Entry(b"new", world.ref)),
        Write("4103", None),
    ):
        world.a.ctx.persist((step,), lambda: there.append(disk.body(sha256) is not None), None)
        world.sim.run_for(1)
    assert there == [True, True, True, False]
    assert world.sim.disk(B).body(sha256) is not None, "a file that was found is no body of our own"


def test_wrong_bytes_are_refused_and_thrown_away():
    world = Fetching(b"right" * 1000)
    world.sim.disk(B).bodies[world.ref.sha256] = Body(b"wrong" * 1000)
    world.fetch()
    world.sim.run_for(1)
    assert world.outcomes == [Reason.REFUSED]
    world.sim.disk(B).bodies.clear()
    world.fetch()
    world.sim.run_for(1)
    assert world.outcomes == [Reason.REFUSED, "done"]


def test_ranges_come_in_parallel_and_the_whole_is_checked():
    world = Fetching()
    half = TEN_S // 2
    world.fetch(end=half)
    world.fetch(start=half)
    world.sim.run_for(5.5)
    assert world.outcomes == ["done", "done"]
    assert world.sim.disk(A).body(world.ref.sha256) is not None


def test_what_is_not_there_is_refused_and_a_full_disk_is_our_own_fault():
    world = Fetching(peers=3)
    world.a.ctx.fetch_blob(C, world.ref, 0, 5, lambda: None, lambda failure: world.outcomes.append(failure.reason))
    world.fetch(start=5, end=TEN_S + 1)
    world.a.ctx.find_blob("no such", lambda ref: None, lambda failure: world.outcomes.append(failure.reason))
    world.sim.run_for(1)
    assert sorted(reason.name for reason in world.outcomes) == ["LOCAL", "NOT_THERE", "REFUSED"]
    world.outcomes.clear()
    world.sim.disk(A).full = True
    world.fetch()
    world.a.ctx.persist((), lambda: None, lambda failure: world.outcomes.append(failure.reason))
    world.sim.run_for(1)
    assert world.outcomes == [Reason.NO_SPACE, Reason.NO_SPACE]


def test_a_quota_refuses_what_would_be_too_much_and_keeps_what_is_there():
    world = Fetching(b"%PDF" * 1000)
    world.sim.disk(A).quota = 4010
    world.fetch()
    world.sim.run_for(1)
    told = world.outcomes.append
    for value in (b"0123456789", b"!", None):
        entry = None if value is None else Entry(value, world.ref)
        world.a.ctx.persist((Write("4103", entry),), lambda: told("durable"), lambda failure: told(failure.detail))
        world.sim.run_for(1)
    assert world.outcomes == ["done", "durable", "no room for 1 bytes within the quota of 4010", "durable"]
    world.sim.disk(A).quota = 3999
    world.fetch()
    world.sim.run_for(1)
    assert world.outcomes[-1] == Reason.NO_SPACE


@pytest.mark.parametrize("content", [b"%PDF" * 1000, TEN_S])
def test_rot_is_refused_by_whoever_fetches_it_found_by_a_scrub_and_mended(content):
    world = Fetching(content, peers=3)
    rotten: list[tuple[str, BlobRef | None]] = []

    def keep() -> None:
        world.fetch()
        world.sim.run_until(lambda: "done" in world.outcomes, 20)
        world.a.ctx.persist((Write("4103", Entry(b"", world.ref)),), lambda: None, world.outcomes.append)
        world.sim.run_for(1)
        world.outcomes.clear()

    def scrub() -> None:
        world.a.ctx.scrub(lambda *what: rotten.append(what), lambda: world.outcomes.append("seen"), bytes_per_s=RATE)
        world.sim.run_until(lambda: bool(world.outcomes), 20)
        assert world.outcomes.pop() == "seen"

    keep()
    scrub()
    assert rotten == []
    world.sim.disk(A).rot(world.ref.sha256)
    fetched: list[object] = []
    world.others[0].ctx.fetch_blob(
        A, world.ref, 0, world.ref.size, lambda: None, lambda why: fetched.append(why.reason)
    )
    world.sim.run_until(lambda: bool(fetched), 20)
    assert fetched == [Reason.REFUSED]
    scrub()
    assert rotten == [("4103", world.ref)]
    keep()
    scrub()
    assert rotten == [("4103", world.ref)]


def kept_after_crash(seed: int) -> list[str]:
    """The keys found after a crash in the middle of a write of three, which another one has joined."""
    sim, (a, _) = toys(2, seed=seed)
    said: list[object] = []

    def write(*keys: str) -> None:
        a.ctx.persist(tuple(Write(key, Entry(b"")) for key in keys), lambda: said.append(keys), said.append)

    write("old")
    sim.run_for(1)
    write("0", "1", "2")
    write("other")
    sim.crash(A)
    second = Toy()
    sim.restart(A, lambda me: [second])
    sim.run_for(1)
    assert said == [("old",)]
    second.ctx.persist((Write("new", Entry(b"")),), lambda: said.append("new"), said.append)
    sim.run_for(1)
    assert said == [("old",), "new"]
    assert "new" in sim.disk(A).stored("toy")
    return list(second.ctx.stored())


def test_a_crash_loses_what_is_not_durable_but_a_beginning():
    kept = [kept_after_crash(seed) for seed in range(60)]
    assert all(keys == ["old", "0", "1", "2", "other"][: len(keys)] for keys in kept)
    assert {len(keys) for keys in kept} == {1, 2, 3, 4, 5}


def test_a_batch_names_only_bodies_that_are_here():
    sim, (a, _) = toys(2)
    said: list[object] = []
    unknown = BlobRef(b"\0" * 32, 5)
    a.ctx.persist(
        (Write("k", Entry(b"", unknown)),), lambda: said.append("durable"), lambda f: said.append(f.as_error())
    )
    sim.run_for(1)
    assert [isinstance(error, OverlayError) for error in said] == [True]
    assert sim.disk(A).stored("toy") == {}
