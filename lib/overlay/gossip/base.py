"""What services have in common: periodic work, listeners, and the way into a network."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar, Generic, TypeVar

from overlay.core.codec import MAX_SERVICE_CHARS
from overlay.core.context import Failure, OnFailed, Reason
from overlay.core.message import Command, Contact, Done, Message
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.errors import Indefinite, LocalError, OverlayError, RemoteError
from overlay.gossip.services import Address, OnNeighbor

MAX_ID_CHARS = 48
"""Of a network."""

MAX_BOTH_CHARS = 55
"""Of a network and a service, with a colon between them: the longest name of a protocol leaves so much in an envelope."""

JOIN_S = 5.0
"""For the answer of one bootstrap node, to each of two questions."""

L = TypeVar("L", bound=Callable[..., Any])


class Join(Command, frozen=True):
    """A call: let me into the network of this service. Answered by Done, or by a view to begin with."""


def name_of(kind: str, instance: str) -> str:
    """The service name of one of several of a kind; LocalError for an id that cannot be."""
    check_id(instance, MAX_SERVICE_CHARS - len(kind) - 1)
    return f"{kind}/{instance}"


def check_id(id: object, chars: int = MAX_ID_CHARS, what: str = "an id") -> None:
    """LocalError for what is no id of a network or a service."""
    if not isinstance(id, str) or not 0 < len(id) <= chars or not id.isprintable():
        raise LocalError(f"{what} has 1 to {chars} printable characters, not {repr(id)[:60]}")


def check(holds: bool, what: str) -> None:
    """A parameter's range: LocalError with `what` where it does not hold."""
    if not holds:
        raise LocalError(f"out of range: {what}")


class Listeners(Generic[L]):
    """Whoever wants to hear; told in the order in which they began, also when one of them ends meanwhile."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: tuple[L, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, listener: L) -> None:
        """Tell it from now on; once, however often it is added."""
        if listener not in self._all:
            self._all = (*self._all, listener)

    def remove(self, listener: L) -> None:
        """No longer."""
        self._all = tuple(other for other in self._all if other != listener)

    def tell(self, *what: Any) -> None:
        """Call them all."""
        for listener in self._all:
            listener(*what)


class Service(Protocol):
    """A protocol that can be taken out of a running node: after `stop` nothing happens here any more."""

    def __init__(self, service: str):
        self.service = service
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def ask(
        self,
        peer: Contact,
        request: Message,
        kinds: type[Message] | tuple[type[Message], ...],
        on_reply: Callable[[Any], None],
        on_failed: OnFailed,
        *,
        timeout_s: float,
    ) -> None:
        """A call whose answer has to be of these kinds: any other one is a failure, for the peer can say what it likes."""

        def answered(reply: Message) -> None:
            if not isinstance(reply, kinds):
                on_failed(Failure(Reason.REFUSED, f"a {type(reply).__name__} is no answer to this"))
            elif self.running:
                on_reply(reply)

        self.ctx.call(peer, request, answered, on_failed, timeout_s=timeout_s)

    def every(self, period_s: float, verb: Callable[[], None]) -> None:
        """Do it once in each period, at a random moment of it. 0: never; somebody else keeps time.

        Always at the same moment, everybody would meet the same others again and again: Newscast falls apart by that."""
        if period_s:
            self._plan(period_s, self.ctx.now, verb)

    def _plan(self, period_s: float, begin: float, verb: Callable[[], None]) -> None:
        moment = begin + self.ctx.rng.random() * period_s
        self.ctx.after(moment - self.ctx.now, self._act, period_s, begin + period_s, verb)

    def _act(self, period_s: float, following: float, verb: Callable[[], None]) -> None:
        if self.running:
            # After a pause, what was missed is not made up for.
            self._plan(period_s, max(following, self.ctx.now), verb)
            verb()


class MembershipService(Service):
    """The way in, and the listeners, of every membership."""

    admission: ClassVar[type[Message]] = Done
    """What a Join is answered with."""

    def __init__(self, service: str):
        super().__init__(service)
        self._listeners: Listeners[OnNeighbor] = Listeners()

    def neighbors(self) -> tuple[Contact, ...]:
        """See `Membership`."""
        raise NotImplementedError

    def sample(self, count: int, exclude: Collection[int] = ()) -> list[Contact]:
        """See `Membership`."""
        others = self.neighbors()
        if exclude:
            others = tuple(peer for peer in others if peer.id not in exclude)
        return self.ctx.rng.sample(others, min(count, len(others)))

    def subscribe(self, listener: OnNeighbor) -> None:
        """See `Membership`."""
        self._listeners.add(listener)

    def unsubscribe(self, listener: OnNeighbor) -> None:
        """See `Membership`."""
        self._listeners.remove(listener)

    def join(self, bootstrap: Collection[Address]) -> Pending[None]:
        """See `Membership`."""
        return _Entry(self, tuple(bootstrap)).outcome

    def admitted(self, contact: Contact, answer: Any) -> None:
        """A member has let us in."""
        raise NotImplementedError


class _Entry:
    """One way into a network: bootstrap nodes are tried in turn, and if none of them helps, one error names them all."""

    def __init__(self, service: MembershipService, bootstrap: tuple[Address, ...]):
        self.outcome: Pending[None] = Pending()
        self._service = service
        self._left = list(bootstrap)
        self._failures: list[tuple[Reason, str]] = []
        if bootstrap:
            self._next()
        else:
            self.outcome.resolve(None)

    def _next(self) -> None:
        if not self._service.running:
            self.outcome.fail(LocalError("the network was left meanwhile"))
        elif not self._left:
            self.outcome.fail(self._error())
        else:
            address = self._left.pop(0)
            self._service.ctx.meet(
                *address,
                lambda contact: self._met(address, contact),
                lambda failure: self._missed(address, failure),
                timeout_s=JOIN_S,
            )

    def _met(self, address: Address, contact: Contact) -> None:
        ctx = self._service.ctx
        if contact.id == ctx.me.id:
            self._missed(address, Failure(Reason.LOCAL, "that is this node itself"))
            return
        self._service.ask(
            contact,
            Join(),
            self._service.admission,
            lambda answer: self._admitted(contact, answer),
            lambda failure: self._missed(address, failure),
            timeout_s=JOIN_S,
        )

    def _admitted(self, contact: Contact, answer: Any) -> None:
        if self._service.running:
            self._service.admitted(contact, answer)
        self.outcome.resolve(None)

    def _missed(self, address: Address, failure: Failure) -> None:
        network = self._service.service.partition("/")[2]
        unknown = f"is not in the network {network!r}, or in that of the other edition"
        why = unknown if failure.reason is Reason.REFUSED else failure.reason.value
        if failure.reason is Reason.LOCAL:
            why = failure.detail
        host, port = address
        self._failures.append((failure.reason, f"{f'[{host}]' if ':' in host else host}:{port} {why}"))
        self._next()

    def _error(self) -> OverlayError:
        text = "no bootstrap node lets us in: " + "; ".join(text for _, text in self._failures)
        reasons = {reason for reason, _ in self._failures}
        if reasons == {Reason.REFUSED}:
            return RemoteError(text)
        return LocalError(text) if reasons == {Reason.LOCAL} else Indefinite(text)
