"""The memberships, one node at a time on a fake context, and small networks in the simulator."""

from __future__ import annotations

import pytest

from overlay.core.codec import pack
from overlay.core.context import Failure, Reason
from overlay.errors import Indefinite, LocalError, RemoteError
from overlay.gossip.base import Join
from overlay.gossip.membership.cyclon import Cyclon, CyclonConfig, Swap, Swapped
from overlay.gossip.membership.hyparview import (
    Disconnect,
    ForwardJoin,
    HyParView,
    HyParViewConfig,
    Neighbor,
    NeighborAnswer,
    Shuffle,
    ShuffleReply,
)
from overlay.gossip.membership.newscast import Newscast, NewscastConfig
from overlay.gossip.membership.peer_sampling import PeerSampling, SamplingConfig, ViewOffer, ViewReply
from overlay.gossip.view import Descriptor
from overlay.sim import Simulation
from tests.fakes import FakeContext, alone, contact

ME, A, B, C, D = (contact(number) for number in range(5))


def started(protocol: PeerSampling | HyParView | Cyclon) -> FakeContext:
    """The protocol running as peer 0, on a fake context."""
    ctx = alone(protocol, ME)
    protocol.start()
    return ctx


def fresh(*numbers: int) -> tuple[Descriptor, ...]:
    """Descriptors of these peers, just made."""
    return tuple(Descriptor(contact(number), 0.0) for number in numbers)


# Peer sampling: PS07, Fig. 1 -------------------------------------------------------------------------------------


def test_newscast_sends_its_whole_view_with_itself_first_and_keeps_the_freshest() -> None:
    node = Newscast("n", NewscastConfig(view_size=2, period_s=0))
    ctx = started(node)
    node.links.merge([Descriptor(A, 3.0), Descriptor(B, 5.0)], 0.0)
    node.gossip()
    (call,) = ctx.calls
    assert isinstance(call.request, ViewOffer)
    assert call.request.entries[0] == Descriptor(ME, 0.0)
    assert {d.contact for d in call.request.entries[1:]} == {A, B}
    call.on_reply(ViewReply((Descriptor(C, 4.0), Descriptor(B, 6.0))))
    assert set(node.neighbors()) == {A, C}, "B's news is the oldest"


def test_a_peer_that_does_not_answer_stays_and_another_one_is_tried() -> None:
    node = Newscast("n", NewscastConfig(period_s=0, attempts=2))
    ctx = started(node)
    node.links.merge(fresh(1, 2), 0.0)
    node.gossip()
    ctx.calls[0].on_failed(Failure(Reason.TIMEOUT))
    assert {call.peer for call in ctx.calls} == {A, B}
    ctx.calls[1].on_failed(Failure(Reason.TIMEOUT))
    assert len(ctx.calls) == 2 and set(node.neighbors()) == {A, B}


@pytest.mark.parametrize("others", [4, 0])
def test_where_nobody_is_pushed_out_the_dead_are_forgotten_unless_all_are_silent(others: int) -> None:
    sim = Simulation(1)
    nodes = [Newscast("n", NewscastConfig(forget=50)) for _ in range(2 + others)]
    for number, node in enumerate(nodes):
        sim.start(sim.add(contact(number), node))
        node.join([contact(0).address] if number else [])
    sim.run_for(5)
    assert all(len(node.neighbors()) == 1 + others for node in nodes)
    sim.crash(contact(1))
    sim.run_for(60)
    assert all((A in node.neighbors()) == (not others) for number, node in enumerate(nodes) if number != 1)
    assert all(len(node.neighbors()) == (others or 1) for number, node in enumerate(nodes) if number != 1)


def test_push_expects_no_answer_and_gives_none() -> None:
    node = PeerSampling("sampling/n", SamplingConfig(propagation="push", period_s=0))
    ctx = started(node)
    node.links.merge(fresh(1), 0.0)
    node.gossip()
    assert not ctx.calls and len(ctx.sent) == 1
    assert node.on_offer(B, ViewOffer(fresh(2, 3))) is None
    assert set(node.neighbors()) == {A, B, C}


def test_an_answer_is_no_longer_than_its_question() -> None:
    node = Newscast("n", NewscastConfig(view_size=20, period_s=0))
    started(node)
    node.links.merge(fresh(*range(1, 21)), 0.0)
    for offer in (
        ViewOffer(()),
        ViewOffer(fresh(30)),
        ViewOffer(fresh(30), bytes(300)),
        ViewOffer(fresh(30), bytes(900)),
    ):
        reply = node.on_offer(D, offer)
        assert reply is not None and len(pack(reply)) <= max(len(pack(offer)), len(pack(ViewReply(()))))
    assert isinstance(reply, ViewReply) and len(reply.entries) == 21, "padding buys the whole view"


def test_a_newcomer_begins_with_the_view_of_whoever_lets_it_in_and_listeners_hear_who_comes_and_goes() -> None:
    node = Newscast("n", NewscastConfig(view_size=2, period_s=0))
    ctx = started(node)
    told: list[tuple[int, bool]] = []
    node.subscribe(lambda peer, up: told.append((peer.id, up)))
    node.admitted(A, node.on_join(B, Join()))
    assert set(node.neighbors()) == {A, B}
    ctx.advance(5)
    node.on_offer(C, ViewOffer(fresh(3)))
    assert sorted(told[:2]) == [(1, True), (2, True)] and told[2] == (3, True) and told[3][1] is False


def test_parameters_out_of_range_are_named() -> None:
    for wrong in (
        {"view_size": 0}, {"period_s": -1.0}, {"timeout_s": 0}, {"peer_selection": "middle"}, {"propagation": "shout"}
    ):  # fmt: skip
        with pytest.raises(LocalError, match="out of range"):
            Newscast("n", NewscastConfig(**wrong))  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="prwl"):
        HyParView("n", HyParViewConfig(prwl=9))
    with pytest.raises(LocalError, match="id has 1 to 55 "):
        Newscast("n" * 56)


# Cyclon: CY05, section 3 ------------------------------------------------------------------------------------------


def test_cyclon_swaps_with_the_oldest_and_only_what_it_sent_makes_room() -> None:
    node = Cyclon("n", CyclonConfig(view_size=3, shuffle_length=2, period_s=0))
    ctx = started(node)
    node.links.merge([Descriptor(A, 3.0), Descriptor(B, 2.0), Descriptor(C, 1.0)], 0.0)
    node.shuffle()
    (call,) = ctx.calls
    assert call.peer == A and A not in node.neighbors()
    assert isinstance(call.request, Swap) and call.request.entries[0] == Descriptor(ME, 0.0)
    sent = call.request.entries[1].contact
    call.on_reply(Swapped((*fresh(4), Descriptor(ME, 1.0), *fresh(5))))
    kept = B if sent == C else C
    assert set(node.neighbors()) == {kept, D, contact(5)}


# HyParView: HP07, Algorithm 1 -------------------------------------------------------------------------------------


def hyparview(*active: int, passive: tuple[int, ...] = (), **config: int) -> tuple[HyParView, FakeContext]:
    """A node with these views, and nothing sent yet."""
    node = HyParView("n", HyParViewConfig(period_s=0, **config))
    ctx = started(node)
    for number in active:
        node.admitted(contact(number), None)
    for number in passive:
        node.passive[contact(number).id] = contact(number)
    ctx.take_sent()
    return node, ctx


def test_a_join_makes_room_and_is_forwarded_to_every_other_neighbor() -> None:
    node, ctx = hyparview(1, 2, active_size=2)
    node.on_join(C, Join())
    sent = ctx.take_sent()
    (dropped,) = [peer for peer, message in sent if message == Disconnect()]
    (kept,) = {A, B} - {dropped}
    assert (kept, ForwardJoin(C, 6)) in sent and len(sent) == 2
    assert set(node.neighbors()) == {kept, C} and set(node.passive) == {dropped.id}
    assert set(ctx.watched) == {kept, C}


def test_a_forwarded_join_walks_on_enters_the_passive_view_at_prwl_and_ends_as_a_neighbor() -> None:
    node, ctx = hyparview(1, 2)
    node.on_forward_join(A, ForwardJoin(C, 6))
    assert ctx.take_sent() == [(B, ForwardJoin(C, 5))] and not node.passive
    node.on_forward_join(A, ForwardJoin(C, 3))
    assert ctx.take_sent() == [(B, ForwardJoin(C, 2))] and set(node.passive) == {3}
    node.on_forward_join(A, ForwardJoin(C, 0))
    assert [(call.peer, call.request) for call in ctx.calls] == [(C, Neighbor(high=True))]
    ctx.calls[0].on_reply(NeighborAnswer(True))
    assert C in node.neighbors() and not node.passive, "nobody is in both views"
    node.on_forward_join(A, ForwardJoin(ME, 0))
    assert len(ctx.calls) == 1, "its own join came back"


def test_a_dead_neighbor_is_replaced_from_the_passive_view_until_somebody_accepts() -> None:
    node, ctx = hyparview(1, passive=(2, 3, 4), active_size=2)
    ctx.watched[A](A)
    assert not node.active
    asked = []
    for answer in (Failure(Reason.UNREACHABLE), NeighborAnswer(False), NeighborAnswer(True)):
        call = ctx.calls[-1]
        assert call.request == Neighbor(high=True), "it has no neighbor left"
        asked.append(call.peer)
        call.on_failed(answer) if isinstance(answer, Failure) else call.on_reply(answer)
    _, refusing, accepting = asked
    assert node.neighbors() == (accepting,)
    assert set(node.passive) == {refusing.id}, "the dead one is forgotten, the one that refused is kept"


def test_low_priority_needs_a_free_place_and_high_priority_does_not() -> None:
    node, ctx = hyparview(1, 2, active_size=2)
    assert node.on_neighbor(C, Neighbor(high=False)) == NeighborAnswer(False)
    assert node.on_neighbor(A, Neighbor(high=False)) == NeighborAnswer(True), "it is one already"
    assert node.on_neighbor(C, Neighbor(high=True)) == NeighborAnswer(True)
    assert C in node.neighbors() and len(node.active) == 2
    assert [message for _, message in ctx.take_sent()] == [Disconnect()]


def test_a_disconnect_that_crosses_our_question_leaves_no_link_with_one_end() -> None:
    node, ctx = hyparview(passive=(1,))
    node.shuffle()
    (call,) = ctx.calls
    node.on_disconnect(A, Disconnect())
    call.on_reply(NeighborAnswer(True))
    assert not node.active and (A, Disconnect()) in ctx.take_sent()


def test_a_shuffle_walks_and_whoever_it_ends_at_answers_with_as_many_contacts() -> None:
    node, ctx = hyparview(1, 2, passive=(5, 6, 7))
    node.on_shuffle(A, Shuffle(C, (C, D), 3))
    assert ctx.take_sent() == [(B, Shuffle(C, (C, D), 2))]
    node.on_shuffle(A, Shuffle(C, (C, D), 1))
    ((peer, reply),) = ctx.take_sent()
    assert peer == C and isinstance(reply, ShuffleReply) and len(reply.contacts) == 2
    assert {3, 4} <= set(node.passive)
    node.on_shuffle(D, Shuffle(C, (C,), 3))
    assert (D, Disconnect()) in ctx.take_sent(), "D believes to be our neighbor, and is not"


def test_contacts_that_were_given_away_make_room_for_those_that_come() -> None:
    node, ctx = hyparview(1, passive=(5, 6, 7), passive_size=3, ka=0, kp=1)
    node.shuffle()
    ((_, shuffle),) = [(peer, m) for peer, m in ctx.take_sent() if isinstance(m, Shuffle)]
    given = shuffle.contacts[1]
    node.on_shuffle_reply(B, ShuffleReply((D,)))
    assert set(node.passive) == ({5, 6, 7} - {given.id}) | {4}
    node.on_shuffle_reply(B, ShuffleReply((C,)))
    assert 3 not in node.passive, "nobody asked for a second answer"


def test_whoever_leaves_says_so_and_is_not_asked_again() -> None:
    node, ctx = hyparview(1, 2)
    node.on_disconnect(A, Disconnect(leaving=True))
    assert node.neighbors() == (B,) and not node.passive
    node.stop()
    assert ctx.take_sent() == [(B, Disconnect(leaving=True))]


# The way in -------------------------------------------------------------------------------------------------------


def test_bootstrap_nodes_are_tried_in_turn_and_one_error_names_them_all() -> None:
    sim = Simulation(5)
    nodes = [Newscast("one"), Newscast("other"), Newscast("one"), Newscast("one")]
    for number, node in enumerate(nodes):
        sim.start(sim.add(contact(number), node))
    first, other, third = (contact(number).address for number in (0, 1, 3))
    nobody = ("127.0.0.1", 9)
    assert sim.run_until(nodes[2].join([nobody, other, first]), 20) is None
    assert contact(0) in nodes[2].neighbors()
    with pytest.raises(Indefinite, match=r"127\.0\.0\.1:9 unreachable; 127\.0\.0\.1:12001 is not in the network 'one'"):
        sim.run_until(nodes[3].join([nobody, other]), 20)
    with pytest.raises(RemoteError, match="not in the network"):
        sim.run_until(nodes[3].join([other]), 20)
    with pytest.raises(LocalError, match="this node itself"):
        sim.run_until(nodes[3].join([third]), 20)


def test_a_service_leaves_a_running_node_and_another_one_goes_on() -> None:
    sim = Simulation(5)
    pairs = [(HyParView("red"), HyParView("blue")) for _ in range(6)]
    for number, pair in enumerate(pairs):
        sim.start(sim.add(contact(number), *pair))
        for protocol in pair:
            sim.run_until(protocol.join([contact(0).address] if number else []), 20)
    gone = pairs[3][0]
    gone.ctx.node.remove(gone)
    sim.run_for(10)
    red = [set(red.active) for red, _ in pairs]
    blue = [set(blue.active) for _, blue in pairs]
    assert all(3 not in neighbors for neighbors in red), "it said goodbye"
    assert all(len(neighbors) == 5 for neighbors in blue)
    refused = []
    node = pairs[0][0].ctx.node
    node.open_call(gone.service, contact(3), Neighbor(high=True), refused.append, refused.append, 5.0)
    sim.run_for(10)
    assert isinstance(refused[0], Failure) and refused[0].reason is Reason.REFUSED
