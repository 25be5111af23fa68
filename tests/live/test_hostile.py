"""Raw sockets against a peer: whatever comes is a counted drop, and the peer goes on."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from overlay.core.codec import MAX_DATAGRAM_BYTES, MAX_FRAME_BYTES, Codec
from overlay.core.context import Reason
from overlay.core.message import CALL, ONE_WAY, REPLY, WIRE_VERSION, Command, Contact, Envelope, Message, Refused
from overlay.core.storage import BlobRef
from overlay.ids import Key
from overlay.live import connection, wire
from overlay.live.frames import frame
from overlay.live.gate import BodyRequest
from overlay.live.threads import ThreadDriver
from tests.live.conftest import Make
from tests.live.support import PATIENCE_S, Ask, Failed, Later, Ping, Pong, Tell
from tests.live.test_threads import ask, hears, talk, why


class Unknown(Command, frozen=True):
    """No peer speaks this."""


CODEC = Codec([BodyRequest, Ask, Tell, Ping, Pong, Unknown, Later])
LIAR = Contact(Key(66), "127.0.0.1", 6666, 1)


def forge(to: Contact, body: Message, kind: int = ONE_WAY, number: int = 0, counter: int = 1) -> bytes:
    return CODEC.encode(Envelope(WIRE_VERSION, kind, LIAR, to.id, to.boot, "talk", number, counter, body))


@pytest.fixture
def victim(make: Make) -> Iterator[ThreadDriver]:
    """It answers a friend at the end, whatever was done to it."""
    victim, friend = make(1), make(2)
    yield victim
    assert ask(friend, victim.me, Ask("alive")) == Tell("ALIVE")
    assert ask(friend, victim.me, Ping(1)) == Pong(1)


def dial(victim: ThreadDriver) -> socket.socket:
    sock = socket.create_connection(victim.me.address)
    sock.settimeout(PATIENCE_S)
    return sock


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def answer(sock: socket.socket) -> Envelope[Message]:
    file = sock.makefile("rb")
    return CODEC.decode(file.read(int.from_bytes(file.read(4))))


@pytest.mark.parametrize(
    "rubbish",
    [bytes(4), (MAX_FRAME_BYTES + 1).to_bytes(4), b"\xff" * 4, frame(b"\x91" * 60_000), b"GET / HTTP/1.1\r\n\r\n"],
)
def test_rubbish_ends_its_connection_only(victim: ThreadDriver, rubbish: bytes) -> None:
    with dial(victim) as sock:
        sock.sendall(rubbish)
        assert is_closed(sock)
    assert sum(victim.drops.values()) == 1


def test_a_flood_of_rubbish_on_both_ports_is_counted_under_few_names(victim: ThreadDriver) -> None:
    chance = random.Random(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for _ in range(500):
            udp.sendto(chance.randbytes(chance.randrange(1400)), victim.me.address)
            udp.sendto(b"\xc1" * 2, victim.me.address)
    for _ in range(100):
        with dial(victim) as sock:
            sock.sendall(frame(chance.randbytes(chance.randrange(1, 400))))
            assert is_closed(sock)
    assert set(victim.drops) <= {"no message", "datagram too long", "too many connections"}
    assert victim.drops["no message"] > 100


def test_a_frame_that_dribbles_in_is_a_frame(victim: ThreadDriver) -> None:
    with dial(victim) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(forge(victim.me, Tell("slow"))):
            sock.sendall(bytes([byte]))
        assert hears(victim, 1) == ["slow"]


def test_a_call_that_is_not_understood_is_refused_and_its_connection_stays(victim: ThreadDriver) -> None:
    with dial(victim) as sock:
        sock.sendall(frame(forge(victim.me, Unknown(), CALL, 3)))
        refusal = answer(sock)
        assert (
            refusal.number == 3 and isinstance(refusal.body, Refused) and "does not understand" in refusal.body.reason
        )
        sock.sendall(frame(forge(Contact(Key(9), *victim.me.address, 0), Ask(""), CALL, 4)))
        assert "lives here, not Peer 9" in getattr(answer(sock).body, "reason", "")
        sock.sendall(frame(forge(victim.me, Ask("x"), CALL, 5)))
        assert answer(sock).body == Tell("X")


def test_captured_packets_have_no_effect_a_second_time(victim: ThreadDriver) -> None:
    command, ping = frame(forge(victim.me, Tell("once"), counter=1)), forge(victim.me, Ping(7), counter=2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for _ in range(4):
            udp.sendto(ping, victim.me.address)
            with dial(victim) as sock:
                sock.sendall(command)
        udp.sendto(forge(victim.me, Ping(8), counter=3), victim.me.address)
    with dial(victim) as sock:
        sock.sendall(frame(forge(victim.me, Tell("after"), counter=4)))
        assert sorted(map(str, hears(victim, 4))) == ["7", "8", "after", "once"]
    assert victim.drops["replayed"] >= 3


def test_an_answer_is_taken_only_on_the_way_the_question_went(make: Make, victim: ThreadDriver) -> None:
    one, two = make(3), make(4)
    pending = one.call(lambda: talk(one).ask(two.me, Later()))
    hears(two, 1)
    lie = Envelope(WIRE_VERSION, REPLY, two.me, one.me.id, one.me.boot, "talk", 1, 99, Tell("lie"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, dial(one) as sock:
        udp.sendto(CODEC.encode(lie), one.me.address)
        sock.sendall(frame(CODEC.encode(lie)))
        sock.sendall(frame(forge(one.me, Tell("behind it"), counter=5)))
        hears(one, 1)
    two.call(lambda: talk(two).late[0].resolve(Tell("truth")))
    assert one.wait(pending, PATIENCE_S) == Tell("truth")


def test_no_refusal_of_a_datagram_is_longer_than_it(victim: ThreadDriver) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(PATIENCE_S)
        me = Contact(Key(66), *udp.getsockname(), 1)
        for counter, service in ((1, ""), (2, "talk")):
            data = Envelope(WIRE_VERSION, CALL, me, victim.me.id, victim.me.boot, service, counter, counter, Ping(1))
            udp.sendto(CODEC.encode(data), victim.me.address)
        assert CODEC.decode(udp.recv(MAX_DATAGRAM_BYTES)).body == Pong(1)
    assert victim.drops["a refusal longer than its question"] == 1


def test_silent_strangers_make_room_for_peers(make: Make, victim: ThreadDriver) -> None:
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(dial(victim)) for _ in range(2 * wire.MAX_STRANGERS_PER_ADDRESS)]
        assert is_closed(strangers[0]), "the oldest goes"
        assert ask(make(3), victim.me, Ask("let me in")) == Tell("LET ME IN")
        strangers[-1].sendall(frame(forge(victim.me, Ask("me too"), CALL, 1)))
        assert answer(strangers[-1]).body == Tell("ME TOO")


def test_running_out_of_descriptors_is_survived(victim: ThreadDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = socket.socket.accept, [3]

    def accept(listener: socket.socket) -> object:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with dial(victim) as sock:
        sock.sendall(frame(forge(victim.me, Ask("in the end"), CALL, 1)))
        assert answer(sock).body == Tell("IN THE END")
    assert victim.drops["out of descriptors"] == 3


def test_a_connection_that_rests_makes_room_when_descriptors_run_out(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, first, second = make(1), make(2), make(3)
    assert ask(asker, first.me, Ask("first")) == Tell("FIRST")
    assert asker.traffic is not None
    held, real = asker.traffic.wire._outgoing, wire.connect

    def connect(*place: Any) -> socket.socket:
        if held:
            raise OSError(errno.EMFILE, "too many open files")
        return real(*place)

    monkeypatch.setattr(wire, "connect", connect)
    assert why(asker, second.me, Ask("too soon")).reason is Reason.OVERLOADED
    monkeypatch.setattr(wire, "RESTED_S", 0.0)
    assert ask(asker, second.me, Ask("second")) == Tell("SECOND")
    assert list(held) == [second.me.address]


def test_contacts_that_cannot_be_are_no_end_of_the_peer_that_believes_them(victim: ThreadDriver) -> None:
    protocol = talk(victim)
    for host, port in (
        ("127.0.0.1", 0),
        ("127.0.0.1", 99_999),
        ("127.0.0.1", -5),
        ("a.name", 1),
        ("224.0.0.1", 7),
    ):
        liar = Contact(Key(7), host, port, 1)
        victim.run(protocol.ctx.send, liar, Tell(""))
        victim.run(protocol.ctx.send, liar, Ping(1))
        assert why(victim, liar, Ask("")).reason is Reason.UNREACHABLE
        with pytest.raises(Failed) as caught:
            victim.wait(victim.call(protocol.fetch, liar, BlobRef(bytes(32), 1))[1], PATIENCE_S)
        assert caught.value.reason is Reason.UNREACHABLE
    assert victim.drops["not sent: no address to reach"] == 5


@pytest.mark.parametrize(
    ("data", "named"), [(b"", "a stranger that said nothing"), (b"\0\0\0\5", "a frame that did not end")]
)
def test_who_does_not_go_on_is_closed(
    make: Make, victim: ThreadDriver, monkeypatch: pytest.MonkeyPatch, data: bytes, named: str
) -> None:
    for module in (connection, wire):
        monkeypatch.setattr(module, "FRAME_S", 0.2)
    with dial(victim) as sock:
        sock.sendall(frame(forge(victim.me, Tell("hello"))) + data if data else b"")
        assert is_closed(sock)
    assert victim.drops[named] == 1


def test_who_asks_for_a_body_and_is_gone_hurts_nobody(victim: ThreadDriver) -> None:
    for number in range(50):
        with dial(victim) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(frame(forge(victim.me, BodyRequest(BlobRef(bytes(32), 5), 0, 5), CALL, number)))


def test_a_full_house_takes_the_place_of_the_quietest(victim: ThreadDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_INCOMING", 8)
    monkeypatch.setattr(wire, "HELD_BACK", 2)
    with contextlib.ExitStack() as stack:
        socks = []
        for number in range(1, 13):
            socks.append(stack.enter_context(dial(victim)))
            socks[-1].sendall(frame(forge(victim.me, Ask("a peer"), CALL, number, number)))
            assert answer(socks[-1]).body == Tell("A PEER")
        assert all(is_closed(sock) for sock in socks[:4])
        socks[4].sendall(frame(forge(victim.me, Ask("still?"), CALL, 13, 13)))
        assert answer(socks[4]).body == Tell("STILL?")
