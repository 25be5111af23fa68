"""Three protocols sketched against the Context before anything was built on it: does the interface carry them?

A quorum put, a recursive route with an acknowledgement a hop, and HyParView's ForwardJoin. They stay as tests of it.
"""

from __future__ import annotations

from overlay.core.context import Failure, Reason
from overlay.core.message import Command, Contact, Message
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.core.storage import Entry, Write
from overlay.errors import Indefinite
from overlay.ids import between
from overlay.sim import Faults, Simulation
from tests.fakes import alone, contact

# A quorum put: done when w of the replicas have it durable, and it says so while the others are still at work. -----


class Put(Command, frozen=True):
    key: str
    value: bytes


class Replica(Protocol):
    service = "quorum"

    @on(Put)
    def on_put(self, sender: Contact, put: Put) -> Pending[Message]:
        durable: Pending[Message] = Pending()
        batch = (Write(put.key, Entry(put.value)),)
        self.ctx.persist(batch, lambda: durable.resolve(None), lambda failure: durable.fail(failure.as_error()))  # type: ignore[arg-type]
        return durable

    def put(self, replicas: list[Contact], put: Put, wanted: int) -> Pending[int]:
        outcome: Pending[int] = Pending()
        acknowledged: list[Contact] = []
        failed: list[Failure] = []

        def look(_: object) -> None:
            if len(acknowledged) >= wanted:
                outcome.resolve(len(acknowledged))
            elif len(replicas) - len(failed) < wanted:
                outcome.fail(Indefinite(f"{len(acknowledged)} of {wanted} copies are durable"))

        for replica in replicas:
            self.ctx.call(
                replica,
                put,
                lambda done, replica=replica: look(acknowledged.append(replica)),  # type: ignore[misc, func-returns-value]
                lambda failure: look(failed.append(failure)),  # type: ignore[func-returns-value]
                timeout_s=2,
            )
        return outcome


def quorum(dead: int) -> tuple[Simulation, Pending[int]]:
    sim = Simulation(1)
    replicas = [Replica() for _ in range(3)]
    for number, replica in enumerate(replicas):
        sim.start(sim.add(contact(number), replica))
    for number in range(1, dead + 1):
        sim.crash(contact(number))
    return sim, replicas[0].put([contact(n) for n in range(3)], Put("a", b"1"), 2)


def test_a_quorum_put_is_done_when_enough_are_durable_and_is_there_after_a_crash() -> None:
    sim, outcome = quorum(dead=1)
    assert sim.run_until(outcome, 5) == 2
    sim.restart(contact(2), lambda me: [Replica()])
    assert sim.disk(contact(2)).stored("quorum") == {"a": Entry(b"1")}


def test_a_quorum_put_without_a_quorum_fails() -> None:
    sim, outcome = quorum(dead=2)
    sim.run_for(5)
    assert isinstance(outcome.error, Indefinite)


# A recursive route: every hop acknowledges, and one that is silent is gone around. ------------------------------


class Routed(Command, frozen=True):
    token: int
    key: int
    origin: Contact


class Arrived(Command, frozen=True):
    token: int


class Hop(Protocol):
    service = "hop"

    def __init__(self, ahead: list[Contact]):
        self.ahead = ahead
        self.open: dict[int, Pending[Contact]] = {}

    def route(self, key: int) -> Pending[Contact]:
        token = self.ctx.rng.getrandbits(53)
        self.open[token] = arrived = Pending()
        self.pass_on(Routed(token, key, self.ctx.me))
        return arrived

    def pass_on(self, routed: Routed) -> None:
        me = self.ctx.me
        if self.ahead and not between(me.id, routed.key, self.ahead[0].id):
            closer = [c for c in self.ahead if c.id == routed.key or between(me.id, c.id, routed.key)]
            hop = closer[-1]
            self.ctx.call(hop, routed, lambda done: None, lambda failure: self.around(hop, routed), timeout_s=0.5)
        else:
            self.ctx.call(routed.origin, Arrived(routed.token), lambda done: None, lambda failure: None, timeout_s=2)

    def around(self, silent: Contact, routed: Routed) -> None:
        self.ahead = [c for c in self.ahead if c != silent]
        self.pass_on(routed)

    @on(Routed)
    def on_routed(self, sender: Contact, routed: Routed) -> None:
        self.pass_on(routed)

    @on(Arrived)
    def on_arrived(self, sender: Contact, arrived: Arrived) -> None:
        if arrived.token in self.open:
            self.open.pop(arrived.token).resolve(sender)


def test_a_route_goes_around_the_dead_and_its_answer_comes_from_a_third_peer() -> None:
    sim = Simulation(1, Faults(loss=0.2))
    ring = [contact(number) for number in range(0, 160, 10)]
    hops = [Hop([ring[(i + (1 << s)) % 16] for s in range(4)]) for i in range(16)]
    for me, hop in zip(ring, hops, strict=True):
        sim.start(sim.add(me, hop))
    for index in (4, 9, 12):
        sim.crash(ring[index])
    arrived = sim.run_until(hops[0].route(147), 30)
    assert arrived == contact(140)


# HyParView's ForwardJoin (HV07, algorithm 1): a whole unit test is one comparison of what was sent. ---------------


class ForwardJoin(Command, frozen=True):
    newcomer: Contact
    ttl: int


class Neighbor(Command, frozen=True):
    pass


class Walk(Protocol):
    service = "membership/hyparview"
    PRWL = 3

    def __init__(self, active: list[Contact]):
        self.active = active
        self.passive: list[Contact] = []

    @on(ForwardJoin)
    def on_forward_join(self, sender: Contact, message: ForwardJoin) -> None:
        if message.ttl == 0 or len(self.active) == 1:
            self.add(message.newcomer)
            return
        if message.ttl == self.PRWL:
            self.passive.append(message.newcomer)
        others = [c for c in self.active if c not in (sender, message.newcomer)]
        self.ctx.send(self.ctx.rng.choice(others), ForwardJoin(message.newcomer, message.ttl - 1))

    def add(self, newcomer: Contact) -> None:
        self.active.append(newcomer)
        self.ctx.watch(newcomer, self.on_down)
        self.ctx.send(newcomer, Neighbor())

    def on_down(self, peer: Contact) -> None:
        self.active.remove(peer)


def test_a_forward_join_is_one_comparison() -> None:
    walk = Walk([contact(2), contact(4)])
    ctx = alone(walk, contact(1))
    walk.on_forward_join(contact(2), ForwardJoin(contact(9), 3))
    assert ctx.take_sent() == [(contact(4), ForwardJoin(contact(9), 2))]
    assert walk.passive == [contact(9)]
    walk.on_forward_join(contact(2), ForwardJoin(contact(9), 0))
    assert ctx.take_sent() == [(contact(9), Neighbor())]
    assert list(ctx.watched) == [contact(9)]


def test_a_neighbor_that_goes_down_is_told_of_by_the_watch() -> None:
    sim, walk = Simulation(1), Walk([])
    sim.start(sim.add(contact(1), walk))
    sim.start(sim.add(contact(2), Walk([contact(1)])))
    sim.call_soon(walk.on_forward_join, contact(2), ForwardJoin(contact(2), 0))
    sim.run_for(1)
    assert walk.active == [contact(2)]
    sim.crash(contact(2))
    sim.run_for(1)
    assert walk.active == []


def test_a_failure_says_whose_fault_it_was() -> None:
    assert isinstance(Failure(Reason.TIMEOUT).as_error(), Indefinite)
