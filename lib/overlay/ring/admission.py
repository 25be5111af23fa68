"""How a peer comes into the ring, and how it goes of its own will.

Source: the assignment's steps 3 and 4; ZV15, Join. The peer behind which a newcomer belongs lets it in: the newcomer
answers before anybody points to it.
Deviation: ZV15's newcomer looks its successor up and asks it for its list; here the predecessor-to-be hands it over, as
the assignment prints it, so both are linked from the first moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact, Message, Refused
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.errors import Indefinite, LocalError, RemoteError
from overlay.ids import label
from overlay.kbr import Answered, Pass, Route
from overlay.ring.chord import Chord
from overlay.ring.events import JoinAccepted, JoinReceived, JoinRefused
from overlay.ring.leaving import Leaving
from overlay.ring.messages import (
    LONGEST,
    Admit,
    Admitted,
    Ask,
    Before,
    Describe,
    Description,
    FindBefore,
    Join,
    JoinRequest,
    Meet,
    Neighbors,
    Shape,
    SuccessorChange,
)
from overlay.ring.routing import RingRouter

ASK_S = 45.0
"""For the known peer's word on a request to join: it waits for the answer that comes around the ring."""
AGAIN_S = 0.5
SOON_S = 0.05, 0.25
"""From, to: before a newcomer asks again that was told to. Newcomers that came together part by chance, not in step."""
ADMIT_S = 3.0
MAX_QUEUE = 64
SETTLE_TRIES, SETTLE_S = 50, 0.02
"""Looks whether both neighbors point to a newcomer; they do after two or three round trips, unless they change just then."""


class Admission(Protocol):
    """The newcomer's side, the side of the peer that lets it in, and the leaver's."""

    __slots__ = ("_busy", "_joining", "_queue", "_ticket", "_until", "agreed", "chord", "network", "router")
    service = "join"
    answers = (Admitted, Description)
    name = "ring"
    messages: tuple[type[Message], ...] = (Join, Admitted, Meet, FindBefore, Before)

    def __init__(self, chord: Chord, router: RingRouter):
        self.chord = chord
        self.router = router
        router.register(self)
        chord.meet = self._meet
        # A list, for an empty deque takes 600 bytes, and hundreds of peers live in one process.
        self._queue: list[tuple[Join, Pending[Message]]] = []
        self._busy = False
        self._ticket = 0
        self._until = math.inf
        """When we stop asking to be let in."""
        self._joining: Pending[None] | None = None
        self.agreed: tuple[tuple[str, float], ...] = ()
        """See `Shape`."""
        self.network = 0
        """Which ring this is, or was before; 0: any."""

    # The newcomer --------------------------------------------------------------------------------------------

    def join(self, host: str, port: int, timeout_s: float = 5.0, patience_s: float = math.inf) -> Pending[None]:
        """Ask the peer at this address to let us in. Fails Indefinite if it cannot be reached, RemoteError if we are refused.

        One that answers, but is in no ring yet, or in one that has just changed, is asked again for `patience_s`.
        """
        if self._joining is not None or self.chord.member:
            raise LocalError("this peer is in a ring already, or on its way into one")
        self._joining = pending = Pending[None]()
        self._ticket = self.ctx.rng.getrandbits(63)
        self._until = self.ctx.now + max(timeout_s, patience_s)
        self._knock(host, port, self.ctx.now + timeout_s)
        return pending

    def _knock(self, host: str, port: int, until: float) -> None:
        """Try until the time has come; a peer that answers is worth more patience than one that does not."""
        pending = self._joining
        if pending is None or pending.done or self.chord.member:
            return

        def met(known: Contact) -> None:
            if known.id == self.ctx.me.id:
                self._refused(f"Peer {label(known.id)} at {host}:{port} is in the ring already")
                return
            request = JoinRequest(self.ctx.me, self._ticket, self.shape, self.network)
            self.ctx.call(known, request, decided, failed, timeout_s=ASK_S)

        def decided(_: object) -> None:
            """Admit has come, or will in a moment; if it was lost we ask again."""
            self.ctx.after(AGAIN_S, self._knock, host, port, self.ctx.now + ASK_S)

        def failed(failure: Failure) -> None:
            if failure.reason is Reason.REFUSED and not failure.detail.startswith(AGAIN):
                self._refused(failure.detail)
            elif failure.reason is Reason.REFUSED:
                soon_s = self.ctx.rng.uniform(*SOON_S)
                self.ctx.after(soon_s, self._knock, host, port, max(until, self.ctx.now + ASK_S))
            elif self.ctx.now < until:
                self.ctx.after(AGAIN_S, self._knock, host, port, until)
            else:
                give_up(f"no peer answers at {host}:{port}")

        def give_up(why: str) -> None:
            self._joining = None
            pending.fail(Indefinite(why))

        if self.ctx.now > self._until:
            give_up(f"the peer at {host}:{port} has not let us in")
            return
        self.ctx.meet(host, port, met, failed, timeout_s=min(2.0, max(0.1, until - self.ctx.now)))

    def _refused(self, why: str) -> None:
        pending, self._joining = self._joining, None
        if pending is not None and not self.chord.member:
            self.ctx.notify(JoinRefused(why))
            pending.fail(RemoteError(why))

    @on(Admit)
    def on_admit(self, sender: Contact, admit: Admit) -> Message | None:
        if admit.ticket != self._ticket or not self._ticket:
            return Refused("this peer has not asked to be let in")
        if self.chord.member:
            first_before = self.chord.before
            return None if first_before is not None and first_before.id == sender.id else Refused("I am in already")
        self.network = admit.network or self.network
        self.chord.begin(admit.successors, admit.predecessors, awaited=False)
        self.chord.lost.take_over(admit.lost)
        self.ctx.notify(JoinAccepted(*self.chord.names()))
        self.ctx.after(0, self._settle_in, SETTLE_TRIES)
        return None

    def _settle_in(self, tries: int) -> None:
        """The join is over when both neighbors point to us, so that from then on every key is looked for in its place."""
        chord, me = self.chord, self.ctx.me
        behind, ahead = chord.before, chord.first

        def look(contact: Contact | None, points: Callable[[Neighbors], bool], then: Callable[[], None]) -> None:
            if contact is None or contact.id == me.id:
                then()
                return
            chord.ctx.call(
                contact,
                Ask(),
                lambda picture: then() if points(picture) else again(),
                lambda failure: again(),
                timeout_s=1.0,
            )

        def again() -> None:
            if tries:
                self.ctx.after(SETTLE_S, self._settle_in, tries - 1)
            else:
                settled()

        def settled() -> None:
            pending, self._joining = self._joining, None
            if pending is not None:
                pending.resolve(None)

        look(
            behind,
            lambda picture: picture.successors[:1] == (me,),
            lambda: look(ahead, lambda picture: picture.predecessors[:1] == (me,), settled),
        )

    # The peer that is known, and the one that lets in -----------------------------------------------------------

    @property
    def shape(self) -> Shape:
        """What kind of ring this peer can be in."""
        config = self.chord.config
        fingers, swim = self.router.hops.fingers is not None, self.chord.pings.detector is not None
        return Shape(config.bits, config.successors, fingers, swim, self.agreed)

    @on(Describe)
    def on_describe(self, sender: Contact, question: Describe) -> Message:
        return Description(self.shape, self.chord.member and not self.chord.leaving, self.network)

    @on(JoinRequest)
    def on_join_request(self, sender: Contact, request: JoinRequest) -> Message | Pending[Message]:
        if not self.chord.member or self.chord.leaving:
            return Refused(AGAIN + "the peer that was asked is not in the ring")
        misfit = unlike(self.shape, request.shape)
        if not misfit and self.network and request.network not in (0, self.network):
            misfit = "it is another ring than the one that the newcomer remembers"
        if misfit:
            return Refused(misfit)
        if sender != request.newcomer or request.newcomer.id >> self.chord.config.bits:
            return Refused(f"a peer of this ring has an id of {self.chord.config.bits} bits and asks for itself")
        word: Pending[Message] = Pending()
        routed = self.router.route(self.name, request.newcomer.id, Join(request.newcomer, request.ticket), before=True)
        routed.when_done(lambda pending: _pass_word(pending, word))
        return word

    def forward(self, key: int, message: Message, next_hop: Contact) -> Pass:
        return Pass(next_hop)

    def update(self, neighbor: Contact, joined: bool) -> None:
        """The ring itself has nothing to do then."""

    def deliver(self, message: Message, route: Route) -> Message | Pending[Message]:
        if isinstance(message, Join):
            return self._enqueue(message)
        if isinstance(message, Meet):
            self.chord.introduced(message.peer)
        return Before(self.chord.picture())

    def _enqueue(self, join: Join) -> Pending[Message]:
        answer: Pending[Message] = Pending()
        if len(self._queue) >= MAX_QUEUE:
            answer.resolve(Admitted("too many join at once", again=True))
            return answer
        self._queue.append((join, answer))
        self._next()
        return answer

    def _next(self) -> None:
        """One at a time: the second newcomer may belong behind the first."""
        if self._busy or not self._queue:
            return
        self._busy = True
        join, answer = self._queue.pop(0)
        answer.when_done(self._ready)
        self._admit(join, answer)

    def _ready(self, _: object) -> None:
        self._busy = False
        self._next()

    def _admit(self, join: Join, answer: Pending[Message]) -> None:
        chord, newcomer = self.chord, join.newcomer
        if chord.leaving or not chord.settled or not chord.is_before(newcomer.id):
            answer.resolve(Admitted("the ring has just changed here", again=True))
            return
        holder = next((c for c in (self.ctx.me, *chord.known()) if c.id == newcomer.id), None)
        if holder is not None and holder.boot and holder.boot != newcomer.boot:
            self._clash(holder, join, answer)
            return
        first = chord.first
        successors = tuple(c for c in [*chord.successors, self.ctx.me] if c.id != newcomer.id and c.boot)[:LONGEST]
        predecessors = (self.ctx.me, *(c for c in (chord.before,) if c is not None and c.id != newcomer.id))

        def came(_: object) -> None:
            if chord.first.is_same_peer(newcomer):
                answer.resolve(Admitted())
            elif chord.leaving or chord.first != first:
                # It will be found by stabilization, as its ping reaches its successor.
                chord.consider(newcomer)
                answer.resolve(Admitted())
            else:
                self.ctx.notify(JoinReceived(newcomer.id))
                chord.insert(newcomer)
                if chord.before is not None and not chord.before.is_same_peer(newcomer):
                    chord.ctx.send(chord.before, SuccessorChange())
                answer.resolve(Admitted())

        def failed(failure: Failure) -> None:
            answer.resolve(Admitted(f"the newcomer does not answer at {newcomer.host}:{newcomer.port}", again=True))

        self.ctx.call(
            newcomer,
            Admit(join.ticket, predecessors, successors, chord.lost.contacts(), self.network),
            came,
            failed,
            timeout_s=ADMIT_S,
        )

    def _clash(self, holder: Contact, join: Join, answer: Pending[Message]) -> None:
        """The id is taken, unless its holder, asked where we know it to be, is dead or lives another life by now."""
        if holder is self.ctx.me:
            answer.resolve(Admitted(_taken(holder)))
            return
        self.chord.ask(
            holder,
            lambda picture: answer.resolve(Admitted("" if picture.leaving else _taken(holder), again=picture.leaving)),
            lambda: answer.resolve(Admitted("the id's holder was just found dead", again=True)),
        )

    def _meet(self, contact: Contact, start: Contact) -> None:
        hint = None if start.id == self.ctx.me.id else start
        self.router.route(self.name, contact.id, Meet(contact), hint=hint, before=True)

    # The leaver ----------------------------------------------------------------------------------------------

    def depart(self, then: Callable[[], None]) -> None:
        """Tell everybody who points to us; `then` when they know, or do not answer."""
        Leaving(self, then).begin()

    @property
    def busy(self) -> bool:
        """Whether a newcomer is being let in."""
        return self._busy

    def find_before(self, contact: Contact, hint: Contact | None) -> Pending[Answered]:
        """Who is right behind a peer: answered by that one, with Before. The search begins at `hint`."""
        if hint is not None and hint.id == self.ctx.me.id:
            hint = None
        return self.router.route(self.name, contact.id, FindBefore(), hint=hint, before=True)


AGAIN = "not now: "
"""How a refusal begins that is worth another try."""


def _taken(holder: Contact) -> str:
    return f"Peer {label(holder.id)} is in the ring already"


def unlike(ring: Shape, newcomer: Shape) -> str:
    """Why a peer of one shape cannot join a ring of another; nothing if it can."""
    if ring.bits != newcomer.bits:
        return f"the ring has ids of {ring.bits} bits, the newcomer of {newcomer.bits}"
    if ring.successors != newcomer.successors:
        return f"the ring has lists of {ring.successors} successors, the newcomer of {newcomer.successors}"
    if ring.fingers != newcomer.fingers:
        return f"the ring has {'' if ring.fingers else 'no '}fingers, unlike the newcomer"
    if ring.swim != newcomer.swim:
        return f"the ring has {'' if ring.swim else 'no '}SWIM for its failure detector, unlike the newcomer"
    ours, theirs = dict(ring.agreed), dict(newcomer.agreed)
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            return f"the ring has {_amount(name, ours)}, the newcomer {_amount(name, theirs)}"
    return ""


def _amount(name: str, agreed: dict[str, float]) -> str:
    return f"{name} = {agreed[name]:.15g}" if name in agreed else f"no {name}"


def _pass_word(pending: Pending[Answered], word: Pending[Message]) -> None:
    """What came around the ring is the known peer's answer to the newcomer."""
    if pending.error is not None:
        word.fail(RemoteError(AGAIN + str(pending.error)))
        return
    answer = pending.result().answer
    if isinstance(answer, Admitted) and answer.why:
        word.fail(RemoteError((AGAIN if answer.again else "") + answer.why))
    else:
        word.resolve(answer)
