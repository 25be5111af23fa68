"""A Node: several protocols behind one Contact. It dispatches by service name and matches answers to calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from overlay.core.context import Context, Failure, OnFailed, Reason, Timer
from overlay.core.message import (
    CALL,
    ONE_WAY,
    REFUSAL,
    REPLY,
    Contact,
    Done,
    Hello,
    Message,
    Refused,
    Welcome,
)
from overlay.core.pending import Pending
from overlay.core.protocol import Answer, Protocol
from overlay.errors import LocalError

if TYPE_CHECKING:
    from typing import Protocol as Interface

    class Host(Interface):
        """What a driver does for a node. None of these runs a handler before it returns."""

        def transmit(self, node: Node, peer: Contact, kind: int, service: str, number: int, message: Message) -> None:
            """Carry a message; a CALL that cannot be delivered comes back by `node.call_failed`."""

        def after(self, node: Node, delay_s: float, callback: Callable[..., None], args: tuple[Any, ...]) -> Timer:
            """Call back in the node after a while."""

        def context(self, node: Node, service: str) -> Context:
            """The Context of one of the node's protocols."""

        def dropped(self, node: Node, why: str, sender: Contact | None) -> None:
            """Count what was not delivered."""


MAX_OPEN_CALLS = 4096
"""A node that waits for more answers than this is told OVERLOADED at once."""

DONE = Done()


class OpenCall:
    """A question that has no answer yet."""

    __slots__ = ("on_failed", "on_reply", "peer", "service", "timer")

    def __init__(self, service: str, peer: Contact, on_reply: Callable[[Any], None], on_failed: OnFailed, timer: Timer):
        self.service = service
        self.peer = peer
        self.on_reply = on_reply
        self.on_failed = on_failed
        self.timer = timer


class Node:
    """The protocols of one peer. A driver owns it, enters it one handler at a time, and carries what it sends."""

    __slots__ = ("_number", "calls", "host", "me", "protocols", "running")

    def __init__(self, me: Contact, host: Host):
        self.me = me
        self.host = host
        self.protocols: dict[str, Protocol] = {}
        self.calls: dict[int, OpenCall] = {}
        self.running = False
        self._number = 0

    def add(self, protocol: Protocol) -> None:
        """Give a protocol its place and its Context."""
        if protocol.service in self.protocols:
            raise LocalError(f"{protocol.service} is here already; give the second one an instance name")
        self.protocols[protocol.service] = protocol
        protocol.ctx = self.host.context(self, protocol.service)

    def remove(self, protocol: Protocol) -> None:
        """Stop one protocol while the others go on: it hears of no message, watch or call any more.

        Timers are its own to cancel. Message classes stay spoken: those of a service added to a running node must be known
        from the start, so somebody who is there from the start names them in `answers`.
        """
        if self.running:
            protocol.stop()
        del self.protocols[protocol.service]
        protocol.ctx.close()
        for number in [number for number, call in self.calls.items() if call.service == protocol.service]:
            self.calls.pop(number).timer.cancel()

    def messages(self) -> Iterator[type[Message]]:
        """Every message class that one of the protocols understands."""
        for protocol in self.protocols.values():
            yield from protocol.handlers
            yield from protocol.answers

    def start(self) -> None:
        """Start every protocol, in the order they were added."""
        self.running = True
        for protocol in self.protocols.values():
            protocol.start()

    def stop(self) -> None:
        """Stop them in the opposite order; open calls hear no more."""
        if not self.running:
            return
        for protocol in reversed(self.protocols.values()):
            protocol.stop()
        self.running = False
        for call in self.calls.values():
            call.timer.cancel()
        self.calls.clear()

    def view(self) -> dict[str, msgspec.Struct]:
        """The views of all protocols by service name."""
        return {service: protocol.view() for service, protocol in self.protocols.items()}

    # What comes in -------------------------------------------------------------------------------------------

    def receive(self, kind: int, service: str, sender: Contact, number: int, message: Message) -> None:
        """Run the handler of a message that was meant for this node."""
        if kind >= REPLY:
            self._answered(kind, sender, number, message)
            return
        protocol = self.protocols.get(service)
        handler = protocol.handlers.get(type(message)) if protocol is not None else None
        if handler is not None:
            answer = handler(protocol, sender, message)
            if kind == CALL:
                self._answer(sender, service, number, answer)
            elif answer is not None and isinstance(answer, Message):
                self.host.transmit(self, sender, ONE_WAY, service, 0, answer)
        elif isinstance(message, Hello):
            self._answer(sender, service, number, Welcome(self.me))
        else:
            self.host.dropped(self, "no such service or message", sender)
            if kind == CALL:
                self.refuse(sender, service, number, f"{type(message).__name__} is not spoken by {service!r} here")

    def refuse(self, sender: Contact, service: str, number: int, why: str) -> None:
        """Answer a call by saying why not."""
        self.host.transmit(self, sender, REFUSAL, service, number, Refused(why))

    def _answer(self, asker: Contact, service: str, number: int, answer: Answer) -> None:
        if isinstance(answer, Pending):
            answer.when_done(lambda pending: self._answer_late(asker, service, number, pending))
        elif isinstance(answer, Refused):
            self.host.transmit(self, asker, REFUSAL, service, number, answer)
        else:
            self.host.transmit(self, asker, REPLY, service, number, DONE if answer is None else answer)

    def _answer_late(self, asker: Contact, service: str, number: int, pending: Pending[Message]) -> None:
        if not self.running:
            return
        if pending.error is not None:
            self.refuse(asker, service, number, str(pending.error))
        else:
            self._answer(asker, service, number, pending.result())

    # Calls ---------------------------------------------------------------------------------------------------

    def open_call(
        self,
        service: str,
        peer: Contact,
        request: Message,
        on_reply: Callable[[Any], None],
        on_failed: OnFailed,
        timeout_s: float,
    ) -> None:
        """Send a question and wait for its answer."""
        self._number = number = self._number + 1
        if len(self.calls) >= MAX_OPEN_CALLS:
            self.host.after(
                self, 0, on_failed, (Failure(Reason.OVERLOADED, "too many calls wait for an answer", unsent=True),)
            )
            return
        timer = self.host.after(self, timeout_s, self._timed_out, (number,))
        self.calls[number] = OpenCall(service, peer, on_reply, on_failed, timer)
        self.host.transmit(self, peer, CALL, service, number, request)

    def call_failed(self, number: int, failure: Failure) -> None:
        """The driver could not deliver a call, or lost the way on which its answer would have come."""
        call = self.calls.pop(number, None)
        if call is not None:
            call.timer.cancel()
            call.on_failed(failure)

    def _timed_out(self, number: int) -> None:
        call = self.calls.pop(number, None)
        if call is not None:
            call.on_failed(Failure(Reason.TIMEOUT))

    def _answered(self, kind: int, sender: Contact, number: int, message: Message) -> None:
        call = self.calls.get(number)
        if call is None or not call.peer.is_same_peer(sender):
            self.host.dropped(self, "an answer nobody waits for", sender)
            return
        del self.calls[number]
        call.timer.cancel()
        if kind == REFUSAL:
            call.on_failed(Failure(Reason.REFUSED, message.reason if isinstance(message, Refused) else ""))
        else:
            call.on_reply(message)
