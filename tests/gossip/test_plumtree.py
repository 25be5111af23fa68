"""Plumtree, an algorithm of the paper at a time; bodies that are pulled; what every dissemination promises."""

from __future__ import annotations

import pytest

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact
from overlay.errors import LocalError
from overlay.gossip.dissemination.base import AskPiece, Content, Piece
from overlay.gossip.dissemination.plumtree import Gossip, Graft, IHave, Name, Plumtree, PlumtreeConfig, Prune
from overlay.gossip.dissemination.push import PushConfig, Pusher
from overlay.gossip.membership.hyparview import HyParView
from overlay.sim import Simulation
from tests.fakes import FakeContext, alone, contact
from tests.gossip.hands import Few

ME, A, B, C = (contact(number) for number in range(4))
ID = b"twelve bytes"


def plumtree(*peers: Contact, **config: float) -> tuple[Plumtree, FakeContext, list[bytes]]:
    """A node with these neighbors, and what it has told upward."""
    node = Plumtree("b", Few(*peers), PlumtreeConfig(**{"lazy_s": 0, **config}))  # type: ignore[arg-type]
    ctx = alone(node, ME)
    node.start()
    heard: list[bytes] = []
    node.subscribe(heard.append)
    return node, ctx, heard


def gossip(data: bytes = b"news", round: int = 0) -> Gossip:
    return Gossip(ID, round, Content(data))


def test_a_first_receipt_is_told_and_passed_on_and_its_sender_becomes_eager() -> None:
    node, ctx, heard = plumtree(A, B, C)
    node.on_prune(A, Prune())
    node.on_prune(B, Prune())
    node.on_gossip(A, gossip())
    assert heard == [b"news"]
    assert ctx.take_sent() == [(C, gossip(round=1)), (B, IHave((Name(ID, 1),)))]
    assert set(node.view().eager) == {1, 3} and set(node.view().lazy) == {2}


def test_a_duplicate_is_pruned_and_not_told_again_not_even_our_own() -> None:
    node, ctx, heard = plumtree(A, B)
    node.on_gossip(A, gossip())
    ctx.take_sent()
    node.on_gossip(B, gossip())
    assert ctx.take_sent() == [(B, Prune())] and set(node.view().lazy) == {2}
    id = node.broadcast(b"mine")
    ctx.take_sent()
    node.on_gossip(A, Gossip(id, 3, Content(b"mine")))
    assert ctx.take_sent() == [(A, Prune())]
    assert heard == [b"news"] and node.view().duplicates == 2


def test_an_announced_broadcast_that_does_not_come_is_grafted_from_one_after_the_other() -> None:
    node, ctx, heard = plumtree(A, B, announced_s=1.0, grafted_s=0.2)
    node.on_prune(A, Prune())
    node.on_prune(B, Prune())
    node.on_ihave(A, IHave((Name(ID, 4),)))
    node.on_ihave(B, IHave((Name(ID, 2),)))
    ctx.advance(0.9)
    assert not ctx.take_sent()
    ctx.advance(0.2)
    assert ctx.take_sent() == [(A, Graft(ID, 4))] and set(node.view().eager) == {1}
    ctx.advance(0.2)
    assert ctx.take_sent() == [(B, Graft(ID, 2))]
    node.on_gossip(B, gossip())
    ctx.advance(9)
    assert heard == [b"news"] and all(not isinstance(m, Graft) for _, m in ctx.take_sent())


def test_a_graft_makes_the_link_eager_and_brings_the_body_while_it_is_kept() -> None:
    node, ctx, _ = plumtree(A, B, buffer_limit=1)
    node.on_gossip(A, gossip())
    node.on_prune(B, Prune())
    ctx.take_sent()
    node.on_graft(B, Graft(ID, 5))
    assert ctx.take_sent() == [(B, gossip(round=1))] and not node.view().lazy
    node.broadcast(b"another one")
    ctx.take_sent()
    node.on_graft(B, Graft(ID, 5))
    assert not ctx.take_sent(), "it has made room for the next one"


def test_names_are_held_back_a_little_and_sent_together() -> None:
    node, ctx, _ = plumtree(A, B, lazy_s=0.1)
    node.on_prune(B, Prune())
    first, second = node.broadcast(b"one"), node.broadcast(b"two")
    assert [peer for peer, _ in ctx.take_sent()] == [A, A]
    node.on_gossip(B, gossip())
    ctx.take_sent()
    node.on_prune(B, Prune())
    ctx.advance(0.1)
    assert ctx.take_sent() == [(B, IHave((Name(first, 0), Name(second, 0))))], "and not to whom it came from"


def test_a_way_that_is_shorter_by_the_threshold_takes_the_place_of_the_longer() -> None:
    for round, changed in ((7, True), (6, False)):
        node, ctx, _ = plumtree(A, B, threshold=3)
        node.on_prune(B, Prune())
        node.on_ihave(B, IHave((Name(ID, 4),)))
        node.on_gossip(A, gossip(round=round))
        sent = ctx.take_sent()
        assert ((B, Graft(b"", 4)) in sent and (A, Prune()) in sent) is changed
        assert (set(node.view().eager) == {2}) is changed


def test_neighbors_that_come_are_eager_and_those_that_go_are_forgotten() -> None:
    node, ctx, _ = plumtree(A, announced_s=1.0)
    assert isinstance(node.membership, Few)
    node.membership.tell(B, True)
    assert set(node.view().eager) == {1, 2}
    node.on_ihave(A, IHave((Name(ID, 0),)))
    node.membership.tell(A, False)
    ctx.advance(5)
    assert set(node.view().eager) == {2} and not ctx.take_sent(), "nobody is left to graft from"
    node.stop()
    assert not node.membership.listeners


def test_a_neighbor_that_comes_is_told_the_names_of_what_was_heard_lately() -> None:
    node, ctx, _ = plumtree(A, recent_s=5.0)
    assert isinstance(node.membership, Few)
    node.on_gossip(A, gossip())
    ctx.advance(4)
    own = node.broadcast(b"mine")
    ctx.take_sent()
    node.membership.tell(B, True)
    assert ctx.take_sent() == [(B, IHave((Name(ID, 1), Name(own, 0))))]
    ctx.advance(2)
    node.membership.tell(C, True)
    assert ctx.take_sent() == [(C, IHave((Name(own, 0),)))], "what is older was heard, or is no longer wanted"


# Bodies that are pulled -------------------------------------------------------------------------------------------


def test_a_long_body_is_pulled_from_its_sender_and_from_another_one_when_that_fails() -> None:
    body = bytes(range(256)) * 300
    source, _, _ = plumtree(A)
    content = source.content(source.broadcast(body))
    assert content is not None and content.ref is not None and not content.data
    node, ctx, heard = plumtree(A, B)
    node.on_gossip(A, Gossip(ID, 0, content))
    node.on_gossip(B, Gossip(ID, 0, content))
    assert [(call.peer, call.request) for call in ctx.calls] == [(A, AskPiece(ID, 0))]
    ctx.calls[0].on_reply(Piece(body[:30_000]))
    ctx.calls[1].on_failed(Failure(Reason.UNREACHABLE))
    assert (ctx.calls[2].peer, ctx.calls[2].request) == (B, AskPiece(ID, 30_000)), (
        "it goes on where the other one stopped"
    )
    assert not heard and not ctx.sent
    ctx.calls[2].on_reply(Piece(body[30_000:]))
    assert heard == [body]
    assert [peer for peer, message in ctx.take_sent() if isinstance(message, Gossip)] == [A]


def test_wrong_bytes_are_not_told() -> None:
    source, _, _ = plumtree(A)
    content = source.content(source.broadcast(bytes(70_000)))
    assert content is not None
    node, ctx, heard = plumtree(A)
    node.on_gossip(A, Gossip(ID, 0, content))
    ctx.calls[0].on_reply(Piece(b"x" * 70_000))
    node.on_gossip(A, Gossip(ID, 0, content))
    ctx.calls[1].on_reply(Piece(b"x" * 70_001))
    assert not heard and not node.coming(ID)


def test_what_can_be_broadcast() -> None:
    node, _, _ = plumtree(A)
    with pytest.raises(LocalError, match="bytes, not str"):
        node.broadcast("text")  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="at most 16777216"):
        node.broadcast(bytes((16 << 20) + 1))
    with pytest.raises(LocalError, match="timeouts"):
        Plumtree("b", Few(), PlumtreeConfig(announced_s=0.01))


def test_push_goes_to_so_many_but_never_back() -> None:
    node = Pusher("p", Few(A, B, C), PushConfig(fanout=1))
    ctx = alone(node, ME)
    node.start()
    node.broadcast(b"x")
    assert [peer for peer, _ in ctx.sent] == [A]
    _, push = ctx.take_sent()[0]
    other = Pusher("p", Few(A, B, C), PushConfig())
    ctx = alone(other, ME)
    other.start()
    other.on_push(A, push)  # type: ignore[arg-type]
    other.on_push(B, push)  # type: ignore[arg-type]
    assert [peer for peer, _ in ctx.sent] == [B, C] and other.view().duplicates == 1


def test_a_long_body_reaches_everybody_in_a_network() -> None:
    sim = Simulation(3, encode=True)
    body = bytes(range(256)) * 1000
    heard: list[bytes] = []
    trees = []
    for number in range(12):
        membership = HyParView("n")
        trees.append(Plumtree("b", membership))
        trees[-1].subscribe(heard.append)
        sim.start(sim.add(contact(number), membership, trees[-1]))
        sim.run_until(membership.join([contact(0).address] if number else []), 20)
    sim.run_for(5)
    trees[5].broadcast(body)
    sim.run_until(lambda: len(heard) == 11, 20)
    assert set(heard) == {body}
