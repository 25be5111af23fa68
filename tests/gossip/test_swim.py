"""SWIM and Lifeguard: what overrides what, one member on a fake context, and small groups in the simulator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.core.codec import MAX_FRAME_BYTES, pack
from overlay.core.context import Failure, Reason
from overlay.core.detector import FailureDetector
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import LocalError
from overlay.gossip.base import Join
from overlay.gossip.detection.messages import Ack, Members, Nack, Probe, ProbeFor, SwimConfig, Sync, Told
from overlay.gossip.detection.swim import Swim
from overlay.gossip.detection.updates import ALIVE, DEAD, SUSPECT, Member, Rumors, Update, overrides, suspicion_s
from overlay.ids import Key
from overlay.sim import Network, Simulation
from overlay.sim.faults import Faults
from tests.fakes import FakeContext, alone, contact

ME, A, B, C, D = (contact(number) for number in range(5))
SILENCE = Failure(Reason.TIMEOUT)


def swim(*others: Contact, **config: object) -> tuple[Swim, FakeContext]:
    """A member of a group of these, with nothing to tell."""
    node = Swim("g", SwimConfig(timer=False, **config))  # type: ignore[arg-type]
    ctx = alone(node, ME)
    node.start()
    node.admitted(A, Members(tuple(Update(other, ALIVE, 0) for other in others)))
    node.hush()
    return node, ctx


def status(node: Swim, peer: Contact) -> int:
    return node.members[peer.id].status


# Values -----------------------------------------------------------------------------------------------------------


def test_what_overrides_what() -> None:
    """SW02, section 4.2, line by line."""
    wins = {
        (ALIVE, 2): {(ALIVE, 0), (ALIVE, 1), (SUSPECT, 0), (SUSPECT, 1)},
        (SUSPECT, 2): {(ALIVE, 0), (ALIVE, 1), (ALIVE, 2), (SUSPECT, 0), (SUSPECT, 1)},
        (DEAD, 2): {(known, number) for known in (ALIVE, SUSPECT) for number in range(4)},
    }
    for (news, number), beaten in wins.items():
        update = Update(A, news, number)
        known = [(one, other) for one in (ALIVE, SUSPECT, DEAD) for other in range(4)]
        assert {old for old in known if overrides(update, Member(A, *old, 0.0))} == beaten
    later = Update(A, ALIVE, 2)
    assert [overrides(later, Member(A, DEAD, number, 0.0), returning=True) for number in (1, 2)] == [True, False]


@given(st.integers(0, 5), st.floats(1, 50), st.floats(1, 10))
def test_a_suspicion_is_shorter_the_more_share_it(confirmations: int, least: float, times: float) -> None:
    lasts = suspicion_s(least, least * times, confirmations, 3)
    assert least <= lasts <= least * times * (1 + 1e-9)
    assert suspicion_s(least, least * times, confirmations + 1, 3) <= lasts
    if confirmations >= 3:
        assert lasts == pytest.approx(least)


def test_what_was_told_least_is_told_first_and_only_so_often() -> None:
    rumors = Rumors()
    first, second, third = (Update(peer, ALIVE, 0) for peer in (A, B, C))
    rumors.add(first)
    assert rumors.pick(2, 3) == (first,)
    rumors.add(second)
    rumors.add(third)
    assert rumors.pick(2, 3) == (second, third)
    assert rumors.pick(3, 3, [third]) == (third, first, second), "what must be told goes first, once"
    for _ in range(5):
        rumors.pick(6, 3)
    assert len(rumors) == 0


# One member -------------------------------------------------------------------------------------------------------


def test_everybody_is_probed_once_before_anybody_twice() -> None:
    node, ctx = swim(A, B, C, D)
    for _ in range(12):
        node.probe()
        ctx.calls[-1].on_reply(Ack(()))
    asked = [call.peer.id for call in ctx.calls]
    for turn in (asked[:4], asked[4:8], asked[8:]):
        assert sorted(turn) == [1, 2, 3, 4]


def test_an_objection_is_repeated_to_whoever_has_not_heard_it() -> None:
    node, _ = swim(A, B)
    accused = Update(contact(0), SUSPECT, 0)
    node.on_told(A, Told((accused,)))
    mine = Update(contact(0), ALIVE, 1)
    while mine in node.on_probe(A, Probe(())).updates:
        """It is told so often, and perhaps to those who no longer wait for this answer."""
    node.on_told(B, Told((Update(contact(0), DEAD, 0),)))
    assert node.incarnation == 1 and mine in node.on_probe(B, Probe(())).updates


def test_who_watches_one_that_is_taken_for_dead_hears_unless_that_one_objects() -> None:
    for objects in (True, False):
        node, ctx = swim(A, B)
        node.on_told(B, Told((Update(A, DEAD, 0),)))
        dead: list[Contact] = []
        node.monitor(A, dead.append)
        assert (A, Told((Update(A, DEAD, 0),))) in ctx.sent and not dead
        if objects:
            node.on_told(A, Told((Update(A, ALIVE, 1),)))
        ctx.advance(10)
        assert dead == ([] if objects else [A])


def test_silence_is_looked_into_by_others_and_then_suspected() -> None:
    node, ctx = swim(A, B, C, D, helpers=2, lifeguard=False)
    node.probe()
    target = ctx.calls[0].peer
    ctx.calls[0].on_failed(SILENCE)
    helpers = ctx.calls[1:]
    assert len(helpers) == 2 and target not in [call.peer for call in helpers]
    assert all(isinstance(call.request, ProbeFor) and call.request.target == target for call in helpers)
    helpers[0].on_failed(SILENCE)
    assert status(node, target) == ALIVE
    helpers[1].on_failed(SILENCE)
    assert status(node, target) == SUSPECT and node.silences == 1
    ctx.advance(4.1)
    assert status(node, target) == DEAD and target not in node.neighbors() and node.deaths == [target.id]


def test_one_helper_that_heard_is_enough() -> None:
    node, ctx = swim(A, B, C, helpers=2)
    node.probe()
    ctx.calls[0].on_failed(SILENCE)
    ctx.calls[1].on_reply(Ack(()))
    ctx.calls[2].on_failed(SILENCE)
    assert not node.view().suspects


def test_a_helper_probes_and_passes_the_answer_on_or_says_in_time_that_there_is_none() -> None:
    for answers in (True, False):
        node, ctx = swim(A, B)
        outcome = node.on_probe_for(A, ProbeFor(B, ()))
        assert isinstance(outcome, Pending) and ctx.calls[0].peer == B
        if answers:
            ctx.calls[0].on_reply(Ack(()))
        ctx.advance(0.45)
        assert isinstance(outcome.result(), Ack if answers else Nack)


def test_whoever_is_suspected_objects_and_the_suspicion_ends() -> None:
    node, _ = swim(A)
    ack = node.on_probe(A, Probe((Update(ME, SUSPECT, 0, B.id),)))
    assert ack.updates == (Update(ME, ALIVE, 1),) and node.health == 1
    other, its_ctx = swim(A, B, lifeguard=False)
    other.on_told(A, Told((Update(B, SUSPECT, 0, A.id),)))
    other.on_told(A, Told((Update(B, ALIVE, 1),)))
    its_ctx.advance(60)
    assert status(other, B) == ALIVE


def test_only_a_new_life_brings_a_dead_member_back_before_its_death_is_forgotten() -> None:
    node, ctx = swim(A, B, forget_s=30.0, returning=False)
    node.on_told(A, Told((Update(B, DEAD, 0),)))
    node.on_probe(B, Probe(()))
    assert status(node, B) == DEAD
    assert ctx.take_sent() == [(B, Told((Update(B, DEAD, 0),)))], "it is told, and could come back as another"
    again = contact(2, boot=2)
    node.on_probe(again, Probe(()))
    assert again in node.neighbors() and B not in node.neighbors()
    node.on_told(A, Told((Update(again, DEAD, 0),)))
    ctx.advance(31)
    for _ in range(3):
        node.probe()
    node.on_probe(again, Probe(()))
    assert again in node.neighbors()


def test_a_member_that_hears_of_its_death_objects_and_is_back() -> None:
    dead, _ = swim(A)
    dead.on_told(A, Told((Update(ME, DEAD, 3),)))
    (objection,) = dead.on_probe(A, Probe(())).updates
    assert dead.expelled and objection == Update(ME, ALIVE, 4)
    node, _ = swim(A, B)
    told: list[tuple[Contact, bool]] = []
    node.subscribe(lambda peer, up: told.append((peer, up)))
    node.on_told(A, Told((Update(B, DEAD, 3),)))
    node.on_told(A, Told((Update(B, ALIVE, 3),)))
    assert B not in node.neighbors()
    node.on_told(A, Told((Update(B, ALIVE, 4),)))
    assert B in node.neighbors() and told == [(B, False), (B, True)]


def test_news_is_told_on_its_own_and_only_news() -> None:
    node, ctx = swim(A, B, C, fanout=2)
    node.gossip()
    assert not ctx.sent
    node.on_told(A, Told((Update(B, SUSPECT, 0, A.id),)))
    node.gossip()
    assert [message for _, message in ctx.take_sent()] == [Told((Update(B, SUSPECT, 0, A.id),))] * 2


def test_an_acknowledgement_is_no_longer_than_its_probe() -> None:
    node, _ = swim(A)
    node.admitted(A, Members(tuple(Update(contact(number), ALIVE, 0) for number in range(5, 40))))
    for probe in (Probe(()), Probe((), b""), Probe((Update(B, ALIVE, 0),))):
        ack = node.on_probe(A, probe)
        assert len(pack(ack)) <= max(len(pack(probe)), len(pack(Ack(()))))
    assert ack.updates


# Lifeguard --------------------------------------------------------------------------------------------------------


def test_a_member_that_hears_little_gives_others_more_time() -> None:
    node, ctx = swim(A, B, C, helpers=2, health=8)
    for _ in range(2):
        node.probe()
        ctx.calls[-1].on_failed(SILENCE)
        for call in ctx.calls[-2:]:
            call.on_failed(SILENCE)
    assert node.health == 6, "each time one for the probe and two for the nacks that did not come"
    node.probe()
    assert ctx.calls[-1].timeout_s == pytest.approx(0.5 * 7)
    ctx.calls[-1].on_reply(Ack(()))
    assert node.health == 5


def test_a_suspect_is_told_so_by_whoever_probes_it() -> None:
    node, ctx = swim(A)
    node.on_told(B, Told((Update(A, SUSPECT, 0, B.id),)))
    node.hush()
    node.probe()
    assert isinstance(ctx.calls[-1].request, Probe)
    assert ctx.calls[-1].request.updates[0] == Update(A, SUSPECT, 0, ME.id)


def test_a_suspicion_ends_sooner_when_others_have_it_too() -> None:
    for accusers, dead in ((1, False), (4, True)):
        node, ctx = swim(A, B, C, D)
        for number in range(accusers):
            node.on_told(B, Told((Update(A, SUSPECT, 0, Key(10 + number)),)))
        ctx.advance(5)
        assert (status(node, A) == DEAD) is dead
        ctx.advance(25)
        assert status(node, A) == DEAD


# Groups -----------------------------------------------------------------------------------------------------------


def test_it_is_a_failure_detector() -> None:
    sim = Simulation(4)
    nodes = [Swim("g") for _ in range(8)]
    for number, node in enumerate(nodes):
        sim.start(sim.add(contact(number), node))
        sim.run_until(node.join([contact(0).address] if number else []), 20)
    sim.run_for(10)
    assert all(len(node.neighbors()) == 7 for node in nodes)
    detector: FailureDetector = nodes[2]
    dead: list[Contact] = []
    detector.monitor(contact(5), dead.append)
    detector.monitor(contact(6), dead.append)
    detector.forget(contact(6))
    sim.crash(contact(5))
    sim.crash(contact(6))
    detector.doubt(contact(5))
    sim.run_until(lambda: dead, 60)
    assert dead == [contact(5)]
    sim.run_for(60)
    assert all(len(node.neighbors()) == 5 for number, node in enumerate(nodes) if number not in (5, 6))
    assert nodes[0].on_join(contact(7), Join()).updates[0].contact == contact(0)


def test_two_members_tell_each_other_all_they_know_and_hearsay_is_no_confirmation() -> None:
    node, _ = swim(A, B, C)
    node.on_told(B, Told((Update(A, DEAD, 0), Update(B, SUSPECT, 0, C.id))))
    other, _ = swim(A, B, D)
    answer = other.on_sync(C, Sync(node._everything(C)))
    assert {update.contact for update in answer.updates} == {ME, A, B, D}
    assert status(other, A) == DEAD and other.members[B.id].accusers == {C.id}
    node.on_told(D, Told(answer.updates))
    assert D in node.neighbors() and node.members[B.id].accusers == {C.id}


def test_all_that_is_told_at_once_fits_a_frame() -> None:
    node, _ = swim()
    for number in range(1, 1000):
        far = Contact(Key((1 << 62) + number), "2001:db8:1111:2222:3333:4444:5555:6666", 65_535, 1 << 45)
        node.on_told(A, Told((Update(far, SUSPECT, 1, far.id),)))
    (own, *others) = node._everything(A)
    assert own.contact == ME and len(others) == 799
    assert len(pack(Sync((own, *others)))) < MAX_FRAME_BYTES - 1000


def test_whoever_has_missed_the_news_hears_it_in_an_exchange() -> None:
    """Without exchanges, some of 64 that come at once never know of all."""
    sim = Simulation(3, Faults(Network(), loss=0.3))
    nodes = [Swim("g", SwimConfig(spread=0.5)) for _ in range(64)]
    for number, node in enumerate(nodes):
        sim.start(sim.add(contact(number), node))
        node.join([contact(0).address] if number else [])
    sim.run_until(lambda: all(len(node.neighbors()) == 63 for node in nodes), 40)


def test_parameters_out_of_range_are_named() -> None:
    with pytest.raises(LocalError, match="timeout_s < period_s"):
        Swim("g", SwimConfig(timeout_s=1.0))
    with pytest.raises(LocalError, match="updates in a message"):
        Swim("g", SwimConfig(updates=50))
