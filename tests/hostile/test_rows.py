"""HOSTILE.md on real peers and sockets, a row a test; what ends well is shown by the ring's going on."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from overlay.core.codec import MAX_FRAME_BYTES
from overlay.core.message import Contact, Done, Hello, Refused, Welcome
from overlay.core.storage import BlobRef
from overlay.errors import LocalError, OverlayError, RemoteError
from overlay.ids import Key
from overlay.live.addresses import family_of
from overlay.live.frames import frame
from overlay.live.gate import BodyFollows
from overlay.peer import Peer
from overlay.peer.address import show_address
from overlay.ring.messages import Admit, Ask, Depart, JoinRequest, Neighbors, Ping, Pong, SuccessorChange
from overlay.store.events import StoreAccepted
from overlay.store.messages import Fetched, Holding
from tests.hostile.liar import LIAR, ONE_WAY, answer, ask, dial, envelope, forward, is_closed, packed
from tests.peer.support import PATIENCE_S, House
from tests.peer.test_peer import done

BODY = b"the original" * 1000


@pytest.fixture(params=["127.0.0.1", "::1"])
def victim(house: House, request: pytest.FixtureRequest) -> Iterator[Peer]:
    """Peer 4 of a ring of three, in which a record lies; at the end it still answers and its pointers are the same."""
    (house.files / "0004.pdf").write_bytes(BODY)
    house.ring((4, 8, 14), host=request.param)
    done(house.peers[8].store("0004"))
    yield house.peers[4]
    assert house.around(4) == (8, 14, 8, 14)
    assert not house.peers[4].closed.is_set()
    done(house.peers[14].request("0004"))
    assert (house.files / "received_0004.pdf").read_bytes() == BODY


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_row_1_a_length_that_cannot_be_costs_no_memory(victim: Peer) -> None:
    tracemalloc.start()
    for size in (0, MAX_FRAME_BYTES + 1, 2**32 - 1):
        with dial(victim.contact) as sock:
            sock.sendall(size.to_bytes(4) + bytes(1000))
            assert is_closed(sock)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_row_2_frames_come_in_pieces_and_in_lumps(victim: Peer) -> None:
    hello = frame(envelope(victim.contact, "", Hello()))
    with dial(victim.contact) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in hello:
            sock.sendall(bytes([byte]))
        assert answer(sock) == Welcome(victim.contact)
    with dial(victim.contact) as sock, sock.makefile("rb") as file:
        sock.sendall(b"".join(frame(envelope(victim.contact, "ring", Ask())) for _ in range(100)))
        for _ in range(100):
            assert len(file.read(int.from_bytes(file.read(4)))) > 0


def test_row_3_strangers_that_dribble_do_not_hold_up_a_request(house: House, victim: Peer) -> None:
    count = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 300)
    with contextlib.ExitStack() as stack:
        strangers = []
        for number in range(count):
            sock = stack.enter_context(socket.socket(family_of(victim.contact.host)))
            sock.setblocking(False)
            sock.connect_ex(victim.contact.address)
            strangers.append(sock)
            with contextlib.suppress(OSError):
                # A header that promises much, and then a byte at a time.
                strangers[number // 2].send(b"\0" if number % 2 else b"\0\0\1\0")
            if number % (count // 5) == 0:
                done(house.peers[14].request("0004"))
        done(house.peers[14].request("0004"))
        assert house.around(4) == (8, 14, 8, 14)


NAMES = ("../a", "/etc", "a\0bc", "x" * 4096, "CON", "٠١٥٩", "12\n4", "0159\n", "\x1b[2J", "123", "12345")


def test_row_5_names_from_the_wire_touch_nothing(house: House, victim: Peer) -> None:
    before = tree(house.root)
    holder = [66, "127.0.0.1", 9, 1]
    for name in NAMES:
        for payload in (packed("Request", name), packed("Store", name, [bytes(32), 10], holder)):
            assert isinstance(ask(victim.contact, "route", forward(4, "records", payload)), Done | Refused)
        with pytest.raises(LocalError):
            victim.store(name)
    assert tree(house.root) == before
    assert house.told(4)[-1] == StoreAccepted("0004")


def test_row_6_a_body_nobody_asked_for_changes_nothing(house: House, victim: Peer) -> None:
    received = house.files / "received_4103.pdf"
    received.write_bytes(b"what stands there")
    ref = BlobRef(bytes(32), 1 << 20)
    with dial(victim.contact) as sock:
        sock.sendall(frame(envelope(victim.contact, "", BodyFollows(), kind=ONE_WAY)))
        with contextlib.suppress(ConnectionError):
            sock.sendall(bytes(1 << 20))
        assert is_closed(sock)
    for body in (Holding("4103", ref, LIAR), Fetched("4103")):
        ask(victim.contact, "records", body)
    assert received.read_bytes() == b"what stands there"


def test_row_7_forged_news_moves_no_pointer(house: House, victim: Peer) -> None:
    before = {number: house.around(number) for number in house.peers}
    eight, fourteen = house.peers[8].contact, house.peers[14].contact
    elsewhere = Contact(eight.id, eight.host, 9, eight.boot)
    lies: list[tuple[str, Any, Contact]] = [
        ("ring", Depart(), eight),
        ("ring", Depart(), elsewhere),
        ("ring", Depart(), fourteen),
        ("ring", SuccessorChange(), eight),
        ("ring", SuccessorChange(), LIAR),
        ("join", Admit(0, (LIAR,), (LIAR,)), LIAR),
        ("join", JoinRequest(Contact(Key(6), "127.0.0.1", 9, 1), 7), LIAR),
    ]
    answers = []
    for turn, (service, lie, sender) in enumerate(lies):
        # Far beyond whatever the honest sender will ever count to: it must not be shut out by that.
        answers.append(ask(victim.contact, service, lie, sender, (1 << 62) + turn))
    assert answers[0] == answers[1] == Refused("Peer 8 says it does not leave")
    assert answers[2] == Refused("Peer 14 says it does not leave")
    assert answers[3:5] == [Done(), Done()]
    assert isinstance(answers[5], Refused)
    assert isinstance(answers[6], Refused)
    assert {number: house.around(number) for number in house.peers} == before
    assert [event for event in house.told(4) if "Departure" in type(event).__name__] == []


def test_row_9_no_datagram_gets_a_longer_one_back(victim: Peer) -> None:
    with socket.socket(family_of(victim.contact.host), socket.SOCK_DGRAM) as sock:
        sock.bind((victim.contact.host, 0))
        sock.settimeout(PATIENCE_S)
        me = Contact(Key(66), victim.contact.host, sock.getsockname()[1], 1)
        short = [Ping(1, 1, 2, 3, b""), Ping(1, 0, 2, 4, bytes(900)), Pong(1, 1, 2, 3, Neighbors((), ()))]
        for message in short:
            sock.sendto(envelope(victim.contact, "pings", message, me, ONE_WAY), victim.contact.address)
        sock.sendto(b"\x99", victim.contact.address)
        # The one good question is the last, so that its answer says that the others had none.
        question = envelope(victim.contact, "pings", Ping(2, 1, 2, 5), me, ONE_WAY)
        sock.sendto(question, victim.contact.address)
        data = sock.recv(65536)
        assert len(data) <= len(question)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(65536)


def test_row_10_rubbish_on_both_ports_ends_nothing(victim: Peer) -> None:
    chance = random.Random(10)
    good = envelope(victim.contact, "ring", Ask())
    pieces = [chance.randbytes(chance.randrange(1, 200)) for _ in range(100)]
    pieces += [bytes([*good[:at], good[at] ^ 1 << chance.randrange(8), *good[at + 1 :]]) for at in range(len(good))]
    pieces += [good[:at] for at in range(1, len(good))] + [b"\x91" * 60_000, b"\xc1", b""]
    with socket.socket(family_of(victim.contact.host), socket.SOCK_DGRAM) as udp:
        for piece in pieces:
            udp.sendto(piece[:1200], victim.contact.address)
            with dial(victim.contact) as sock:
                sock.sendall(frame(piece))


def test_row_11_a_full_disk_refuses_by_name_and_goes_on_reading(
    house: House, victim: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (house.files / "0260.pdf").write_bytes(b"no room for this")
    own = house.files / f"peer-4-{house.base_port}"
    before = tree(own)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OverlayError, match="no room"):
            done(house.peers[8].store("0260"))
        assert tree(own) == before
    assert victim.view().records == ("0004",)


def test_row_14_of_two_that_join_at_once_with_one_id_one_is_let_in(house: House, victim: Peer) -> None:
    host = victim.contact.host
    twins = [Peer(9, base_port=0, host=host, files=house.files, data=house.root / str(turn)) for turn in (1, 2)]
    ways = [show_address(host, house.base_port + known) for known in (4, 14)]
    try:
        joins = [twin.join(way) for twin, way in zip(twins, ways, strict=True)]
        refusals = []
        for join in joins:
            try:
                done(join)
            except RemoteError as error:
                refusals.append(str(error))
        assert refusals == ["Peer 9 is in the ring already"]
        winner = next(twin for twin, join in zip(twins, joins, strict=True) if join.error is None)
        house.until(lambda: house.around(14)[1] == 9 and house.around(8)[2] == 9)
        members = [member.contact for member in done(victim.ring())]
        assert members.count(winner.contact) == 1
        assert [member.id for member in members] == [4, 8, 9, 14]
        done(winner.quit())
        house.until(lambda: house.around(4) == (8, 14, 8, 14))
    finally:
        for twin in twins:
            twin.kill()
