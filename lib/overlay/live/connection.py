"""One TCP connection: its socket, what has come of a frame, what is still to go out, and how long it may stay."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from overlay.live.frames import FrameReader
from overlay.live.waker import Ready

if TYPE_CHECKING:
    from overlay.live.wire import Wire

CONNECT_S = 3.0
FRAME_S = 10.0
"""A frame that has begun is whole by then, and so is the first one of a stranger."""

STALL_S = 10.0
"""Output that does not move for so long is output to nobody."""

IDLE_INCOMING_S = 60.0
IDLE_OUTGOING_S = 45.0
"""Shorter than the other end's, so that nothing is sent into a connection that is just being closed."""

MAX_QUEUE_BYTES = 1 << 20
SEND_BYTES = 1 << 18
READ_BYTES = 1 << 14
"""Small, for each thread that reads leaves so much room behind in the heap."""

Address = tuple[str, int]


class Connection(Ready):
    """A connection of the wire; only the wire's thread touches it, but for `owed`."""

    __slots__ = (
        "address",
        "connected",
        "dirty",
        "frame_since",
        "moved",
        "open",
        "out",
        "outgoing",
        "outstanding",
        "owed",
        "proven",
        "reader",
        "since",
        "sock",
        "used",
        "wants_write",
        "wire",
    )

    def __init__(self, wire: Wire, sock: socket.socket, address: Address, now: float, *, outgoing: bool):
        self.wire = wire
        self.sock = sock
        self.address = address
        self.outgoing = outgoing
        self.connected = not outgoing
        self.proven = outgoing
        """Whether a message for us has come; a stranger that says nothing is the first to go."""
        self.open = True
        self.reader = FrameReader()
        self.out = bytearray()
        self.dirty = False
        self.wants_write = False
        self.outstanding: dict[int, None] = {}
        """Calls that went out here; their answers come back here or not at all."""
        self.owed = 0
        """Calls that came in here and are not answered yet."""
        self.since = self.used = self.moved = now
        self.frame_since: float | None = None

    def readable(self) -> None:
        """See `Ready`."""
        self.wire.read(self)

    def writable(self) -> None:
        """See `Ready`."""
        self.wire.write(self)

    def deadline(self) -> tuple[float, str]:
        """When it is to be closed unless something happens before, and why."""
        if not self.connected:
            return self.since + CONNECT_S, "cannot be reached"
        last = [(self.used + (IDLE_OUTGOING_S if self.outgoing else IDLE_INCOMING_S), "idle")]
        if self.outstanding or self.owed:
            last.clear()
        if self.frame_since is not None:
            last.append((self.frame_since + FRAME_S, "a frame that did not end"))
        if not self.proven:
            last.append((self.since + FRAME_S, "a stranger that said nothing"))
        if self.out:
            last.append((self.moved + STALL_S, "does not read"))
        return min(last, default=(float("inf"), ""))

    def received(self, data: bytes, now: float) -> list[bytes]:
        """The frames that are complete with these bytes."""
        frames = self.reader.feed(data)
        self.used = now
        if not self.reader.waiting:
            self.frame_since = None
        elif frames or self.frame_since is None:
            self.frame_since = now
        return frames

    def flush(self, now: float) -> None:
        """Send what the socket takes. OSError when it is broken."""
        try:
            while self.out:
                with memoryview(self.out)[:SEND_BYTES] as piece:
                    sent = self.sock.send(piece)
                del self.out[:sent]
                self.moved = self.used = now
        except BlockingIOError:
            pass


def prepare(sock: socket.socket) -> None:
    """No waiting for more to send, and word of a peer that vanished without a word."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def descriptor_limit() -> int:
    """How many descriptors this process may have."""
    try:
        import resource
    except ImportError:
        return 1 << 16
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 16 if soft == resource.RLIM_INFINITY else soft
