"""The failure detector by itself, on a context that only writes down what it does."""

from __future__ import annotations

import msgspec
import pytest

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact, Done, Message
from overlay.ring.events import PingAnswered, PingReceived, PingsSent
from overlay.ring.messages import PADDING, Alive, Neighbors, Ping, Pong
from overlay.ring.pings import Pings
from overlay.ring.watching import PingConfig
from tests.fakes import FakeContext, alone, contact

FIRST, SECOND, BEFORE = contact(4), contact(5), contact(19)
PICTURE = Neighbors((contact(2),), (contact(8),))


class Listening:
    """Writes down what a detector tells."""

    def __init__(self) -> None:
        self.deaths: list[Contact] = []
        self.strangers: list[Contact] = []

    def round(self) -> None: ...

    def pinged(self, sender: Contact) -> None:
        self.strangers.append(sender)

    def heard(self, contact: Contact, picture: Neighbors) -> None: ...

    def dead(self, contact: Contact) -> None:
        self.deaths.append(contact)


def watching(interval_s: float = 3.0) -> tuple[Pings, FakeContext, Listening]:
    pings = Pings(PingConfig(interval_s=interval_s))
    ctx, listener = alone(pings, contact(2)), Listening()
    pings.listener = listener
    pings.watch({FIRST: 1, SECOND: 2, BEFORE: 0})
    pings.begin()
    return pings, ctx, listener


def answer(pings: Pings, sent: list[tuple[Contact, Message]], *but: Contact) -> None:
    """Every ping is answered, except by some."""
    for peer, ping in sent:
        if isinstance(ping, Ping) and peer not in but:
            pings.on_pong(peer, Pong(ping.round, ping.rank, ping.secret, ping.serial, PICTURE))


def test_a_round_pings_two_successors_aloud_and_the_predecessor_quietly() -> None:
    pings, ctx, _ = watching()
    assert {(peer, ping.rank) for peer, ping in ctx.sent} == {(FIRST, 1), (SECOND, 2), (BEFORE, 0)}  # type: ignore[attr-defined]
    answer(pings, ctx.take_sent())
    assert ctx.events == [PingsSent((4, 5)), PingAnswered(4), PingAnswered(5)]
    ctx.advance(2.9)
    assert ctx.sent == []
    ctx.advance(0.2)
    assert len(ctx.sent) == 3


def test_a_missed_answer_is_followed_by_five_probes_and_one_question() -> None:
    pings, ctx, listener = watching()
    began, probes, step = ctx.now, [], 0.05
    while not ctx.calls:
        sent = ctx.take_sent()
        probes += [round(ctx.now - began, 1) for peer, _ in sent if peer == FIRST]
        answer(pings, sent, FIRST)
        ctx.advance(step)
    assert probes == [0.0, 0.4, 0.8, 1.2, 1.6, 2.0]
    (question,) = ctx.calls
    assert (question.peer, question.request, question.timeout_s) == (FIRST, Alive(), 2.4)
    assert listener.deaths == []
    question.on_failed(Failure(Reason.TIMEOUT))
    assert listener.deaths == [FIRST]
    assert FIRST.id not in pings.watched


def test_a_connection_that_breaks_is_followed_by_the_question_at_once() -> None:
    pings, ctx, listener = watching()
    answer(pings, ctx.take_sent())
    assert set(ctx.watched) == {FIRST, SECOND, BEFORE}
    for on_down in [ctx.watched.pop(FIRST)] * 2:
        on_down(FIRST)
    (question,) = ctx.calls
    assert (question.peer, question.request, listener.deaths) == (FIRST, Alive(), [])
    question.on_reply(Done())
    assert set(ctx.watched) == {FIRST, SECOND, BEFORE}, "it lives, so there is another connection"
    ctx.watched.pop(FIRST)(FIRST)
    ctx.calls[-1].on_failed(Failure(Reason.UNREACHABLE))
    assert listener.deaths == [FIRST]
    assert set(ctx.watched) == {SECOND, BEFORE}


@pytest.mark.parametrize("reason", [Reason.LOCAL, Reason.OVERLOADED])
def test_a_failure_of_our_own_is_nobodys_death(reason: Reason) -> None:
    pings, ctx, listener = watching()
    pings.doubt(FIRST)
    while not ctx.calls:
        ctx.advance(0.1)
    ctx.calls[0].on_failed(Failure(reason))
    assert listener.deaths == []
    assert FIRST.id in pings.watched


def test_a_pause_of_our_own_makes_us_ask_again() -> None:
    pings, ctx, listener = watching()
    answer(pings, ctx.take_sent())
    ctx.time += 60
    ctx.take_sent()
    ctx.advance(0.1)
    answer(pings, ctx.take_sent())
    ctx.advance(2)
    assert (ctx.calls, listener.deaths) == ([], [])


@pytest.mark.parametrize("wrong", [{"secret": 1}, {"serial": -1}])
def test_an_answer_that_answers_nothing_counts_for_nothing(wrong: dict[str, int]) -> None:
    pings, ctx, _ = watching()
    for peer, ping in ctx.take_sent():
        assert isinstance(ping, Ping)
        pong = Pong(ping.round, 0, ping.secret, ping.serial, PICTURE)
        pings.on_pong(peer, msgspec.structs.replace(pong, **wrong))
    ctx.advance(5)
    assert {call.peer for call in ctx.calls} == {FIRST, SECOND, BEFORE}


def test_a_ping_is_answered_with_no_more_than_it_brought_and_told_once() -> None:
    pings, ctx, listener = watching()
    ctx.take_sent()
    ctx.events.clear()
    pings.on_ping(contact(9), Ping(1, 1, 7, 1, PADDING[:-1]))
    assert (ctx.sent, ctx.events) == ([], [])
    for _ in range(3):
        pings.on_ping(contact(9), Ping(1, 1, 7, 1))
    assert ctx.take_sent() == [(contact(9), Pong(1, 1, 7, 1, pings.picture))] * 3
    assert ctx.events == [PingReceived(9)]
    assert listener.strangers == [contact(9)] * 3
    pings.familiarize((contact(9),))
    pings.on_ping(contact(9), Ping(2, 0, 7, 2))
    assert len(listener.strangers) == 3
