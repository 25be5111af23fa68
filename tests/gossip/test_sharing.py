"""What was broadcast is not lost with whoever said it: it may leave at once, and say much in one breath."""

from __future__ import annotations

import pytest

from overlay.core.context import Failure, Reason
from overlay.core.message import Message
from overlay.gossip.dissemination.base import (
    MAX_BODY_BYTES,
    MAX_PULLED_BYTES,
    SHARE_S,
    AskPiece,
    Content,
    Disseminator,
    Piece,
)
from overlay.gossip.dissemination.brisa import Brisa, Reactivate, Reactivated, Strand
from overlay.gossip.dissemination.lpbcast import Event, Lpbcast, Rumor
from overlay.gossip.dissemination.mon import Downward, Mon, Session
from overlay.gossip.dissemination.plumtree import Gossip, IHave, Name, Plumtree
from overlay.gossip.dissemination.push import Push, Pusher
from overlay.peer.unstructured import simulated
from tests.fakes import alone, contact
from tests.gossip.hands import Few
from tests.gossip.test_programs import both_editions

ME, A, B = (contact(number) for number in range(3))
NODES = 8

both_kinds = pytest.mark.parametrize("many_to_many", [True, False], ids=["many", "one"])


class Small:
    """A few nodes that know each other, in virtual time, and what they heard."""

    def __init__(self, is_extreme: bool, many_to_many: bool):
        self.world = simulated.World(9)
        self.heard: list[list[bytes]] = [[] for _ in range(NODES)]
        self.networks: list[simulated.Membership] = []
        self.services: list[simulated.Dissemination] = []
        for number in range(NODES):
            first = [self.networks[0].my_node] if number else None
            network = self.world.join_network(("10.0.0.1", 4000 + number), "n", first, is_extreme)
            service = self.world.get_dissemination_service(
                network, "s", many_to_many=many_to_many, broadcast_handler=self.heard[number].append
            )
            self.networks.append(network)
            self.services.append(service)
        self.world.run_for(3)


@pytest.mark.parametrize("size", [10, 5_000, 1 << 20])
@both_kinds
@both_editions
def test_who_leaves_behind_a_broadcast_has_told_it(is_extreme: bool, many_to_many: bool, size: int) -> None:
    small = Small(is_extreme, many_to_many)
    small.services[3].broadcast(bytes(size))
    small.networks[3].leave()
    others = [heard for number, heard in enumerate(small.heard) if number != 3]
    small.world.sim.run_until(lambda: all(others), 30)
    small.world.run_for(1)
    assert others == [[bytes(size)]] * (NODES - 1)


@pytest.mark.parametrize(("count", "size"), [(100, 100), (80, 40_000)])
@both_kinds
@both_editions
def test_many_broadcasts_in_one_breath_all_arrive(is_extreme: bool, many_to_many: bool, count: int, size: int) -> None:
    small = Small(is_extreme, many_to_many)
    bodies = {bytes((number,)) * size for number in range(count)}
    for body in sorted(bodies):
        small.services[3].broadcast(body)
    others = [heard for number, heard in enumerate(small.heard) if number != 3]
    small.world.sim.run_until(lambda: all(len(heard) == count for heard in others), 60)
    assert all(set(heard) == bodies for heard in others)


def test_nobody_waits_where_nobody_else_is_and_for_two_seconds_where_nobody_listens() -> None:
    world = simulated.World(1)
    first = world.join_network(("10.0.0.1", 4000), "n")
    service = world.get_dissemination_service(first, "s")
    began = world.sim.now
    for _ in range(20):
        service.broadcast(bytes(5_000))
    assert world.sim.now == began
    second = world.join_network(("10.0.0.2", 4000), "n", [first.my_node])
    began = world.sim.now
    first.leave()
    waited_s = world.sim.now - began
    assert SHARE_S <= waited_s <= SHARE_S + 1, "the second has no such service, so nobody asks for the bodies"
    second.leave()


def test_a_body_that_was_on_its_way_when_the_parent_died_is_asked_for_though_a_later_one_is_here() -> None:
    node = Brisa("s", Few(A, B))
    ctx = alone(node, ME)
    node.start()
    heard: list[bytes] = []
    node.subscribe(heard.append)
    stream = bytes(8)
    source = Plumtree("s", Few())
    alone(source, contact(9))
    long = source.content(source.broadcast(bytes(70_000)))
    assert long is not None
    node.on_strand(A, Strand(stream, 6, (A.id,), Content(b"six")))
    node.on_strand(A, Strand(stream, 7, (A.id,), long))
    node.on_strand(A, Strand(stream, 8, (A.id,), Content(b"eight")))
    pull = ctx.calls.pop()
    assert isinstance(node.membership, Few)
    node.membership.tell(A, False)
    pull.on_failed(Failure(Reason.UNREACHABLE))
    assert [(call.peer, call.request) for call in ctx.calls] == [(B, Reactivate(stream, 6, 0))]
    ctx.calls.pop().on_reply(Reactivated(True, (B.id,)))
    node.on_strand(B, Strand(stream, 7, (B.id,), Content(b"seven")))
    assert heard == [b"six", b"eight", b"seven"]


LONG_ID = bytes(600)
POISON: list[tuple[type[Disseminator], list[Message]]] = [
    (Lpbcast, [Rumor((Event(LONG_ID, b"x"),), (LONG_ID,))]),
    (Mon, [Session(bytes(12), 1), Downward(bytes(12), LONG_ID, Content(b"x"))]),
    (Plumtree, [Gossip(LONG_ID, 1, Content(b"x")), IHave((Name(LONG_ID, 1),))]),
    (Pusher, [Push(LONG_ID, 1, Content(b"x"))]),
]


@pytest.mark.parametrize(("kind", "messages"), POISON)
def test_an_id_that_would_make_our_own_messages_too_long_is_not_taken(
    kind: type[Disseminator], messages: list[Message]
) -> None:
    node = kind("s", Few(A, B))  # type: ignore[arg-type, call-arg]
    ctx = alone(node, ME)
    node.start()
    for message in messages:
        node.handlers[type(message)](node, A, message)
    ctx.advance(2)
    assert node.heard == 0 and not node.has(LONG_ID)
    assert not any(repr(LONG_ID) in repr(message) for _, message in ctx.sent)


def test_bodies_on_their_way_have_a_bound_in_bytes_and_not_in_their_number() -> None:
    node = Plumtree("s", Few(A))
    ctx = alone(node, ME)
    node.start()
    source = Plumtree("s", Few())
    alone(source, contact(9))
    content = source.content(source.broadcast(bytes(MAX_BODY_BYTES)))
    assert content is not None
    for number in range(MAX_PULLED_BYTES // MAX_BODY_BYTES + 5):
        node.on_gossip(A, Gossip(number.to_bytes(12), 0, content))
    assert len(ctx.calls) == MAX_PULLED_BYTES // MAX_BODY_BYTES


def test_where_everybody_says_much_at_once_all_of_it_arrives() -> None:
    small = Small(True, True)
    for number in range(30 * NODES):
        small.services[number % NODES].broadcast(b"%d" % number)
        small.world.run_for(0.002)
    small.world.sim.run_until(lambda: all(len(heard) == 30 * (NODES - 1) for heard in small.heard), 30)


def test_after_many_bytes_it_is_waited_until_the_neighbors_have_read_them() -> None:
    node = Plumtree("s", Few(A, B))
    ctx = alone(node, ME)
    node.start()
    while node.shared(8).done:
        node.broadcast(bytes(30_000))
    assert 256 * 1024 < 30_000 * node.sent < 300_000
    room = node.shared(8)
    question = AskPiece(b"", 0)
    assert [(call.peer, call.request) for call in ctx.calls] == [(A, question), (B, question)]
    assert node.on_ask_piece(A, question) == Piece(b"")
    ctx.calls.pop(0).on_reply(Piece(b""))
    ctx.calls.pop(0).on_failed(Failure(Reason.OVERLOADED))
    assert not room.done
    ctx.advance(0.1)
    (again,) = ctx.calls
    assert again.peer == B
    again.on_reply(Piece(b""))
    assert room.done and node.shared(8).done
    for _ in range(10):
        node.broadcast(bytes(30_000))
    room = node.shared(8)
    ctx.advance(SHARE_S - 0.1)
    assert not room.done
    ctx.advance(0.2)
    assert room.done, "who never answers holds up nobody for ever"


@both_kinds
@both_editions
def test_a_node_that_ends_its_service_and_stays_in_the_network_cuts_off_nobody(
    is_extreme: bool, many_to_many: bool
) -> None:
    small = Small(is_extreme, many_to_many)
    for step, gone in enumerate((5, 1, 6, 0)):
        small.services[3].broadcast(b"before %d" % step)
        small.world.run_for(2)
        small.services[gone].leave()
        small.services[3].broadcast(b"after %d" % step)
        small.world.run_for(10)
    for number in (2, 4, 7):
        assert len(set(small.heard[number])) == 8, number
