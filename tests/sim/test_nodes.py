"""Calls, watches, and the lives of a node: crash, pause, stop, restart."""

from __future__ import annotations

import msgspec
import pytest

from overlay.core.context import Reason
from overlay.core.message import Datagram
from overlay.core.trace import Observer
from overlay.errors import Indefinite, LocalError
from overlay.sim import Faults, Simulation
from tests.fakes import contact
from tests.sim.toys import A, B, Later, Note, Order, Question, Toy, toys


class Unheard(Datagram, frozen=True):
    """Nobody handles it."""


@pytest.mark.parametrize("encode", [False, True])
def test_a_call_ends_in_an_answer_or_a_reason(encode):
    sim, (a, _) = toys(2, encode=encode)
    for peer, question in [(B, Question(4)), (B, Unheard()), (contact(9), Question(1)), (contact(2, 8), Question(1))]:
        a.ask(peer, question)
        sim.run_for(2)
    assert a.outcomes == [Order(5), Reason.REFUSED, Reason.UNREACHABLE, Reason.REFUSED]
    assert sim.drops["meant for another incarnation"] == 1


def test_boot_0_means_any_incarnation():
    sim, (a, b) = toys(2)
    anyone = msgspec.structs.replace(B, boot=0)
    a.ctx.send(anyone, Note(1))
    a.ask(anyone)
    sim.run_for(1)
    assert b.numbers == [1]
    assert a.outcomes == [Order(2)]


@pytest.mark.parametrize("observers", [(), (Observer(),)], ids=["direct", "by post"])
def test_what_is_sent_to_any_incarnation_reaches_the_next_one(observers):
    sim = Simulation(observers=observers)
    anyone = contact(2, 0)
    a, first, second = Toy(), Toy(), Toy()
    sim.start(sim.add(A, a))
    sim.start(sim.add(anyone, first))
    a.ctx.send(anyone, Note(1))
    sim.restart(anyone, lambda me: [second])
    sim.run_for(1)
    assert (first.numbers, second.numbers) == ([], [1])


def test_a_crash_breaks_connections_and_refuses_new_ones():
    sim, (a, _) = toys(2)
    down = []
    a.ctx.watch(B, lambda peer: down.append((sim.now, peer)))
    a.ask(B, Later(), timeout_s=60)
    sim.run_for(1)
    assert down == []
    sim.crash(B)
    a.ctx.send(B, Note(1))
    sim.run_for(0.1)
    assert a.outcomes == [Reason.UNREACHABLE]
    assert [peer for _, peer in down] == [B]
    assert 1 < down[0][0] <= 1.002, "one delay later"
    assert list(sim.nodes) == [A]
    a.ctx.watch(B, lambda peer: down.append((sim.now, peer)))
    sim.run_for(0.1)
    assert len(down) == 2, "refused"


def test_unwatched_is_unheard_and_a_second_watch_replaces_the_first():
    sim, (a, _, _) = toys(3)
    down = []
    a.ctx.watch(B, lambda peer: down.append("first"))
    a.ctx.watch(B, lambda peer: down.append("second"))
    a.ctx.watch(contact(3), lambda peer: down.append("third"))
    a.ctx.unwatch(contact(3))
    sim.run_for(1)
    sim.crash(B)
    sim.crash(contact(3))
    sim.run_for(30)
    assert down == ["second"]


def test_a_crash_behind_a_cut_is_heard_of_when_the_cut_is_healed():
    faults = Faults()
    sim, (a, _) = toys(2, faults)
    down = []
    a.ctx.watch(B, down.append)
    sim.run_for(1)
    a.ask(B, Later(), timeout_s=30)
    sim.run_for(1)
    faults.cut(B, A)
    sim.crash(B)
    sim.run_for(60)
    assert down == []
    assert a.outcomes == [Reason.TIMEOUT]
    faults.heal()
    sim.run_for(10)
    assert down == [B]


@pytest.mark.parametrize("observed", [False, True], ids=["direct", "by post"])
def test_a_paused_node_is_silent_and_goes_on_where_it_stood(observed):
    sim, (a, b) = toys(2, Faults() if observed else None)
    fired = []
    b.ctx.after(5, lambda: fired.append(sim.now))
    b.ctx.after(5, fired.append, "cancelled").cancel()
    sim.run_for(1)
    a.ctx.send(B, Note(0))
    sim.pause(B)
    a.ctx.send(B, Note(1))
    a.ctx.send(B, Order(2))
    a.ask(B)
    down = []
    a.ctx.watch(B, down.append)
    sim.run_for(9)
    assert (b.heard, fired, down) == ([], [], [])
    assert a.outcomes == [Reason.TIMEOUT]
    sim.resume(B)
    sim.run_for(1)
    assert sorted(b.numbers) == [0, 1, 2]
    assert fired == [10]
    assert a.outcomes == [Reason.TIMEOUT], "the answer came too late"


def test_a_restart_is_another_incarnation_and_hears_nothing_meant_for_the_old_one():
    sim, (a, b) = toys(2)
    fired = []
    b.ctx.after(1, fired.append, "timer of the dead")
    a.ctx.send(B, Note(1))
    a.ctx.send(B, Order(2))
    second = Toy()
    node = sim.restart(B, lambda me: [second])
    sim.run_for(5)
    assert node.me == contact(2, 2)
    assert list(sim.nodes) == [A, node.me]
    assert (b.heard, second.heard, fired) == ([], [], [])
    a.ctx.send(node.me, Note(3))
    sim.run_for(1)
    assert second.numbers == [3]


def test_a_stop_is_clean():
    sim, (a, b) = toys(2)
    sim.stop(B)
    assert b.stopped
    assert list(sim.nodes) == [A]
    a.ask(B)
    sim.run_for(1)
    assert a.outcomes == [Reason.UNREACHABLE]
    with pytest.raises(LocalError):
        sim.crash(B)


def test_meet_finds_who_lives_at_an_address():
    faults = Faults()
    sim, (a, _, _) = toys(3, faults)
    sim.pause(contact(3))
    met = []
    for port in (B.port, 1, contact(3).port):
        a.ctx.meet(B.host, port, met.append, lambda failure: met.append(failure.reason), timeout_s=3)
        sim.run_for(5)
    assert met == [B, Reason.UNREACHABLE, Reason.TIMEOUT]


def test_run_until_ends_with_the_event_that_was_waited_for():
    sim, (a, b) = toys(2)
    a.ctx.send(B, Note(1))
    a.ctx.send(B, Note(2))
    sim.run_until(lambda: bool(b.heard), 10)
    assert len(b.heard) == 1
    assert sim.now == b.heard[0][0]
    a.ask(B, Later())
    sim.run_until(lambda: bool(b.late), 10)
    sim.at(sim.now + 0.5, b.late[0].resolve, Order(1))
    assert sim.run_until(b.late[0], 10) == Order(1)
    with pytest.raises(Indefinite):
        sim.run_until(lambda: False, 10)


def test_an_assertion_of_a_handler_or_an_invariant_reaches_the_caller_and_the_rest_still_happens():
    sim, (a, b) = toys(2)

    def fail() -> None:
        sim.call_soon(b.outcomes.append, "planned by it")
        raise AssertionError("broken")

    sim.at(1, fail)
    sim.at(1, b.outcomes.append, "after it")
    with pytest.raises(AssertionError, match="broken"):
        sim.run_for(5)
    assert sim.now == 1
    sim.run_for(1)
    assert b.outcomes == ["after it", "planned by it"]
    seen = []
    sim.inspect = lambda it: seen.append(it.now)
    a.ctx.send(B, Note(1))
    before = sim.events
    sim.run_for(1)
    assert sim.events - before == 1
    assert b.heard[-1][0] in seen


def test_wall_clocks_are_skewed_and_listeners_hear_what_is_notified():
    sim, (a, b) = toys(2)
    assert 0 < abs(a.ctx.wall - b.ctx.wall) < 20
    heard = []
    sim.listen(A, heard.append)
    a.ctx.notify(Note(1))
    assert heard == [], "not while the handler runs"
    sim.run_for(1)
    assert heard == [Note(1)]


def test_an_address_has_one_node_at_a_time():
    sim = Simulation()
    sim.start(sim.add(A, Toy()))
    with pytest.raises(LocalError):
        sim.add(contact(1, 5), Toy())
    with pytest.raises(LocalError):
        sim.start(A)
