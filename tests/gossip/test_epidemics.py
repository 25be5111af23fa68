"""lpbcast, MON and Brisa, one node at a time on a fake context."""

from __future__ import annotations

import msgspec

from overlay.core.codec import MAX_DATAGRAM_BYTES, Codec, pack
from overlay.core.context import Failure, Reason
from overlay.core.message import ONE_WAY, WIRE_VERSION, Contact, Envelope
from overlay.gossip.dissemination.base import Content, Disseminator
from overlay.gossip.dissemination.brisa import (
    Brisa,
    BrisaConfig,
    Deactivate,
    Moved,
    Orphaned,
    Reactivate,
    Reactivated,
    Strand,
)
from overlay.gossip.dissemination.lpbcast import Event, Lpbcast, LpbcastConfig, Retrieve, Retrieved, Rumor
from overlay.gossip.dissemination.mon import Downward, Mon, MonConfig, Session, SessionOk
from overlay.ids import Key
from tests.fakes import FakeContext, alone, contact
from tests.gossip.hands import Few

ME, A, B, C, D = (contact(number) for number in range(5))
ID, OTHER = b"twelve bytes", b"other twelve"


def started(node: Disseminator) -> tuple[FakeContext, list[bytes]]:
    """The protocol running as peer 0, and what it tells upward."""
    ctx = alone(node, ME)
    node.start()
    heard: list[bytes] = []
    node.subscribe(heard.append)
    return ctx, heard


# lpbcast ----------------------------------------------------------------------------------------------------------


def lpbcast(*peers: Contact, **config: int) -> Lpbcast:
    return Lpbcast("b", Few(*peers), LpbcastConfig(period_s=0, **config))


def test_news_is_told_once_and_its_id_for_some_rounds_and_then_there_is_silence() -> None:
    node = lpbcast(A, B, C, fanout=2, digest_rounds=2, late_rounds=0)
    ctx, heard = started(node)
    node.on_rumor(A, Rumor((Event(ID, b"news"),), (ID,)))
    assert heard == [b"news"] and not ctx.sent and not ctx.calls
    node.gossip()
    assert ctx.take_sent() == [(peer, Rumor((Event(ID, b"news"),), (ID,))) for peer in (A, B)]
    node.gossip()
    assert ctx.take_sent() == [(peer, Rumor((), (ID,))) for peer in (A, B)]
    node.gossip()
    assert not ctx.take_sent()


def test_an_id_is_told_ever_more_rarely_for_those_whom_nobody_knew_at_first() -> None:
    node = lpbcast(A, fanout=1, digest_rounds=3, late_rounds=16)
    ctx, _ = started(node)
    node.broadcast(b"news")
    told = []
    for period in range(100):
        node.gossip()
        if ctx.take_sent():
            told.append(period)
    assert told == [0, 1, 2, 4, 8, 16]


def test_what_only_a_digest_names_is_asked_for_here_and_then_there() -> None:
    node = lpbcast(A, B)
    ctx, heard = started(node)
    node.on_rumor(A, Rumor((), (ID,)))
    node.on_rumor(B, Rumor((), (ID,)))
    assert [(call.peer, call.request) for call in ctx.calls] == [(A, Retrieve(ID))]
    ctx.calls[0].on_failed(Failure(Reason.TIMEOUT))
    assert (ctx.calls[1].peer, ctx.calls[1].request) == (B, Retrieve(ID))
    ctx.calls[1].on_reply(Retrieved(Content(b"news")))
    assert heard == [b"news"]
    assert node.on_retrieve(C, Retrieve(ID)) == Retrieved(Content(b"news"))
    assert node.on_retrieve(C, Retrieve(OTHER)) == Retrieved(None)


def test_a_full_gossip_fits_a_datagram() -> None:
    node = lpbcast(Contact(Key(1 << 62), "2001:db8:1111:2222:3333:4444:5555:6666", 65_535, 1 << 45), fanout=1)
    ctx, _ = started(node)
    for size in range(1, 200, 3):
        node.broadcast(bytes(size))
    node.gossip()
    ((peer, rumor),) = ctx.sent
    assert isinstance(rumor, Rumor) and len(rumor.events) > 5 and len(rumor.digest) == 30
    service = "lpbcast/" + 48 * "x"
    envelope = Envelope(WIRE_VERSION, ONE_WAY, peer, peer.id, peer.boot, service, 0, 1 << 40, rumor)
    assert len(Codec((Rumor,)).encode(envelope)) <= MAX_DATAGRAM_BYTES  # type: ignore[arg-type]


# MON --------------------------------------------------------------------------------------------------------------


def mon(*peers: Contact, **config: float | bool) -> tuple[Mon, FakeContext, list[bytes]]:
    node = Mon("b", Few(*peers), msgspec.convert(config, MonConfig))
    return node, *started(node)


def test_a_session_goes_to_k_and_bodies_to_those_who_accept() -> None:
    node, ctx, _ = mon(A, B, C, D, fanout=2, repeat_s=0)
    node.broadcast(b"body")
    (a, session), (b, _) = ctx.take_sent()
    assert (a, b) == (A, B) and isinstance(session, Session) and session.level == 0
    node.on_session_ok(A, SessionOk(session.session, ()))
    node.on_session_ok(C, SessionOk(session.session, ()))
    ((peer, down),) = ctx.take_sent()
    assert peer == A and isinstance(down, Downward) and down.content == Content(b"body"), "nobody has asked C"
    node.broadcast(b"again")
    assert [(peer, type(message)) for peer, message in ctx.take_sent()] == [(A, Downward)], "one session for both"
    ctx.advance(6)
    node.on_session_ok(B, SessionOk(session.session, ()))
    assert not ctx.take_sent(), "too late"
    ctx.advance(5)
    node.broadcast(b"late")
    assert [type(message) for _, message in ctx.take_sent()] == 2 * [Session], "the tree was forgotten"


def test_a_tree_has_one_parent_and_a_dag_more_from_higher_up() -> None:
    for dag in (False, True):
        node, ctx, heard = mon(A, B, C, fanout=2, dag=dag)
        node.on_session(A, Session(ID, 3))
        assert ctx.take_sent() == [(B, Session(ID, 4)), (C, Session(ID, 4)), (A, SessionOk(ID, ()))]
        node.on_session(B, Session(ID, 3))
        assert ctx.take_sent() == ([(B, SessionOk(ID, ()))] if dag else [])
        node.on_session(C, Session(ID, 4))
        assert not ctx.take_sent()
        node.on_downward(C, Downward(ID, OTHER, Content(b"body")))
        assert not heard, "C is no parent"
        node.on_downward(A, Downward(ID, OTHER, Content(b"body")))
        assert heard == [b"body"]


def test_a_body_is_offered_again_and_who_lacks_it_has_one_more_parent() -> None:
    node, ctx, _ = mon(A, B, C, D, fanout=1, repeat_s=0.25, repeats=2)
    id = node.broadcast(b"body")
    ((_, session),) = ctx.take_sent()
    assert isinstance(session, Session)
    ctx.advance(4)
    offer = Session(session.session, 0, (id,))
    assert ctx.take_sent() == [(peer, offer) for peer in (B, C, D, A)], "twice, to two each, the new ones first"
    child, its_ctx, heard = mon(A)
    child.on_session(C, session)
    its_ctx.take_sent()
    child.on_session(ME, offer)
    assert its_ctx.take_sent() == [(ME, SessionOk(session.session, ()))], "C has brought nothing"
    node.on_session_ok(B, SessionOk(session.session, ()))
    ((_, down),) = ctx.take_sent()
    assert isinstance(down, Downward)
    child.on_downward(ME, down)
    its_ctx.take_sent()
    child.on_session(B, offer)
    assert heard == [b"body"] and not its_ctx.take_sent(), "it has all there is"


def test_who_has_accepted_and_heard_nothing_says_so_again() -> None:
    node, ctx, _ = mon(A, B, fanout=1, repeat_s=0.25, repeats=3)
    node.on_session(A, Session(ID, 3))
    assert (A, SessionOk(ID, ())) in ctx.take_sent()
    ctx.advance(0.3)
    assert ctx.take_sent() == [(A, SessionOk(ID, ()))]
    node.on_downward(A, Downward(ID, OTHER, Content(b"body")))
    ctx.advance(9)
    assert all(isinstance(message, Session) for _, message in ctx.take_sent()), "it only offers the body"


def test_an_offer_fits_a_datagram_and_its_answer_is_no_longer() -> None:
    node, ctx, _ = mon(Contact(Key(1 << 62), "2001:db8:1111:2222:3333:4444:5555:6666", 65_535, 1 << 45))
    for _ in range(60):
        id = node.broadcast(b"body")
    ctx.take_sent()
    ctx.advance(0.3)
    ((peer, offer),) = ctx.take_sent()
    assert isinstance(offer, Session) and offer.bodies[-1] == id
    service = "mon/" + 48 * "x"
    envelope = Envelope(WIRE_VERSION, ONE_WAY, peer, peer.id, peer.boot, service, 0, 1 << 40, offer)
    assert len(Codec((Session,)).encode(envelope)) <= MAX_DATAGRAM_BYTES  # type: ignore[arg-type]
    assert len(pack(SessionOk(offer.session, offer.bodies))) <= len(pack(offer)) + 1


# Brisa ------------------------------------------------------------------------------------------------------------

STREAM = b"8 bytes."


def strand(number: int, *path: Contact, data: bytes = b"x") -> Strand:
    return Strand(STREAM, number, tuple(peer.id for peer in path), Content(data))


def brisa(*peers: Contact, parents: int = 1) -> tuple[Brisa, FakeContext, list[bytes]]:
    node = Brisa("b", Few(*peers), BrisaConfig(parents=parents))
    return node, *started(node)


def test_the_first_to_bring_a_stream_is_its_parent_and_the_next_are_told_to_be_quiet() -> None:
    node, ctx, heard = brisa(A, B, C)
    node.on_strand(A, strand(1, D, A))
    assert ctx.take_sent() == [(peer, strand(1, D, A, ME)) for peer in (B, C)]
    node.on_strand(B, strand(1, D, B))
    assert ctx.take_sent() == [(B, Deactivate(STREAM))] and heard == [b"x"]
    node.on_deactivate(C, Deactivate(STREAM))
    node.on_strand(A, strand(2, D, A))
    assert ctx.take_sent() == [(B, strand(2, D, A, ME))] and node.view().parents == {STREAM: (A.id,)}


def test_a_parent_is_never_taken_from_below() -> None:
    node, ctx, heard = brisa(A, B)
    node.on_strand(B, strand(1, D, ME, B))
    assert heard == [b"x"] and node.view().parents == {STREAM: ()}
    node.on_strand(A, strand(2, D, A))
    ctx.take_sent()
    node.on_moved(A, Moved(STREAM, (D.id, ME.id, A.id)))
    assert (A, Deactivate(STREAM)) in ctx.sent and node.view().parents == {STREAM: ()}
    assert [type(call.request) for call in ctx.calls] == [Reactivate], "it looks for another one"


def test_a_dag_takes_a_second_parent_of_a_lower_level_only() -> None:
    node, ctx, _ = brisa(A, B, C, parents=2)
    node.on_strand(A, strand(1, D, A))
    node.on_strand(B, strand(1, D, C, B))
    assert (B, Deactivate(STREAM)) in ctx.sent
    node.on_strand(C, strand(1, D, C))
    assert node.view().parents == {STREAM: (A.id, C.id)}


def test_soft_repair_asks_the_others_and_what_was_missed_comes_from_the_new_parent() -> None:
    node, ctx, _ = brisa(A, B, C)
    node.on_strand(A, strand(1, D, A))
    assert isinstance(node.membership, Few)
    node.membership.tell(A, False)
    first = ctx.calls[0]
    assert first.request == Reactivate(STREAM, 1, 0)
    first.on_reply(Reactivated(False, ()))
    second = ctx.calls[1]
    assert {first.peer, second.peer} == {B, C}
    second.on_reply(Reactivated(True, (D.id, second.peer.id)))
    assert node.view().parents == {STREAM: (second.peer.id,)} and (node.soft_repairs, node.hard_repairs) == (1, 0)
    below = (first.peer, Moved(STREAM, (D.id, second.peer.id, ME.id)))
    assert below in ctx.sent, "whoever is below learns the new way"


def test_a_parent_that_is_asked_sends_what_was_missed_and_refuses_those_above_it() -> None:
    node, ctx, _ = brisa(A, B)
    for number in (1, 2, 3):
        node.on_strand(A, strand(number, D, A))
    ctx.take_sent()
    assert node.on_reactivate(B, Reactivate(STREAM, 1, 0)) == Reactivated(True, (D.id, A.id, ME.id))
    assert ctx.take_sent() == [(B, strand(number, D, A, ME)) for number in (2, 3)]
    assert node.on_reactivate(A, Reactivate(STREAM, 1, 0)) == Reactivated(False, ())
    assert node.on_reactivate(B, Reactivate(b"unknown.", 1, 0)) == Reactivated(False, ())


def test_hard_repair_sends_those_below_to_look_elsewhere() -> None:
    node, ctx, _ = brisa(A, B)
    node.on_strand(A, strand(1, D, A))
    ctx.take_sent()
    assert isinstance(node.membership, Few)
    node.membership.tell(A, False)
    ctx.calls[0].on_reply(Reactivated(False, ()))
    assert ctx.take_sent() == [(B, Orphaned(STREAM))] and node.hard_repairs == 1
    child, its_ctx, _ = brisa(B, C)
    child.on_strand(B, strand(1, D, A, B))
    child.on_orphaned(B, Orphaned(STREAM))
    assert isinstance(its_ctx.calls[0].request, Reactivate)
    ctx.advance(1)
    assert len(ctx.calls) == 2, "and it asks again"


def orphan() -> tuple[Brisa, FakeContext]:
    """A node whose parent has gone, and whose other neighbor has no way to the source either."""
    node, ctx, _ = brisa(A, B)
    node.on_strand(A, strand(1, D, A))
    assert isinstance(node.membership, Few)
    node.membership.tell(A, False)
    ctx.calls.pop().on_reply(Reactivated(False, ()))
    ctx.take_sent()
    return node, ctx


def test_a_stream_whose_source_is_gone_is_asked_for_ever_more_rarely_and_then_forgotten() -> None:
    node, ctx = orphan()
    for step in range(8):
        ctx.advance(0.25 * 2**step)
        assert not ctx.calls and node.streams
        ctx.advance(0.25 * 2**step)
        ctx.calls.pop().on_reply(Reactivated(False, ()))
    assert not node.streams and not ctx.calls
    node.on_strand(B, strand(9, D, B))
    assert node.view().parents == {STREAM: (B.id,)}, "what comes all the same makes a new tree"


def test_an_orphan_asks_at_once_when_a_neighbor_tells_of_its_way() -> None:
    node, ctx = orphan()
    node.on_moved(B, Moved(STREAM, (D.id, B.id)))
    ctx.calls.pop().on_reply(Reactivated(True, (D.id, B.id)))
    assert node.view().parents == {STREAM: (B.id,)}
    ctx.advance(100)
    assert not ctx.calls and node.hard_repairs == 1


def test_who_is_no_neighbor_any_more_is_heard_but_becomes_no_parent() -> None:
    node, _, heard = brisa(A, B)
    assert isinstance(node.membership, Few)
    node.membership.tell(A, False)
    node.on_strand(A, strand(1, D, A))
    assert heard == [b"x"] and node.view().parents == {STREAM: ()}
    node.on_strand(B, strand(2, D, B))
    assert node.view().parents == {STREAM: (B.id,)}


def test_a_source_takes_no_parent_in_its_own_stream() -> None:
    node, ctx, heard = brisa(A)
    id = node.broadcast(b"mine")
    ((_, sent),) = ctx.take_sent()
    assert isinstance(sent, Strand) and sent.path == (ME.id,) and id == sent.stream + (1).to_bytes(4)
    node.on_strand(A, sent)
    assert not heard and ctx.take_sent() == [(A, Deactivate(sent.stream))]
