"""What a protocol may rely on, the same in the simulator, on threads and on asyncio."""

from __future__ import annotations

from typing import Any

import pytest

from overlay.core.context import Reason
from overlay.core.message import REPLY, Command, Contact
from overlay.core.pending import Pending
from overlay.core.storage import BlobRef, Entry, Export, Write
from overlay.ids import Key
from tests.conformance.worlds import Peer, World
from tests.live.support import Ask, Failed, Later, Ping, Pong, Tell

BODY = bytes(range(256)) * 12_000


class Unspoken(Command, frozen=True):
    """A message nobody handles."""


@pytest.fixture
def two(world: World) -> tuple[Peer, Peer]:
    return world.add(1), world.add(2, {"0159": BODY})


def why(world: World, peer: Peer, pending: Pending[Any]) -> Reason:
    with pytest.raises(Failed) as caught:
        world.wait(peer, pending)
    return caught.value.reason


def refusal(world: World, peer: Peer, other: Contact, message: Any, timeout_s: float = 20.0) -> Reason:
    return why(world, peer, world.do(peer, peer.talk.ask, other, message, timeout_s))


def test_commands_arrive_in_order_each_once(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    for start in (0, 50):
        world.do(one, lambda start=start: [one.talk.ctx.send(other.me, Tell(str(start + n))) for n in range(50)])
    assert world.hears(other, 100) == [str(n) for n in range(100)]


def test_each_call_hears_its_own_answer_in_whatever_order_they_come(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    calls = [world.do(one, one.talk.ask, other.me, Later()) for _ in range(20)]
    world.hears(other, 20)
    for number, late in reversed(list(enumerate(other.talk.late))):
        world.do(other, late.resolve, Tell(str(number)))
    assert [world.wait(one, call) for call in calls] == [Tell(str(n)) for n in range(20)]
    assert world.ask(one, other.me, Ping(3)) == Pong(3)
    assert world.ask(one, Contact(other.me.id, *other.me.address), Ask("any life")) == Tell("ANY LIFE")


def test_an_answer_that_is_late_or_of_somebody_else_is_heard_by_nobody(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    assert refusal(world, one, other.me, Later(), 0.05) is Reason.TIMEOUT
    call = world.do(one, one.talk.ask, other.me, Later())
    world.hears(other, 2)
    number = next(iter(one.node.calls))
    world.do(one, one.node.receive, REPLY, "talk", Contact(Key(3), "127.0.0.1", 3, 1), number, Tell("foreign"))
    world.do(other, other.talk.late[0].resolve, Tell("late"))
    world.do(other, other.talk.late[1].resolve, Tell("right"))
    assert world.wait(one, call) == Tell("right")
    assert not one.node.calls


def test_a_call_says_why_it_failed(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    assert refusal(world, one, Contact(Key(9), *other.me.address, other.me.boot), Ask("")) is Reason.REFUSED
    assert refusal(world, one, Contact(other.me.id, *other.me.address, other.me.boot + 9), Ask("")) is Reason.REFUSED
    assert refusal(world, one, other.me, Unspoken()) is Reason.REFUSED
    call = world.do(one, one.talk.ask, other.me, Later())
    world.hears(other, 1)
    world.kill(other)
    assert why(world, one, call) is Reason.UNREACHABLE
    assert refusal(world, one, other.me, Ask("")) is Reason.UNREACHABLE
    assert refusal(world, one, other.me, Ping(1), 0.05) is Reason.TIMEOUT, "a datagram may vanish"


def test_no_effect_runs_a_handler_before_the_current_one_is_over(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    order: list[str] = []
    over: Pending[None] = Pending()

    def later(what: str) -> None:
        order.append(what)
        if len(order) == 8:
            over.resolve(None)

    def handler() -> None:
        ctx, nobody = one.talk.ctx, Contact(Key(9), "127.0.0.1", 9, 1)
        ctx.after(0, later, "timer")
        ctx.persist((), lambda: later("durable"), lambda _: None)
        ctx.find_blob("none", lambda _: None, lambda failure: later(failure.reason.value))
        ctx.call(nobody, Ask(""), later, lambda _: later("unreachable"), timeout_s=20)
        ctx.watch(nobody, lambda _: later("down"))
        ctx.meet(*nobody.address, lambda _: None, lambda _: later("not met"), timeout_s=20)
        transfer = ctx.fetch_blob(other.me, BlobRef(bytes(32), 9), 0, 9, lambda: None, lambda _: later("cancelled"))
        transfer.cancel()
        later("handler")

    world.do(one, handler)
    world.wait(one, over)
    assert order[0] == "handler"
    assert sorted(order[1:]) == ["cancelled", "down", "durable", "not met", "not there", "timer", "unreachable"]


def test_timers_come_in_order_and_a_cancelled_one_never(world: World, two: tuple[Peer, Peer]) -> None:
    one, _ = two
    order: list[int] = []
    over: Pending[None] = Pending()

    def begin() -> None:
        # Far enough apart that a machine which does something else between two of these lines does not change their order.
        after = one.talk.ctx.after
        second = after(0.4, order.append, 2)
        after(0.01, second.cancel)
        after(0.6, over.resolve, None)
        after(0.2, order.append, 3)
        after(0, order.append, 1)

    before = one.talk.ctx.now
    world.do(one, begin)
    world.wait(one, over)
    assert order == [1, 3]
    assert one.talk.ctx.now - before >= 0.6


def test_what_is_notified_is_told_in_order(world: World, two: tuple[Peer, Peer]) -> None:
    one, _ = two
    over: Pending[None] = Pending()

    def handler() -> None:
        for number in range(3):
            one.talk.ctx.notify(Tell(str(number)))
        assert one.told == []
        one.talk.ctx.after(0.01, over.resolve, None)

    world.do(one, handler)
    world.wait(one, over)
    assert one.told == [Tell("0"), Tell("1"), Tell("2")]


def test_a_watched_peer_that_ends_is_told_of_once(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    third = world.add(3)
    left = world.do(third, third.talk.watch, other.me)
    world.do(third, third.talk.ctx.unwatch, other.me)
    down = world.do(one, one.talk.watch, other.me)
    assert world.ask(one, other.me, Ask("")) == Tell("")
    world.kill(other)
    assert world.wait(one, down) == other.me
    assert refusal(world, third, other.me, Ask("")) is Reason.UNREACHABLE
    assert not left.done
    assert one.talk.heard == [("down", other.me)]


def test_the_next_life_is_another_peer_with_what_was_durable(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    batches = [(Write("a", Entry(b"1")), Write("b", Entry(b"2"))), (Write("a", None),), (Write("b", Entry(b"3")),)]
    for pending in [world.do(other, other.talk.persist, *batch) for batch in batches]:
        world.wait(other, pending)
    down = world.do(one, one.talk.watch, other.me)
    world.ask(one, other.me, Ask(""))
    again = world.add(2, before=other)
    assert again.me.boot > other.me.boot and again.me.address == other.me.address
    assert again.talk.ctx.stored() == {"b": Entry(b"3")}
    assert world.wait(one, down) == other.me
    assert world.wait(one, world.do(one, one.talk.watch, other.me)) == other.me, "its old life is over"
    assert refusal(world, one, other.me, Ask("")) in (Reason.REFUSED, Reason.UNREACHABLE)
    assert world.wait(one, world.do(one, one.talk.meet, *other.me.address)) == again.me
    assert world.ask(one, again.me, Ask("new")) == Tell("NEW")


def test_a_body_comes_in_parts_and_is_exported_whole(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    ref = world.wait(other, world.do(other, other.talk.find, "0159"))
    assert ref.size == len(BODY)
    half, first = world.do(one, one.talk.fetch, other.me, ref, len(BODY) // 2)
    world.wait(one, first)
    assert half.done_bytes == len(BODY) // 2
    pulls = [world.do(one, one.talk.fetch, other.me, ref) for _ in range(2)]
    for transfer, pending in pulls:
        world.wait(one, pending)
        assert transfer.done_bytes == len(BODY)
    world.wait(one, world.do(one, one.talk.persist, Write("0159", Entry(b"", ref)), Export("received", ref)))
    assert world.file(one, "received") == BODY


def test_a_body_that_cannot_come_says_why_and_comes_later(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    ref = world.wait(other, world.do(other, other.talk.find, "0159"))

    def begin_and_cancel() -> Pending[None]:
        transfer, pending = one.talk.fetch(other.me, ref)
        transfer.cancel()
        return pending

    assert why(world, one, world.do(one, begin_and_cancel)) is Reason.CANCELLED
    unknown = BlobRef(bytes(32), 100)
    assert why(world, one, world.do(one, one.talk.fetch, other.me, unknown)[1]) is Reason.REFUSED
    assert why(world, one, world.do(one, one.talk.fetch, other.me, ref, ref.size + 1)[1]) is Reason.LOCAL
    assert why(world, one, world.do(one, one.talk.find, "none")) is Reason.NOT_THERE
    world.kill(other)
    assert why(world, one, world.do(one, one.talk.fetch, other.me, ref)[1]) is Reason.UNREACHABLE
    again = world.add(2, before=other)
    assert world.wait(again, world.do(again, again.talk.find, "0159")) == ref
    world.wait(one, world.do(one, one.talk.fetch, again.me, ref)[1])


def test_what_is_said_in_parting_arrives(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    one.talk.stop = lambda: [one.talk.ctx.send(other.me, Tell(str(n))) for n in range(100)]  # type: ignore
    world.stop(one)
    assert world.hears(other, 100) == [str(n) for n in range(100)]


def test_one_that_stands_still_answers_when_it_goes_on(world: World) -> None:
    one, other = world.add(1), world.add_one_that_pauses(2)
    assert world.ask(one, other.me, Ask("ready?")) == Tell("READY?")
    go_on = world.pause(other)
    assert refusal(world, one, other.me, Ask("anybody?"), 0.1) is Reason.TIMEOUT
    call = world.do(one, one.talk.ask, other.me, Ask("now?"))
    go_on()
    assert world.wait(one, call) == Tell("NOW?")


def test_a_lost_datagram_is_a_call_that_times_out_and_nothing_else(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    world.lose(other, 3)
    calls = [world.do(one, one.talk.ask, other.me, Ping(n), 2.0) for n in range(60)]
    answered, lost = [], []
    for number, call in enumerate(calls):
        try:
            answered.append(world.wait(one, call).round)
        except Failed as failed:
            assert failed.reason is Reason.TIMEOUT
            lost.append(number)
    assert sorted([*answered, *lost]) == list(range(60))
    assert answered and lost and not one.node.calls
    assert world.ask(one, other.me, Ask("commands arrive")) == Tell("COMMANDS ARRIVE")


def test_nothing_that_a_remote_sends_raises_it_is_counted(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    world.do(one, one.talk.ctx.send, other.me, Unspoken())
    assert refusal(world, one, other.me, Unspoken()) is Reason.REFUSED
    # An answer that nobody waits for, and one to a call of ours from a peer that was not asked.
    world.do(other, other.node.receive, REPLY, "talk", one.me, 1 << 40, Tell("?"))
    world.do(one, one.node.receive, REPLY, "nowhere", other.me, 7, Unspoken())
    assert world.ask(one, other.me, Ask("still there?")) == Tell("STILL THERE?")
    assert sum(world.drops(other).values()) >= 2
    assert world.drops(one)["an answer nobody waits for"] >= 1


def test_a_body_that_is_cut_goes_on_where_it_was_with_the_next_life(world: World, two: tuple[Peer, Peer]) -> None:
    one, other = two
    ref = world.wait(other, world.do(other, other.talk.find, "0159"))
    with world.dying(other, len(BODY) // 2):
        cut, pending = world.do(one, one.talk.fetch, other.me, ref)
        assert why(world, one, pending) is Reason.UNREACHABLE
    came = cut.done_bytes
    assert 0 < came < len(BODY)
    again = world.add(2, before=other)
    assert world.wait(again, world.do(again, again.talk.find, "0159")) == ref
    _, first = world.do(one, one.talk.fetch, again.me, ref, came)
    rest, last = world.do(one, one.talk.fetch, again.me, ref)
    world.wait(one, first)
    world.wait(one, last)
    assert rest.done_bytes == len(BODY)
    world.wait(one, world.do(one, one.talk.persist, Write("0159", Entry(b"", ref)), Export("received", ref)))
    assert world.file(one, "received") == BODY
