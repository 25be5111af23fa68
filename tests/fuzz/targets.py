"""What is fuzzed: each takes bytes, and lets nothing out but what is a defect."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from overlay.core.codec import MAX_FRAME_BYTES, Codec, DecodeError, unpack
from overlay.live.connection import Connection
from overlay.live.frames import HEADER_BYTES, FrameReader, frame
from overlay.live.gate import BodyFollows, BodyRequest
from overlay.store.records import Records
from tests.fuzz.still import Still, incoming, outgoing

MESSAGES = tuple(dict.fromkeys([*Still().node.messages(), BodyRequest, BodyFollows]))
CODEC = Codec(MESSAGES)


class Target(NamedTuple):
    """A name, what is done with an input, and whether an input is frames or the bytes of one message."""

    name: str
    run: Callable[[bytes], None]
    framed: bool


def split(data: bytes) -> Iterator[bytes]:
    """The frames of an input; what is left of it is the last one."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + HEADER_BYTES])
        yield data[at + HEADER_BYTES : at + HEADER_BYTES + size]
        at += HEADER_BYTES + size


def codec(data: bytes) -> None:
    """What is decoded at all is encoded to bytes that mean the same."""
    for kinds in (Records.handlers, MESSAGES):
        with contextlib.suppress(DecodeError):
            unpack(data, tuple(kinds))
    try:
        envelope = CODEC.decode(data)
    except DecodeError:
        return
    if len(data) <= MAX_FRAME_BYTES:
        again = CODEC.encode(envelope)
        assert CODEC.encode(CODEC.decode(again)) == again


def frames(data: bytes) -> None:
    """However TCP cuts them up, the same frames come."""
    whole, halves = FrameReader(), FrameReader()
    middle = len(data) // 2
    assert whole.feed(data) == halves.feed(data[:middle]) + halves.feed(data[middle:])
    assert (whole.broken, whole.waiting) == (halves.broken, halves.waiting)


@contextlib.contextmanager
def unguided() -> Iterator[None]:
    """What is done here is the same for every input, or nearly, and says nothing of it."""
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(trace)


def tcp(data: bytes) -> None:
    """The TCP server: commands, and requests of bodies."""
    frames(data)
    with unguided():
        driver = Still()
    _feed(driver, data, incoming())


def answers(data: bytes) -> None:
    """What comes back on the connection that the peer's own questions went out on."""
    with unguided():
        driver = Still.busy()
    _feed(driver, data, outgoing(driver))


def _feed(driver: Still, data: bytes, connection: Connection) -> None:
    assert driver.traffic is not None
    for piece in connection.received(data, 0.0):
        if not driver.traffic.received(piece, connection) or not connection.open:
            break
    with unguided():
        driver.let_time_pass()


def udp(data: bytes) -> None:
    """The UDP server; a frame of the input is a datagram."""
    with unguided():
        driver = Still()
    assert driver.traffic is not None
    for datagram in split(data):
        driver.traffic.received_datagram(datagram)
    with unguided():
        driver.let_time_pass()


TARGETS = {
    target.name: target
    for target in (
        Target("codec", codec, False),
        Target("tcp", tcp, True),
        Target("answers", answers, True),
        Target("udp", udp, True),
    )
}

__all__ = ["CODEC", "MESSAGES", "TARGETS", "Target", "frame", "split"]
