"""Same seed, same run; and what the order of events promises."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulator import assert_right, build
from overlay.core.message import Contact, Message
from overlay.core.protocol import Protocol, on
from overlay.core.trace import JsonTrace, Observer
from overlay.errors import LocalError
from overlay.sim import Faults, Network, Simulation
from overlay.sim.agenda import Agenda
from tests.fakes import contact
from tests.sim.toys import A, B, Note, Order, toys


class Gossip(Protocol):
    """Chance, timers, datagrams and commands, all mixed."""

    service = "gossip"

    def __init__(self, peers: list[Contact]):
        self.peers = peers
        self.inside = 0
        self.heard = 0

    def start(self) -> None:
        self.ctx.after(self.ctx.rng.random(), self.tell)

    def tell(self) -> None:
        assert not self.inside, "a handler runs inside another"
        self.inside += 1
        for peer in self.ctx.rng.sample(self.peers, 3):
            self.ctx.send(peer, self.ctx.rng.choice([Note, Order])(self.heard))
        self.ctx.send(self.ctx.me, Note(-1))
        self.ctx.call(self.ctx.me, Order(-2), lambda _: None, lambda _: None, timeout_s=1)
        self.ctx.after(0, self.ctx.record, "told")
        self.ctx.after(1, self.tell)
        self.inside -= 1

    @on(Note, Order)
    def on_message(self, sender: Contact, message: Note | Order) -> Message | None:
        assert not self.inside, "a handler runs inside another"
        self.inside += 1
        self.heard += 1
        if message.number >= 0 and self.ctx.rng.random() < 0.3:
            self.ctx.send(sender, Note(-3))
        self.inside -= 1
        return Note(-4) if message.number == 1 else None


def scenario(seed: int, network: Network, observers: tuple[Observer, ...] = ()) -> Simulation:
    """Ten seconds of everything."""
    peers = [contact(number) for number in range(12)]
    sim = Simulation(seed, network, observers)
    for peer in peers:
        sim.start(sim.add(peer, Gossip(peers)))
    sim.at(2, sim.crash, peers[3])
    sim.at(3, sim.pause, peers[4])
    sim.at(4, sim.restart, peers[3], lambda me: [Gossip(peers)])
    sim.at(5, sim.resume, peers[4])
    sim.at(6, sim.stop, peers[5])
    sim.run_for(10)
    return sim


def trace(seed: int) -> str:
    """The scenario under faults, as JSON lines."""
    stream = io.StringIO()
    scenario(seed, Faults(loss=0.1, duplicate=0.1, reorder=0.1), (JsonTrace(stream),))
    return stream.getvalue()


def heard(sim: Simulation) -> dict[int, int]:
    """A picture of the outcome."""
    return {peer.id: node.protocols["gossip"].heard for peer, node in sim.nodes.items()}


def test_a_trace_is_the_same_to_the_byte_in_processes_with_different_hash_seeds():
    program = "import sys; from tests.sim.test_determinism import trace; sys.stdout.write(trace(5))"
    traces = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(("lib", "."))}
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
            timeout=60,
        )
        traces.append(run.stdout)
    assert traces[0] == traces[1] == trace(5).encode()
    assert traces[0].count(b"\n") > 1000


def test_another_seed_is_another_run():
    assert trace(5) != trace(6)


@pytest.mark.parametrize("network", [Network, Faults, lambda: Faults(loss=0.2, duplicate=0.1)])
def test_who_looks_on_changes_nothing(network):
    alone, watched = scenario(1, network()), scenario(1, network(), (Observer(),))
    assert heard(alone) == heard(watched)
    assert alone.events == watched.events


def test_faults_draw_from_a_stream_of_their_own():
    assert heard(scenario(1, Network())) == heard(scenario(1, Faults()))


def test_a_node_more_does_not_change_the_chances_of_the_others():
    chances = [toys(count)[1][0].ctx.rng.random() for count in (2, 3)]
    assert chances[0] == chances[1]


@given(st.lists(st.tuples(st.floats(0, 0.004), st.lists(st.floats(0, 0.002), max_size=3)), max_size=30))
def test_events_happen_in_time_and_in_the_order_of_planning(plans):
    agenda = Agenda()
    planned, happened = [], []

    def plan(delay: float, then: list[float]) -> None:
        number = len(planned)
        planned.append((agenda.now + delay, number))
        agenda.at(agenda.now + delay, happen, number, then)

    def happen(number: int, then: list[float]) -> None:
        assert agenda.now == planned[number][0]
        happened.append(planned[number])
        for delay in then:
            plan(delay, [])

    for delay, then in plans:
        plan(delay, then)
    agenda.run(0.003)
    assert all(time <= 0.003 for time, _ in happened)
    assert len(happened) == agenda.events
    agenda.run(1)
    assert happened == sorted(planned)


def test_the_benchmark_measures_a_ring_that_stands():
    sim, ring = build(30)
    sim.run_for(20)
    assert_right(ring)
    assert sim.events > 30 * 5 * 10
    assert not sim.drops


def test_a_run_does_not_nest_and_leaves_the_collector_as_it_was():
    sim, _ = toys(1)
    before = gc.get_threshold(), gc.isenabled()
    sim.call_soon(sim.run_for, 1)
    with pytest.raises(LocalError):
        sim.run_for(1)
    assert (gc.get_threshold(), gc.isenabled()) == before
    assert gc.get_freeze_count() == 0


def test_a_datagram_goes_the_short_way_only_where_nobody_can_tell():
    """The benchmark's figures rest on it, so it shall not be lost unseen."""
    sim, (a, b) = toys(2)
    assert a.ctx.seats[B.id] is b.ctx
    sim.pause(B)
    assert B.id not in a.ctx.seats
    sim.crash(A)
    assert not a.ctx.seats
    for other in (toys(2, Faults())[1], toys(2, observers=[Observer()])[1], toys(2, encode=True)[1]):
        assert not other[0].ctx.seats
