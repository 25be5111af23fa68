"""TCP of one peer, without a thread or a loop of its own: somebody says when a socket is ready and what time it is."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Protocol as Interface

from overlay.core.bounded import forget_oldest
from overlay.core.context import Failure, Reason
from overlay.live.addresses import check_connected, connect
from overlay.live.connection import (
    FRAME_S,
    MAX_QUEUE_BYTES,
    READ_BYTES,
    STALL_S,
    Address,
    Connection,
    descriptor_limit,
    prepare,
)
from overlay.live.frames import frame
from overlay.live.waker import Ready

MAX_INCOMING = 256
HELD_BACK = 64
"""Of these, so many are for addresses that have proven to be peers."""

OTHER_USES = 4
"""Of a process with few descriptors, connections that come in get one in so many: files and our own calls need the rest."""

MAX_STRANGERS_PER_ADDRESS = 32
MAX_OUTGOING = 256
MAX_KNOWN_ADDRESSES = 1024
ACCEPTS_AT_ONCE = 16
BACK_OFF_S = 0.2
"""How long nothing is accepted after the machine ran out of descriptors."""

RESTED_S = 1.0
"""A connection that was used since is not given up for want of descriptors: two that are used in turn would push each other out."""

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Poller(Interface):
    """Tells of sockets that are ready."""

    def watch(self, sock: socket.socket, owner: Ready, *, write: bool) -> None:
        """Tell the owner when it can be read, and with `write` also when it can be written; takes an earlier one's place."""

    def forget(self, sock: socket.socket) -> None:
        """No longer; nothing when it was not watched."""


class Above(Interface):
    """Whom the wire works for."""

    def received(self, data: bytes, connection: Connection) -> bool:
        """A frame came. False to have its connection closed."""

    def failed(self, number: int, failure: Failure) -> None:
        """A call that was sent has no answer to hope for."""

    def awaits(self, number: int) -> bool:
        """Whether a call still waits for its answer."""

    def lost(self, address: Address) -> None:
        """An outgoing connection is gone."""

    def count(self, why: str) -> None:
        """Something went nowhere."""


class Wire(Ready):
    """The connections of a peer: one outgoing for each address, and those that come in."""

    def __init__(self, above: Above, poller: Poller, listener: socket.socket, clock: Callable[[], float]):
        self._above = above
        self._poller = poller
        self._listener = listener
        self._clock = clock
        self._source = listener.getsockname()[0]
        self._descriptors = descriptor_limit()
        self._incoming: dict[Connection, None] = {}
        self._outgoing: dict[Address, Connection] = {}
        self._known: dict[str, None] = {}
        self._dirty: list[Connection] = []
        self._next = float("inf")
        self._accepts_at = float("inf")
        listener.setblocking(False)
        poller.watch(listener, self, write=False)

    # Out -----------------------------------------------------------------------------------------------------

    def send(self, address: Address, data: bytes, number: int) -> None:
        """Carry a frame to an address; `number` is that of a call, 0 for what has no answer."""
        connection = self._outgoing.get(address) or self._connect(address, number)
        if connection is None:
            return
        if not self._push(connection, data):
            self._unreachable(number, Reason.OVERLOADED, "too much is queued for this peer")
        elif number:
            connection.outstanding[number] = None

    def answer(self, connection: Connection, data: bytes) -> None:
        """Carry a frame back on the connection that the question came on."""
        if not connection.open:
            self._above.count("the asker is gone")
        elif not self._push(connection, data):
            self._above.count("the asker does not read")

    def _push(self, connection: Connection, data: bytes) -> bool:
        if len(connection.out) + len(data) > MAX_QUEUE_BYTES:
            return False
        if not connection.out:
            connection.moved = self._clock()
            self._due(connection.moved + STALL_S)
        connection.out += frame(data)
        if not connection.dirty:
            connection.dirty = True
            self._dirty.append(connection)
        return True

    def flush(self) -> None:
        """Send what was queued since the last time; many small frames leave as one segment."""
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.dirty = False
            if connection.open and connection.connected:
                self.write(connection)

    @property
    def busy(self) -> bool:
        """Whether something is still to go out."""
        return any(connection.out for connection in (*self._incoming, *self._outgoing.values()))

    def _connect(self, address: Address, number: int) -> Connection | None:
        if len(self._outgoing) >= MAX_OUTGOING and not self._evict():
            self._unreachable(number, Reason.OVERLOADED, "too many connections are open")
            return None
        try:
            sock = connect(address, self._source, 0)
            prepare(sock)
        except OSError as error:
            if error.errno in NO_DESCRIPTORS and self._evict(RESTED_S):
                return self._connect(address, number)
            reason = Reason.OVERLOADED if error.errno in NO_DESCRIPTORS else Reason.UNREACHABLE
            self._unreachable(number, reason, error.strerror or "cannot be reached")
            self._above.lost(address)
            return None
        connection = Connection(self, sock, address, self._clock(), outgoing=True)
        self._outgoing[address] = connection
        self._due(connection.deadline()[0])
        self._rewatch(connection, write=True)
        return connection

    def _unreachable(self, number: int, reason: Reason, detail: str) -> None:
        if number:
            self._above.failed(number, Failure(reason, detail, unsent=True))
        else:
            self._above.count(f"not sent: {reason.value}")

    def _evict(self, rested_s: float = 0.0) -> bool:
        """Close the connection out that is needed least; one that has been idle for so long."""
        until = self._clock() - rested_s
        idle = [c for c in self._outgoing.values() if c.used <= until and not c.out and not self._prune(c)]
        if idle:
            self.close(min(idle, key=lambda connection: connection.used), "idle")
        return bool(idle)

    def _prune(self, connection: Connection) -> bool:
        for number in [n for n in connection.outstanding if not self._above.awaits(n)]:
            del connection.outstanding[number]
        return bool(connection.outstanding)

    # In ------------------------------------------------------------------------------------------------------

    def readable(self) -> None:
        """Somebody knocks at the listener."""
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_DESCRIPTORS and not (self._evict(RESTED_S) or self._turn_out(self._strangers())):
                    self._back_off()
                    return
                continue
            host = address[0]
            if not self._make_room(host):
                self._above.count("too many connections")
                sock.close()
                continue
            try:
                prepare(sock)
            except OSError:
                sock.close()
                continue
            connection = Connection(self, sock, (host, address[1]), self._clock(), outgoing=False)
            self._incoming[connection] = None
            self._due(connection.deadline()[0])
            self._rewatch(connection, write=False)

    def _make_room(self, host: str) -> bool:
        """Whether one more may come from this host. A peer speaks at once, so silent strangers go, the oldest first."""
        strangers = self._strangers()
        same = [c for c in strangers if c.address[0] == host]
        if len(same) >= MAX_STRANGERS_PER_ADDRESS:
            return self._turn_out(same)
        most = min(MAX_INCOMING, self._descriptors // OTHER_USES)
        if len(self._incoming) < most - (0 if host in self._known else min(HELD_BACK, most // 4)):
            return True
        if self._turn_out(strangers):
            return True
        if host not in self._known:
            return False
        # A peer whose connection is taken from it opens another one when it has something to say.
        quiet = [connection for connection in self._incoming if connection.proven and not connection.owed]
        return self._turn_out(sorted(quiet, key=lambda connection: connection.used)[:1])

    def _strangers(self) -> list[Connection]:
        return [connection for connection in self._incoming if not connection.proven]

    def _turn_out(self, candidates: list[Connection]) -> bool:
        for stranger in candidates:
            # What it said may be here and not read yet.
            was_proven = stranger.proven
            self.read(stranger)
            if stranger.proven is was_proven:
                self._above.count("too many connections")
                self.close(stranger, "too many connections")
                return True
        return False

    def _back_off(self) -> None:
        self._above.count("out of descriptors")
        self._poller.forget(self._listener)
        self._accepts_at = self._clock() + BACK_OFF_S
        self._due(self._accepts_at)

    def proven(self, connection: Connection) -> None:
        """A message for us came on it."""
        if not connection.proven:
            connection.proven = True
            self._known.pop(connection.address[0], None)
            self._known[connection.address[0]] = None
            forget_oldest(self._known, MAX_KNOWN_ADDRESSES)

    def read(self, connection: Connection) -> None:
        """Something has come on a connection, or its end."""
        if not connection.open:
            return
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(connection, error.strerror or "reset")
            return
        if not data:
            self.close(connection, "closed by the peer")
            return
        for piece in connection.received(data, self._clock()):
            if not self._above.received(piece, connection):
                self.close(connection, "not understood")
            if not connection.open:
                return
        if connection.reader.broken:
            self._above.count("frame too long")
            self.close(connection, "frame too long")
        elif connection.frame_since is not None:
            self._due(connection.frame_since + FRAME_S)

    def write(self, connection: Connection) -> None:
        """A connection takes more, or has just been made."""
        if not connection.open:
            return
        try:
            if not connection.connected:
                check_connected(connection.sock)
                connection.connected = True
                connection.moved = connection.used = self._clock()
            connection.flush(self._clock())
        except OSError as error:
            self.close(connection, error.strerror or "reset")
            return
        if bool(connection.out) != connection.wants_write:
            self._rewatch(connection, write=bool(connection.out))
        if connection.out:
            self._due(connection.moved + STALL_S)

    def _rewatch(self, connection: Connection, *, write: bool) -> None:
        connection.wants_write = write
        self._poller.watch(connection.sock, connection, write=write)

    # Time and ends -------------------------------------------------------------------------------------------

    def _due(self, when: float) -> None:
        self._next = min(self._next, when)

    def tick(self, now: float) -> float:
        """Close what is overdue. The time of the next tick that could matter."""
        if now < self._next:
            return self._next
        self._next = float("inf")
        if now >= self._accepts_at:
            self._accepts_at = float("inf")
            self._poller.watch(self._listener, self, write=False)
        self._due(self._accepts_at)
        for connection in (*self._incoming, *self._outgoing.values()):
            if connection.outgoing:
                self._prune(connection)
            when, why = connection.deadline()
            if when <= now:
                if why not in ("idle", "cannot be reached"):
                    self._above.count(why)
                self.close(connection, why)
            else:
                # Whoever waits for an answer has no deadline of its own: look again when it may have given up.
                self._due(min(when, now + STALL_S))
        return self._next

    def release(self, connection: Connection) -> socket.socket:
        """Take the socket away from the wire: it carries a body from now on."""
        self._poller.forget(connection.sock)
        self._incoming.pop(connection, None)
        connection.open = False
        return connection.sock

    def close(self, connection: Connection, why: str) -> None:
        """End a connection; the calls that went out on it hear of it."""
        if not connection.open:
            return
        connection.open = False
        self._poller.forget(connection.sock)
        connection.sock.close()
        self._incoming.pop(connection, None)
        if self._outgoing.get(connection.address) is connection and connection.outgoing:
            del self._outgoing[connection.address]
            for number in connection.outstanding:
                self._above.failed(number, Failure(Reason.UNREACHABLE, why, unsent=not connection.connected))
            self._above.lost(connection.address)

    def shut(self) -> None:
        """Close everything."""
        self._poller.forget(self._listener)
        self._listener.close()
        for connection in (*self._incoming, *self._outgoing.values()):
            # Closing over unread input would reset the connection, and what we said last could be lost by that.
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_WR)
                connection.sock.recv(READ_BYTES)
            self.close(connection, "stopped")
