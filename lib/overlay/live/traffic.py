"""What goes out of a node and what comes in: which way, in whose name, and what answers which question."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from overlay.core.bounded import forget_oldest
from overlay.core.codec import MAX_DATAGRAM_BYTES
from overlay.core.context import Failure, Reason
from overlay.core.message import CALL, REFUSAL, REPLY, Contact, Datagram, Envelope, Hello, Message, Refused, shared
from overlay.errors import LocalError
from overlay.ids import Key
from overlay.live.addresses import route_to
from overlay.live.connection import Address, Connection
from overlay.live.gate import BodyRequest, Gate, Unwelcome
from overlay.live.watching import FIRST_NUMBER

if TYPE_CHECKING:
    from overlay.live.driver import Driver
    from overlay.live.wire import Wire

Way = Connection | int
"""How a question came, and its answer goes: on a connection, or in datagrams; then so many bytes were the question's."""

MAX_UNANSWERED = 8192
"""Questions of others that have no answer yet; the oldest of more is never answered."""

log = logging.getLogger(__name__)


class Traffic:
    """The messages of one started node. What begins with `_` and `transmit` happen inside its monitor."""

    wire: Wire

    def __init__(self, driver: Driver):
        self._driver = driver
        self._node = driver.node
        self.gate = Gate(driver.node)
        self._ways: dict[tuple[Contact, int], Way] = {}
        self._asked_by_datagram: dict[int, None] = {}
        self._outbox: list[tuple[Contact, int, str, int, Message, Way | None]] = []
        """What handlers have sent and nobody has sealed yet."""
        self._frames: list[tuple[Connection | Address, bytes, int]] = []
        self._datagrams: list[tuple[bytes, Address]] = []

    def take_datagrams(self) -> list[tuple[bytes, Address]]:
        """What is to be sent by UDP now."""
        taken, self._datagrams = self._datagrams, []
        return taken

    @property
    def has_frames(self) -> bool:
        """Whether the wire has work."""
        return bool(self._frames)

    def feed_wire(self) -> None:
        """Hand the wire what is to go out; on the wire's thread."""
        while self._frames:
            way, data, number = self._frames.pop(0)
            if isinstance(way, Connection):
                self.wire.answer(way, data)
            else:
                self.wire.send(way, data, number)
        self.wire.flush()

    def transmit(self, peer: Contact, kind: int, service: str, number: int, message: Message) -> None:
        """Carry a message: see `Host`."""
        way = self._ways.pop((peer, number), None) if kind >= REPLY else None
        if kind >= REPLY and way is None:
            self._drop("an answer without a question", peer)
        else:
            self._outbox.append((peer, kind, service, number, message, way))

    def send_hello(self, address: Address, number: int) -> None:
        """Ask who lives at an address."""
        self._outbox.append((Contact(Key(0), *address), CALL, "", number, Hello(), None))

    def seal(self) -> None:
        """Make bytes of what was sent."""
        while self._outbox:
            outbox, self._outbox = self._outbox, []
            for peer, kind, service, number, message, way in outbox:
                try:
                    data = self.gate.seal(peer, kind, service, number, message)
                except LocalError as error:
                    self._too_long(peer, kind, service, number, way, str(error))
                else:
                    self._sealed(peer, kind, service, number, message, way, data)

    def _sealed(
        self, peer: Contact, kind: int, service: str, number: int, message: Message, way: Way | None, data: bytes
    ) -> None:
        # A greeting has no service: it is the driver's own.
        for observer in self._driver.observers if service else ():
            observer.sent(time.monotonic(), self._node.me, peer, kind, service, message)
        if isinstance(way, Connection):
            way.owed -= 1
            self._frames.append((way, data, 0))
        elif way is not None or isinstance(message, Datagram):
            self._send_datagram(peer, kind, number, data, way)
        else:
            self._frames.append((peer.address, data, number if kind == CALL else 0))

    def _send_datagram(self, peer: Contact, kind: int, number: int, data: bytes, question_bytes: int | None) -> None:
        if len(data) > MAX_DATAGRAM_BYTES:
            self._drop("a datagram too long to send", peer)
            if kind == CALL:
                self._driver.later(self._node.call_failed, number, Failure(Reason.LOCAL, "too long for a datagram"))
        elif kind == REFUSAL and question_bytes is not None and len(data) > question_bytes:
            # A refusal is of our making, not the protocol's, and must not multiply what a stranger sends.
            self._drop("a refusal longer than its question", peer)
        elif route_to(peer.address) is None:
            self._drop("not sent: no address to reach", peer)
        else:
            self._datagrams.append((data, peer.address))
            if kind == CALL:
                self._asked_by_datagram[number] = None
                self._prune()

    def _prune(self) -> None:
        if len(self._asked_by_datagram) > 64 + 2 * len(self._node.calls):
            self._asked_by_datagram = {n: None for n in self._asked_by_datagram if n in self._node.calls}

    def _too_long(self, peer: Contact, kind: int, service: str, number: int, way: Way | None, why: str) -> None:
        log.error("Peer %s: %s", self._node.me.id, why)
        self._drop("a message too long to send", peer)
        if kind == CALL:
            self._driver.later(self._node.call_failed, number, Failure(Reason.LOCAL, why))
        elif kind == REPLY and way is not None:
            self._ways[peer, number] = way
            self._node.refuse(peer, service, number, why)

    # What comes in -------------------------------------------------------------------------------------------

    def received(self, data: bytes, connection: Connection) -> bool:
        """A frame came over TCP. False when its sender is no peer of ours."""
        try:
            envelope = self.gate.admit(data, datagram=False)
        except Unwelcome as unwelcome:
            self._driver.run(self._turn_away, unwelcome, connection)
            return not unwelcome.hostile
        if envelope.kind >= REPLY:
            if connection.outstanding.pop(envelope.number, 0) is not None:
                self.count("an answer nobody waits for")
                return True
        elif connection.outgoing:
            self.count("a question on the way of answers")
            return False
        self.wire.proven(connection)
        if isinstance(envelope.body, BodyRequest):
            self._driver.bodies.serve(envelope, envelope.body, self.wire.release(connection), connection.address[0])
            return True
        self._driver.run(self._deliver, envelope, connection)
        return True

    def received_datagram(self, data: bytes | memoryview) -> None:
        """A datagram came; nothing of `data` is kept."""
        if len(data) > MAX_DATAGRAM_BYTES:
            self.count("datagram too long")
            return
        try:
            envelope = self.gate.admit(data, datagram=True)
        except Unwelcome as unwelcome:
            self._driver.run(self._turn_away, unwelcome, len(data))
        else:
            self._driver.run(self._deliver, envelope, len(data))

    def _turn_away(self, unwelcome: Unwelcome, way: Way) -> None:
        call = unwelcome.call
        self._drop(unwelcome.why, call.sender if call is not None else None)
        if call is not None and self._remember(call, way):
            self._node.refuse(call.sender, call.service, call.number, unwelcome.refusal)

    def _deliver(self, envelope: Envelope[Message], way: Way) -> None:
        node, sender, number, kind = self._node, shared(envelope.sender), envelope.number, envelope.kind
        if not node.running:
            self._drop("not running", sender)
            return
        by_datagram = not isinstance(way, Connection)
        if kind >= REPLY and by_datagram and self._asked_by_datagram.pop(number, 0) is not None:
            # An answer over the other transport can come from anybody who guesses a number.
            self._drop("an answer nobody waits for", sender)
            return
        if kind >= REPLY and not by_datagram and self._driver.hellos.answered(number, envelope.body):
            return
        if kind == CALL and not self._remember(envelope, way):
            return
        for observer in self._driver.observers:
            observer.delivered(time.monotonic(), self._node.me, sender, kind, envelope.service, envelope.body)
        if kind == REFUSAL and not by_datagram and isinstance(envelope.body, Refused):
            # Whoever lives at the address now may refuse for whom we meant: the connection shows that we asked there.
            node.call_failed(number, Failure(Reason.REFUSED, envelope.body.reason))
        else:
            node.receive(kind, envelope.service, sender, number, envelope.body)

    def _remember(self, call: Envelope[Any], way: Way) -> bool:
        key = call.sender, call.number
        if key in self._ways:
            self._drop("asked twice", call.sender)
            return False
        self._ways[key] = way
        if isinstance(way, Connection):
            way.owed += 1
        forgotten = forget_oldest(self._ways, MAX_UNANSWERED)
        if isinstance(forgotten, Connection):
            forgotten.owed -= 1
        return True

    def _drop(self, why: str, sender: Contact | None) -> None:
        self._driver.dropped(self._node, why, sender)

    def count(self, why: str) -> None:
        """Something went nowhere."""
        self._driver.run(self._drop, why, None)

    def failed(self, number: int, failure: Failure) -> None:
        """The wire could not deliver a call, or lost the way of its answer."""
        if number >= FIRST_NUMBER:
            self._driver.run(self._driver.if_running, self._driver.hellos.failed, number, failure)
        else:
            self._driver.run(self._driver.if_running, self._node.call_failed, number, failure)

    def awaits(self, number: int) -> bool:
        """Whether a call still waits for its answer."""
        return number in self._node.calls or number in self._driver.hellos

    def lost(self, address: Address) -> None:
        """An outgoing connection is gone."""
        self._driver.run(self._driver.if_running, self._driver.watches.lost, address)
