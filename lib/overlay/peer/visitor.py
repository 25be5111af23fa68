"""A visitor: asks peers for their neighbors over TCP, and is no peer itself. One blocking question at a time."""

from __future__ import annotations

import random
import socket

from overlay.core.codec import Codec, DecodeError
from overlay.core.message import (
    CALL,
    REFUSAL,
    WIRE_VERSION,
    Command,
    Contact,
    Envelope,
    Hello,
    Message,
    Refused,
    Welcome,
)
from overlay.errors import Indefinite, RemoteError
from overlay.ids import CLASSROOM_BITS, Key, distance, label
from overlay.live.frames import FrameReader, frame
from overlay.peer.views import Neighbors
from overlay.ring import messages
from overlay.ring.lookup import FindNext, Next

READ_BYTES = 65536
MAX_RING = 1024
"""A walk ends here."""

STRANGER = 1 << 62
"""Identifiers of visitors begin here, where no peer of the classroom's ring can live, and of another none is to be expected."""


class Visitor:
    """Walks a ring from outside."""

    def __init__(self, timeout_s: float = 3.0):
        self._timeout_s = timeout_s
        self._codec = Codec((messages.Ask, messages.Neighbors, messages.Describe, messages.Description, FindNext, Next))
        chance = random.SystemRandom()
        self._id = Key(STRANGER + chance.getrandbits(32))
        self._boot = chance.getrandbits(48) + 1
        self._counter = 0

    def hello(self, host: str, port: int) -> Contact:
        """Who lives at an address. Indefinite where nobody answers, RemoteError where something else does."""
        answer = self._call(Contact(Key(0), host, port), "", Hello())
        if not isinstance(answer, Welcome):
            raise RemoteError(f"what answers at {host}:{port} is no peer")
        return answer.contact

    def describe(self, host: str, port: int) -> messages.Description:
        """What kind of ring a peer at an address is in, or on its way into."""
        answer = self._call(self.hello(host, port), "join", messages.Describe())
        if not isinstance(answer, messages.Description):
            raise RemoteError(f"what answers at {host}:{port} is in no ring")
        return answer

    def ask(self, peer: Contact) -> Neighbors:
        """How a peer sees the ring around it."""
        answer = self._call(peer, "ring", messages.Ask())
        if not isinstance(answer, messages.Neighbors):
            raise RemoteError(f"Peer {label(peer.id)} did not say who its neighbors are")
        return Neighbors(peer, answer.predecessors, answer.successors, answer.leaving)

    def ring(self, host: str, port: int) -> tuple[Neighbors, ...]:
        """The whole ring, by walking the successors from the peer at an address; one that does not answer is passed over."""
        start = self.ask(self.hello(host, port))
        found = {start.contact.id: start}
        ahead = list(start.successors)
        while ahead and len(found) < MAX_RING:
            contact = ahead.pop(0)
            if contact.id in found:
                break
            try:
                visited = self.ask(contact)
            except (Indefinite, RemoteError):
                continue
            found[contact.id] = visited
            ahead = list(visited.successors)
        return tuple(found.values())

    def lookup(self, host: str, port: int, key: int, bits: int = CLASSROOM_BITS) -> tuple[Contact, ...]:
        """The peers that were asked on the way to a key of so many bits, the one at the address first, its root last.

        Whoever does not answer is passed over. Indefinite where nobody knows more."""
        at = self.hello(host, port)
        path, told = [at], self._next(at, key)
        while told.hops and len(path) < MAX_RING:
            hops = sorted(told.hops, key=lambda hop: distance(hop.id, key, bits))
            found = next(((hop, answer) for hop in hops if (answer := self._try_next(hop, key)) is not None), None)
            if found is None:
                break
            path.append(found[0])
            told = found[1]
        root = next((root for root in told.roots if root == path[-1] or self._try_next(root, key) is not None), None)
        if root is None:
            raise Indefinite(f"nobody answers beyond Peer {label(path[-1].id)}")
        return tuple(path) if root == path[-1] else (*path, root)

    def _next(self, peer: Contact, key: int) -> Next:
        answer = self._call(peer, "lookup", FindNext(Key(key)))
        if not isinstance(answer, Next):
            raise RemoteError(f"Peer {label(peer.id)} did not say who is next")
        return answer

    def _try_next(self, peer: Contact, key: int) -> Next | None:
        try:
            return self._next(peer, key)
        except (Indefinite, RemoteError):
            return None

    def _call(self, peer: Contact, service: str, request: Command) -> Message:
        """Ask one question on a connection of its own."""
        self._counter += 1
        number = self._counter
        try:
            with socket.create_connection(peer.address, self._timeout_s) as sock:
                host, port = sock.getsockname()[:2]
                me = Contact(self._id, host, port, self._boot)
                envelope: Envelope[Message] = Envelope(
                    WIRE_VERSION, CALL, me, peer.id, peer.boot, service, number, number, request
                )
                sock.sendall(frame(self._codec.encode(envelope)))
                return self._answer(sock, number)
        except OSError as error:
            why = "timed out" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise Indefinite(f"no peer answers at {peer.host}:{peer.port}: {why}") from None

    def _answer(self, sock: socket.socket, number: int) -> Message:
        reader = FrameReader()
        while data := sock.recv(READ_BYTES):
            for piece in reader.feed(data):
                try:
                    envelope = self._codec.decode(piece)
                except DecodeError as error:
                    raise RemoteError(f"what answers is no peer of this version: {error}") from None
                if envelope.number != number:
                    continue
                if envelope.kind == REFUSAL:
                    raise RemoteError(envelope.body.reason if isinstance(envelope.body, Refused) else "refused")
                return envelope.body
            if reader.broken:
                break
        raise RemoteError("what answers is no peer")
