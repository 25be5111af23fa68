"""Fingers: logarithmic routes, to the right peer, also while peers come and go (CH03; K1 and K2 of the common API)."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from overlay.core.message import Command, Contact, Message
from overlay.ids import Key
from overlay.kbr import Pass, Route, Stop
from overlay.ring.fingers import FingerConfig, offsets
from overlay.ring.hops import LEAST_S, RoundTrips
from overlay.ring.messages import FindFinger
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Simulation
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


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_under_churn_a_lookup_ends_at_the_right_root_or_in_a_named_error(loss: float) -> None:
    ring = ChurningRing(2, 40, loss=loss)
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


def test_timeouts_follow_the_measured_round_trip() -> None:
    trips, peer = RoundTrips(), contact(1)
    assert trips.timeout_s(peer, 2.0) == 2.0
    for _ in range(50):
        trips.note(peer, 0.1)
    assert trips.timeout_s(peer, 2.0) == LEAST_S
    for seconds in (0.2, 0.6, 0.2, 0.6) * 20:
        trips.note(peer, seconds)
    assert 0.9 < trips.timeout_s(peer, 2.0) < 1.5


# The common API (Dabek et al. 2003): what any overlay owes an application. ----------------------------------------


class Word(Command, frozen=True):
    text: str


class Probe:
    """An application that writes down its upcalls."""

    name = "probe"
    messages: tuple[type[Message], ...] = (Word,)

    def __init__(self, me: int):
        self.me = me
        self.forwarded: list[int] = []
        self.delivered: list[str] = []
        self.neighbors: list[tuple[int, bool]] = []
        self.verdict: Stop | Contact | None = None

    def forward(self, key: int, message: Message, next_hop: Contact) -> Pass | Stop:
        self.forwarded.append(int(next_hop.id))
        return self.verdict if isinstance(self.verdict, Stop) else Pass(self.verdict or next_hop)

    def deliver(self, message: Message, route: Route) -> Message:
        assert isinstance(message, Word)
        self.delivered.append(message.text)
        return Word(f"{message.text} at {self.me}")

    def update(self, neighbor: Contact, joined: bool) -> None:
        self.neighbors.append((int(neighbor.id), joined))


class Ring:
    """Sixteen peers, 0, 16, ... 240, with fingers."""

    def __init__(self) -> None:
        self.sim = Simulation(1)
        self.parts: dict[int, RingParts] = {}
        self.probes: dict[int, Probe] = {}
        for number in range(0, 256, 16):
            me = Contact(Key(number), "127.0.0.1", 12000 + number, 1)
            parts = RingParts(1.0, RingConfig(successors=4), fingers=FingerConfig())
            probe = self.probes[number] = Probe(number)
            parts.router.register(probe)
            self.sim.start(self.sim.add(me, *parts.protocols()))
            if number:
                self.sim.run_until(parts.admission.join("127.0.0.1", 12000, 10), 20)
            else:
                parts.chord.begin([], awaited=False)
            self.parts[number] = parts
        self.sim.run_for(10)

    def route(self, start: int, key: int, text: str = "word", hint: int | None = None) -> tuple[str, tuple[int, ...]]:
        there = None if hint is None else self.parts[hint].chord.ctx.me
        pending = self.parts[start].router.route("probe", key, Word(text), hint=there)
        answered = self.sim.run_until(pending, 60)
        assert answered is not None and isinstance(answered.answer, Word)
        return answered.answer.text, tuple(int(number) for number in answered.path)


@pytest.fixture
def ring() -> Ring:
    return Ring()


def test_k1_delivered_once_at_the_root_and_asked_at_every_hop_in_order(ring: Ring) -> None:
    answer, path = ring.route(0, 170)
    assert answer == "word at 176"
    assert [probe.delivered for number, probe in ring.probes.items() if number != 176] == [[]] * 15
    assert ring.probes[176].delivered == ["word"]
    assert [ring.probes[hop].forwarded for hop in path[:-1]] == [[after] for after in path[1:]]
    assert len(path) - 1 <= 4


def test_k1_a_hint_is_the_first_hop(ring: Ring) -> None:
    assert ring.route(0, 170, hint=32)[1][:2] == (0, 32)
    assert ring.probes[176].delivered == ["word"]


def test_k1_forward_may_redirect_and_stop(ring: Ring) -> None:
    ring.probes[0].verdict = ring.parts[32].chord.ctx.me
    assert ring.route(0, 170)[1][:2] == (0, 32)
    ring.probes[0].verdict = Stop("not this way")
    with pytest.raises(Exception, match="not this way"):
        ring.route(0, 170)


def test_k1_a_repeated_attempt_is_served_once(ring: Ring) -> None:
    router = ring.parts[0].router
    pending = router.route("probe", 170, Word("word"))
    (operation,) = router._waiting.values()
    ring.sim.call_soon(router._attempt, operation)
    ring.sim.run_until(pending, 10)
    ring.sim.run_for(10)
    assert ring.probes[176].delivered == ["word"]


def test_k2_when_the_first_of_a_replica_set_die_the_next_is_the_root(ring: Ring) -> None:
    replicas = ring.parts[160].router.replica_set(170, 3)
    assert [replica.id for replica in replicas] == [176, 192, 208]
    for dead, heir in itertools.pairwise(replicas):
        ring.sim.crash(dead)
        ring.sim.run_for(15)
        assert ring.route(0, 170)[0] == f"word at {heir.id}"
    assert (192, False) in ring.probes[160].neighbors
    assert ring.parts[208].router.range() == (160, 208)


def test_a_local_lookup_asks_nobody_and_names_the_best_hop_first(ring: Ring) -> None:
    hops = ring.parts[0].router.local_lookup(170, 3)
    assert hops[0].id == 128
    assert len(hops) == 3
    assert isinstance(FindFinger(), Command)
