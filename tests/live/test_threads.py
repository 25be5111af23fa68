"""A node on three threads: what it says, hears and ends like."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overlay.core.context import Reason
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.storage import Batch, Entry, Write
from overlay.errors import Indefinite, LocalError
from overlay.ids import Key
from overlay.live.addresses import PortTaken
from overlay.live.threads import ThreadDriver
from tests.live.conftest import Make
from tests.live.support import PATIENCE_S, Ask, Failed, Folder, Later, Ping, Pong, Talker, Tell, contact
from tests.peer.support import take_slot


def talk(driver: ThreadDriver) -> Talker:
    protocol = driver.node.protocols["talk"]
    assert isinstance(protocol, Talker)
    return protocol


def ask(driver: ThreadDriver, peer: Contact, message: Any, **keywords: Any) -> Any:
    return driver.wait(driver.call(lambda: talk(driver).ask(peer, message, **keywords)), PATIENCE_S)


def why(driver: ThreadDriver, peer: Contact, message: Any, **keywords: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        ask(driver, peer, message, **keywords)
    return caught.value


def hears(driver: ThreadDriver, count: int) -> list[Any]:
    """What the peer has heard, once that is so many things."""
    protocol = talk(driver)
    driver.wait(driver.call(protocol.until, lambda: len(protocol.heard) >= count), PATIENCE_S)
    return protocol.heard


@pytest.mark.parametrize(
    "hosts", [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.3"), ("::1", "::1"), ("::1", "127.0.0.1")]
)
def test_calls_are_answered_over_tcp_and_udp_and_commands_keep_their_order(make: Make, hosts: tuple[str, str]) -> None:
    one, two = make(1, hosts[0]), make(2, hosts[1])
    assert ask(one, two.me, Ask("hello")) == Tell("HELLO")
    assert ask(one, two.me, Ping(7)) == Pong(7)
    assert ask(two, one.me, Ping(7)) == Pong(7)
    for number in range(200):
        one.run(talk(one).ctx.send, two.me, Tell(str(number)))
    assert hears(two, 201) == [7, *map(str, range(200))]
    assert one.call(lambda: one.node.calls) == {}


def test_a_peer_has_three_threads_by_name_and_a_clean_stop_leaves_none_of_them_nor_a_socket(make: Make) -> None:
    before = set(threading.enumerate())
    driver = make(9)
    mine = {thread.name for thread in set(threading.enumerate()) - before}
    assert mine == {"tcp-command-9", "udp-ping-server-9", "udp-ping-client-9"}
    driver.stop()
    driver.stop()
    assert not [thread for thread in threading.enumerate() if thread.name in mine]
    again = make(9, port=driver.me.port)
    assert again.me.boot > driver.me.boot


def test_what_is_said_while_stopping_still_arrives(make: Make) -> None:
    one, two = make(1), make(2)
    talk(one).stop = lambda: [talk(one).ctx.send(two.me, Tell("x" * 1000)) for _ in range(500)]  # type: ignore
    one.stop()
    assert len(hears(two, 500)) == 500


def test_effects_wait_for_the_end_of_the_handler_and_events_come_in_order_outside_the_lock(make: Make) -> None:
    told: list[msgspec.Struct] = []
    # From inside the lock `call` would be refused, and that would end the peer.
    one = make(1, on_event=lambda event: one.call(told.append, event))
    order: list[str] = []
    over: Pending[None] = Pending()

    def later(what: str) -> None:
        order.append(what)
        if len(order) == 4:
            over.resolve(None)

    def handler() -> None:
        ctx = talk(one).ctx
        one.run(later, "run")
        ctx.call(Contact(Key(2), "a.name", 1), Ask(""), print, lambda _: later("failed"), timeout_s=PATIENCE_S)
        ctx.after(0, later, "timer")
        for number in range(3):
            talk(one).ctx.notify(Tell(str(number)))
        later("handler is over")
        with pytest.raises(LocalError):
            one.call(print)

    one.call(handler)
    one.wait(over, PATIENCE_S)
    assert order[:2] == ["handler is over", "run"] and sorted(order[2:]) == ["failed", "timer"]
    assert told == [Tell("0"), Tell("1"), Tell("2")]
    assert not one.closed.is_set()


def test_timers_come_in_order_and_a_cancelled_one_never(make: Make) -> None:
    one = make(1)
    order: list[int] = []
    over: Pending[None] = Pending()

    def begin() -> None:
        ctx = talk(one).ctx
        second = ctx.after(0.02, order.append, 2)
        ctx.after(0.01, second.cancel)
        ctx.after(0.04, over.resolve, None)
        ctx.after(0.03, order.append, 3)
        ctx.after(0, order.append, 1)
        for _ in range(500):
            ctx.after(60, order.append, 9).cancel()

    one.call(begin)
    one.wait(over, PATIENCE_S)
    assert order == [1, 3]
    assert one.call(lambda: len(one._timers)) < 200, "cancelled timers are thrown away"


def test_a_call_that_cannot_be_answered_fails_for_the_right_reason(make: Make) -> None:
    one, two = make(1), make(2)
    other = Contact(Key(5), *two.me.address, two.me.boot)
    stale = Contact(two.me.id, *two.me.address, 17)
    assert (why(one, other, Ask("")).detail) == "Peer 2 lives here, not Peer 5"
    assert (why(one, stale, Ask("")).detail) == "Peer 2 was started again since"
    assert why(one, stale, Ping(1), timeout_s=0.2).reason is Reason.TIMEOUT, "datagrams are dropped silently"
    assert why(one, two.me, Later(), timeout_s=0.1).reason is Reason.TIMEOUT
    pending = one.call(lambda: talk(one).ask(two.me, Later()))
    hears(two, 2)
    two.kill()
    with pytest.raises(Failed) as cut:
        one.wait(pending, PATIENCE_S)
    assert cut.value.reason is Reason.UNREACHABLE
    assert why(one, two.me, Ask("")).reason is Reason.UNREACHABLE
    assert why(one, Contact(Key(2), "localhost", two.me.port), Ask("")).reason is Reason.UNREACHABLE


def test_a_late_answer_is_a_counted_drop(make: Make) -> None:
    one, two = make(1), make(2)
    assert why(one, two.me, Later(), timeout_s=0.05).reason is Reason.TIMEOUT
    hears(two, 1)
    two.call(lambda: talk(two).late[0].resolve(Tell("late")))
    assert ask(one, two.me, Ask("after")) == Tell("AFTER")
    assert one.drops["an answer nobody waits for"] == 1


def test_an_address_tells_who_lives_there(make: Make) -> None:
    one, two = make(1), make(2)
    assert one.wait(one.call(talk(one).meet, *two.me.address), PATIENCE_S) == two.me
    two.kill()
    with pytest.raises(Failed) as caught:
        one.wait(one.call(talk(one).meet, *two.me.address), PATIENCE_S)
    assert caught.value.reason is Reason.UNREACHABLE


@pytest.mark.parametrize("restarts", [False, True])
def test_a_watched_peer_that_ends_is_told_of_once_and_so_is_its_next_life(make: Make, restarts: bool) -> None:
    one, two = make(1), make(2)
    watched = one.call(talk(one).watch, two.me)
    assert ask(one, two.me, Ask("")) == Tell("")
    two.kill()
    if restarts:
        make(2, port=two.me.port)
    assert one.wait(watched, PATIENCE_S) == two.me
    assert why(one, two.me, Ask("")).reason in (Reason.UNREACHABLE, Reason.REFUSED)
    assert talk(one).heard == [("down", two.me)]


def test_durable_writes_are_there_in_the_next_life_and_a_full_disk_says_so(make: Make, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "kept")
    one = make(1, blobs=folder)
    one.wait(one.call(talk(one).persist, Write("a", Entry(b"1")), Write("b", Entry(b"2"))), PATIENCE_S)
    one.wait(one.call(talk(one).persist, Write("a", None)), PATIENCE_S)
    folder.full = True
    with pytest.raises(Failed, match="no room"):
        one.wait(one.call(talk(one).persist, Write("c", Entry(b"3"))), PATIENCE_S)
    one.kill()
    assert talk(make(1, blobs=folder)).ctx.stored() == {"b": Entry(b"2")}


def test_writes_that_wait_for_the_disk_are_written_together_and_told_in_order(make: Make, tmp_path: Path) -> None:
    groups: list[int] = []

    class Slow(Folder):
        def write_all(self, batches: Sequence[tuple[str, Batch]], on_done: Callable[[list[Any]], None]) -> Any:
            groups.append(len(batches))
            begun.set()
            assert go_on.wait(PATIENCE_S)
            return lambda: on_done(
                [LocalError("not this one") if number == 4 else None for number in range(len(batches))]
            )

    begun, go_on = threading.Event(), threading.Event()
    one = make(1, blobs=Slow(tmp_path / "kept"))
    told: list[int] = []
    first = one.call(talk(one).persist, Write("a", Entry(b"0")))
    assert begun.wait(PATIENCE_S)
    rest = [one.call(talk(one).persist, Write("a", Entry(b"%d" % number))) for number in range(1, 10)]
    for number, pending in enumerate([first, *rest]):
        one.call(pending.when_done, lambda _, number=number: told.append(number))
    go_on.set()
    one.wait(rest[-1], PATIENCE_S)
    assert told == list(range(10))
    assert [number for number, pending in enumerate(rest) if pending.error is not None] == [4]
    assert groups == [1, 9]


@pytest.mark.parametrize(("kind", "name"), [(socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")])
def test_a_port_that_is_taken_is_named(make: Make, kind: socket.SocketKind, name: str) -> None:
    # Not a port that the system hands out: it could be somebody else's the moment that it is free.
    base_port, guard = take_slot()
    port = base_port + 250
    with guard, socket.socket(socket.AF_INET, kind) as holder:
        if kind == socket.SOCK_STREAM:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        with pytest.raises(PortTaken, match=rf"port {port} \({name}\)"):
            make(4, port=port)
        holder.close()
        make(4, port=port)


def test_an_address_that_is_nobodys_is_refused() -> None:
    for host in ("0.0.0.0", "::", "localhost", "224.0.0.1"):
        with pytest.raises(LocalError, match="cannot be advertised"):
            ThreadDriver(contact(1, host), blobs=None)  # type: ignore[arg-type]


def test_an_error_in_a_handler_ends_the_peer_loudly(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    crashed: Pending[str] = Pending()
    told = threading.Event()
    crashed.when_done(lambda _: told.set())
    one, two = make(1), make(2, on_crash=crashed.resolve)
    watched = one.call(talk(one).watch, two.me)
    talk(two).hear = lambda what: 1 // 0  # type: ignore[method-assign]
    one.run(talk(one).ctx.send, two.me, Tell("boom"))
    assert told.wait(PATIENCE_S)
    assert "ZeroDivisionError" in crashed.result() and "ZeroDivisionError" in caplog.text
    assert two.closed.is_set()
    assert one.wait(watched, PATIENCE_S) == two.me
    with pytest.raises(Indefinite, match="has ended"):
        two.wait(Pending(), PATIENCE_S)


def test_waiting_has_an_end(make: Make) -> None:
    with pytest.raises(Indefinite, match="no outcome within"):
        make(1).wait(Pending(), 0.01)
