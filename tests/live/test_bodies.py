"""Bodies: whole, cut and resumed, cancelled, wrong, slow, and refused."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from overlay.core.codec import Codec
from overlay.core.context import Reason, Transfer
from overlay.core.message import CALL, REPLY, WIRE_VERSION, Contact, Envelope
from overlay.core.pending import Pending
from overlay.core.storage import BlobRef, Entry, Write
from overlay.ids import Key
from overlay.live import pull
from overlay.live.frames import frame
from overlay.live.gate import BodyFollows, BodyRequest
from overlay.live.serving import Sending
from overlay.live.threads import ThreadDriver
from overlay.store.disk import FolderDisk
from tests.live.conftest import Make
from tests.live.support import PATIENCE_S, Failed, Folder
from tests.live.test_threads import talk

CODEC = Codec([BodyRequest, BodyFollows])
BODY = bytes(range(256)) * 20_000
REF = BlobRef(hashlib.sha256(BODY).digest(), len(BODY))


class Source:
    """Answers requests for a body as the test says: `script` has the bytes for each connection, then whether to close."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.me = Contact(Key(50), *self.listener.getsockname(), 1)
        self.script: list[tuple[bytes, bool]] = []
        self.asked: list[tuple[int, int]] = []
        self.held: list[socket.socket] = []
        self.sent = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock = self.listener.accept()[0]
                file = sock.makefile("rb")
                question = CODEC.decode(file.read(int.from_bytes(file.read(4))))
                assert isinstance(question.body, BodyRequest)
                self.asked.append((question.body.start, question.body.end))
                data, closes = self.script.pop(0)
                head = Envelope(WIRE_VERSION, REPLY, self.me, Key(1), 0, "", question.number, 1, BodyFollows())
                sock.sendall(frame(CODEC.encode(head)) + data)
                self.sent.set()
                file.close()
                if closes:
                    sock.close()
                else:
                    self.held.append(sock)


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.listener.shutdown(socket.SHUT_RDWR)
    source.listener.close()
    for sock in source.held:
        sock.close()


def fetch(driver: ThreadDriver, peer: Contact, ref: BlobRef = REF) -> tuple[Transfer, Pending[None]]:
    return driver.call(talk(driver).fetch, peer, ref)


def why(driver: ThreadDriver, pending: Pending[None]) -> Failed:
    with pytest.raises(Failed) as caught:
        driver.wait(pending, PATIENCE_S)
    return caught.value


def bytes_of(driver: ThreadDriver, ref: BlobRef = REF) -> bytes | None:
    path = driver.blobs.source(ref)
    return None if path is None else path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, len(BODY)])
def test_a_body_comes_whole(make: Make, tmp_path: Path, size: int) -> None:
    one, two = make(1), make(2)
    (tmp_path / "2" / "0159").write_bytes(BODY[:size])
    ref = two.wait(two.call(talk(two).find, "0159"), PATIENCE_S)
    transfers = [fetch(one, two.me, ref) for _ in range(3)]
    for transfer, pending in transfers:
        one.wait(pending, PATIENCE_S)
        assert transfer.done_bytes == size
    assert bytes_of(one, ref) == BODY[:size]


def test_what_came_before_a_cut_is_not_asked_for_again(make: Make, source: Source) -> None:
    one = make(1)
    source.script = [(BODY[:3_000_000], True), (BODY[3_000_000:3_000_001], True), (BODY[3_000_001:], True)]
    for _ in range(2):
        assert why(one, fetch(one, source.me)[1]).reason is Reason.UNREACHABLE
        assert bytes_of(one) is None
    one.wait(fetch(one, source.me)[1], PATIENCE_S)
    assert source.asked == [(0, len(BODY)), (3_000_000, len(BODY)), (3_000_001, len(BODY))]
    assert bytes_of(one) == BODY


def test_wrong_bytes_are_refused_and_leave_nothing(make: Make, source: Source) -> None:
    one = make(1)
    source.script = [(BODY[:-1] + b"x", True), (BODY, True)]
    assert why(one, fetch(one, source.me)[1]).reason is Reason.REFUSED
    assert bytes_of(one) is None
    one.wait(fetch(one, source.me)[1], PATIENCE_S)
    assert bytes_of(one) == BODY


def test_a_cancelled_body_stops_at_once_and_a_waiting_one_never_begins(make: Make, source: Source) -> None:
    one = make(1)
    source.script = [(BODY[:100], False)]
    running, first = fetch(one, source.me)
    waiting, second = fetch(one, source.me)
    assert source.sent.wait(PATIENCE_S)
    one.run(waiting.cancel)
    assert why(one, second).reason is Reason.CANCELLED
    one.run(running.cancel)
    assert why(one, first).reason is Reason.CANCELLED
    assert len(source.asked) == 1


@pytest.mark.parametrize("data", [b"", BODY[:100]], ids=["at once", "later"])
def test_a_body_that_stalls_is_given_up(
    make: Make, source: Source, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(pull, "STALL_S", 0.2)
    one = make(1)
    source.script = [(data, False)]
    assert why(one, fetch(one, source.me)[1]).reason is Reason.TIMEOUT


def test_a_body_that_is_not_there_or_has_no_room_or_no_peer(make: Make, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "one")
    one, two = make(1, blobs=folder), make(2)
    assert "not here" in why(one, fetch(one, two.me)[1]).detail
    folder.full = True
    assert why(one, fetch(one, two.me)[1]).reason is Reason.NO_SPACE
    folder.full = False
    two.kill()
    assert why(one, fetch(one, two.me)[1]).reason is Reason.UNREACHABLE


def test_receivers_that_do_not_read_hold_up_nobody(make: Make, tmp_path: Path) -> None:
    one, two = make(1), make(2)
    (tmp_path / "2" / "0159").write_bytes(BODY)
    ref = two.wait(two.call(talk(two).find, "0159"), PATIENCE_S)
    me = Contact(Key(66), "127.0.0.1", 6666, 1)
    with contextlib.ExitStack() as stack:
        for number in range(30):
            sock = stack.enter_context(socket.create_connection(two.me.address))
            question = BodyRequest(ref, 0, ref.size)
            envelope = Envelope(WIRE_VERSION, CALL, me, two.me.id, 0, "", number, number, question)
            sock.sendall(frame(CODEC.encode(envelope)))
            sock.settimeout(PATIENCE_S)
            assert sock.recv(1)
        one.wait(fetch(one, two.me, ref)[1], PATIENCE_S)
    assert bytes_of(one, ref) == BODY


def test_a_file_that_somebody_writes_to_while_it_goes_out_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "4103.pdf"
    path.write_bytes(BODY)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    sending, piece = Sending(ours, b"head", FileIO(path), 0, len(BODY), lambda: None), memoryview(bytearray(1000))
    assert sending.send(piece)
    assert sending.send(piece)
    with path.open("r+b") as file:
        file.write(b"!")
    os.utime(path, ns=(0, 0))
    assert not sending.send(piece)
    sending.close()
    with theirs, theirs.makefile("rb") as file:
        assert file.read() == b"head" + BODY[:1000]


def test_what_is_rotten_is_found_and_mended_while_another_has_it(make: Make, tmp_path: Path) -> None:
    disks = [FolderDisk(tmp_path / str(number), tmp_path, keep=False) for number in range(2)]
    for disk in disks:
        disk.open()
    (tmp_path / "4103.pdf").write_bytes(BODY)
    one, two = make(1, blobs=disks[0]), make(2, blobs=disks[1])
    ref = two.wait(two.call(talk(two).find, "4103.pdf"), PATIENCE_S)

    def keep() -> None:
        one.wait(one.call(talk(one).fetch, two.me, ref)[1], PATIENCE_S)
        one.wait(one.call(talk(one).persist, Write("record/4103", Entry(b"", ref))), PATIENCE_S)

    def scrubbed() -> list[tuple[str, BlobRef | None]]:
        found: list[tuple[str, BlobRef | None]] = []
        over: Pending[None] = Pending()
        one.call(
            lambda: talk(one).ctx.scrub(lambda *what: found.append(what), lambda: over.resolve(None), bytes_per_s=1e9)
        )
        one.wait(over, PATIENCE_S)
        return found

    keep()
    assert scrubbed() == []
    source = disks[0].source(ref)
    assert source is not None
    with source.open("r+b") as file:
        file.write(b"!")
    assert scrubbed() == [("record/4103", ref)]
    keep()
    assert scrubbed() == []
    assert source.read_bytes() == BODY
    for driver, disk in zip((one, two), disks, strict=True):
        driver.kill()
        disk.close()
