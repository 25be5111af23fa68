"""Key-based routing around the ring: recursive, acknowledged hop by hop, answered by the root in a call of its own.

Source: Chord's find_successor (CH03, figure 5); the interface is that of Dabek et al. (`overlay.kbr`). The hops are chosen
in `hops`: by successors alone in the classroom, which shows every hop, and by fingers elsewhere. A hop that stays silent is
repeated before it is suspected, for rerouting after one lost acknowledgement loses more than it saves.
Exactly once without failures; with them at most once a root, which knows the tokens it has served.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec

from overlay.core.bounded import forget_oldest
from overlay.core.codec import DecodeError, pack, unpack
from overlay.core.context import Failure, Reason, Timer
from overlay.core.message import Contact, Message, Refused
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.errors import Indefinite, OverlayError, RemoteError
from overlay.ids import Key, between, label, owns
from overlay.kbr import Answered, Application, Pass, Route, Stop
from overlay.ring.chord import Chord
from overlay.ring.events import Forwarded
from overlay.ring.hops import Hops
from overlay.ring.messages import Answer, Forward

MENDING, MENDING_S = 20, 0.25
"""A message waits so many times so long for a peer that has just lost all the successors it showed."""
AROUND = "it came around the ring, and no peer took it for its own"
AROUND_S = 1.0
"""Before it is sent again then."""


class RoutingConfig(msgspec.Struct, frozen=True):
    """How patient a message is."""

    hop_s: float = 2.0
    """For the acknowledgement of a hop whose round trip is not known yet; otherwise that counts."""
    repeats: int = 2
    """Calls of one hop before it is suspected and the next best is taken."""
    attempt_s: float = 10.0
    """For an answer of the root, then it is sent again: a peer that had taken it may be gone."""
    attempts: int = 4
    """Of one message; then nobody knows what became of it."""
    max_hops: int = 600
    """Twice around the classroom's largest ring."""
    remembered: int = 1024
    """Hops whose repetition is recognized."""
    served: int = 256
    """Answers kept at the root, for an origin that asks again."""


class _Operation:
    """A message of ours that has no answer yet."""

    __slots__ = ("attempt", "forward", "hint", "pending", "timer")

    def __init__(self, forward: Forward, hint: Contact | None, pending: Pending[Answered]):
        self.forward = forward
        self.hint = hint
        self.pending = pending
        self.attempt = 0
        self.timer: Timer | None = None
        """Of the next attempt."""


class RingRouter(Protocol):
    """Routes around the ring."""

    __slots__ = ("_applications", "_neighbors", "_range", "_seen", "_served", "_waiting", "chord", "config", "hops")
    service = "route"

    def __init__(self, chord: Chord, config: RoutingConfig = RoutingConfig()):  # noqa: B008 -- frozen
        self.chord = chord
        self.config = config
        self._applications: dict[str, Application] = {}
        self._waiting: dict[int, _Operation] = {}
        self._seen: dict[tuple[int, int, int], None] = {}
        self._served: dict[int, Answer | None] = {}
        """By token; None while the application has not answered yet."""
        self.hops = Hops(chord)
        self._neighbors: tuple[Contact, ...] = ()
        self._range: tuple[int, int] | None = None
        chord.on_change.append(self._update)

    def register(self, application: Application) -> None:
        self._applications[application.name] = application

    def _update(self) -> None:
        """Tell the applications who came and who went; a range that changed by itself is the first neighbor's coming."""
        before, self._neighbors = self._neighbors, self.neighbor_set()
        moved, self._range = self._range != self.range(), self.range()
        news = [(contact, False) for contact in before if contact not in self._neighbors]
        news += [(contact, True) for contact in self._neighbors if contact not in before]
        if moved and not news:
            news = [(self.chord.before or self.ctx.me, True)]
        for contact, joined in news:
            for application in self._applications.values():
                application.update(contact, joined)

    def range(self) -> tuple[int, int] | None:
        return self.chord.range()

    def local_lookup(self, key: int, count: int) -> tuple[Contact, ...]:
        return tuple(self.hops.towards(key)[:count])

    def neighbor_set(self) -> tuple[Contact, ...]:
        picture = self.chord.picture()
        return tuple(dict.fromkeys((*picture.predecessors, *picture.successors)))

    def missing_s(self) -> float:
        return self.ctx.now - self.chord.lost.last_at()

    def replica_set(self, key: int, count: int) -> tuple[Contact, ...]:
        """The root and its successors (CFS); as far as our own list reaches."""
        line = [self.ctx.me, *self.chord.successors]
        start = next((i for i, (a, b) in enumerate(itertools.pairwise(line)) if owns(a.id, key, b.id)), None)
        here = self.range()
        if here is not None and owns(here[0], key, here[1]):
            start = -1
        return () if start is None else tuple(line[start + 1 : start + 1 + count])

    # The origin ----------------------------------------------------------------------------------------------

    def route(
        self, application: str, key: int, message: Message, *, hint: Contact | None = None, before: bool = False
    ) -> Pending[Answered]:
        """Carry a message to the root of `key`, or with `before` to the peer before it."""
        token = self.ctx.rng.getrandbits(63)
        forward = Forward(token, 0, Key(key), before, False, application, self.ctx.me, (), pack(message))
        operation = self._waiting[token] = _Operation(forward, hint, Pending())
        operation.pending.when_done(lambda _: self._forget(token))
        self.ctx.after(0, self._attempt, operation)
        return operation.pending

    def _forget(self, token: int) -> None:
        self._waiting.pop(token, None)

    def _attempt(self, operation: _Operation) -> None:
        if operation.pending.done:
            return
        if operation.attempt >= self.config.attempts:
            operation.pending.fail(Indefinite("no answer came back around the ring"))
            return
        operation.attempt += 1
        forward = msgspec.structs.replace(operation.forward, attempt=operation.attempt)
        hint = operation.hint if operation.attempt == 1 else None
        self._go_on(forward, hint, lambda why: self._no_way(operation, why))
        operation.timer = self.ctx.after(self.config.attempt_s, self._attempt, operation)

    def _no_way(self, operation: _Operation, why: str) -> None:
        if operation.attempt >= self.config.attempts:
            operation.pending.fail(Indefinite(why))

    @on(Answer)
    def on_answer(self, sender: Contact, answer: Answer) -> Message | None:
        operation = self._waiting.get(answer.token)
        if operation is None:
            return None
        application = self._applications[operation.forward.application]
        if answer.error == AROUND and operation.attempt < self.config.attempts and operation.timer is not None:
            # Somebody has just come or gone there, and his neighbors do not agree on it yet.
            operation.timer.cancel()
            operation.timer = self.ctx.after(AROUND_S, self._attempt, operation)
            return None
        if answer.error:
            operation.pending.fail(RemoteError(answer.error))
            return None
        try:
            message = unpack(answer.payload, application.messages)
        except DecodeError as error:
            return Refused(str(error))
        operation.pending.resolve(Answered(message, sender, (*answer.path, sender.id)))
        return None

    # A hop ---------------------------------------------------------------------------------------------------

    @on(Forward)
    def on_forward(self, sender: Contact, forward: Forward) -> Message | None:
        if not self.chord.member:
            return Refused("this peer is not in the ring yet")
        if len(forward.path) >= self.config.max_hops:
            return Refused("the route is too long")
        if forward.application not in self._applications:
            return Refused(f"nobody is routed to by the name {forward.application!r} here")
        key = (forward.token, forward.attempt, int(sender.id))
        if key not in self._seen:
            self._seen[key] = None
            forget_oldest(self._seen, self.config.remembered)
            self._go_on(forward, None, lambda why: self._answer(forward, b"", why))
        return None

    def _go_on(
        self, forward: Forward, hint: Contact | None, failed: Callable[[str], None], patience: int = MENDING
    ) -> None:
        """Deliver it here, or pass it to the next peer; while our first successor is being looked for, wait."""
        if not self.chord.settled and patience:
            self.ctx.after(MENDING_S, self._go_on, forward, hint, failed, patience - 1)
            return
        application = self._applications[forward.application]
        try:
            message = unpack(forward.payload, application.messages)
        except DecodeError as error:
            failed(str(error))
            return
        if hint is None and self._is_ours(forward):
            self._deliver(application, message, forward)
            return
        if self.ctx.me.id in forward.path:
            self._answer(forward, b"", AROUND)
            return
        hops = self._next_hops(forward, hint)
        if not hops:
            failed("there is no other peer in the ring")
            return
        verdict = application.forward(forward.key, message, hops[0])
        if isinstance(verdict, Stop):
            self._answer(forward, b"", verdict.why)
            return
        if isinstance(verdict, Pass) and verdict.next_hop != hops[0]:
            hops.insert(0, verdict.next_hop)
        self.ctx.notify(Forwarded(message, hops[0].id, not forward.path))
        self._pass_on(forward, hops, self.config.repeats, failed)

    def _is_ours(self, forward: Forward) -> bool:
        chord, me = self.chord, self.ctx.me.id
        if forward.before:
            return chord.is_before(forward.key)
        if not chord.shown:
            return True
        if chord.leaving:
            return False
        before = chord.before
        return forward.final if before is None else owns(before.id, forward.key, me)

    def _next_hops(self, forward: Forward, hint: Contact | None) -> list[Contact]:
        """The best first; the others in case it is silent."""
        hops = list(self.hops.towards(forward.key))
        before = self.chord.before
        if forward.final and before is not None and not self.chord.leaving:
            # The sender does not know our predecessor yet, to whom or behind whom the key belongs.
            hops.insert(0, before)
        if hint is not None:
            hops.insert(0, hint)
        return [hop for hop in hops if hop.id != self.ctx.me.id]

    def _pass_on(self, forward: Forward, hops: list[Contact], repeats: int, failed: Callable[[str], None]) -> None:
        hop = hops[0]
        final = not forward.before and self._is_root_of(hop, forward)
        onward = msgspec.structs.replace(forward, final=final, path=(*forward.path, self.ctx.me.id))

        asked, patience = self.ctx.now, self.hops.round_trips.timeout_s(hop, self.config.hop_s)

        def taken(_: object) -> None:
            self.hops.round_trips.note(hop, self.ctx.now - asked)

        def silent(failure: Failure) -> None:
            if failure.reason in (Reason.TIMEOUT, Reason.OVERLOADED) and repeats > 1:
                self._pass_on(forward, hops, repeats - 1, failed)
                return
            if failure.reason is not Reason.REFUSED:
                self.hops.suspect(hop, for_good=failure.reason is Reason.UNREACHABLE)
            if len(hops) > 1:
                self._pass_on(forward, hops[1:], self.config.repeats, failed)
            else:
                failed(failure.detail or f"Peer {label(hop.id)} {failure.reason.value}")

        self.ctx.call(hop, onward, taken, silent, timeout_s=patience if repeats > 1 else self.config.hop_s)

    def _is_root_of(self, hop: Contact, forward: Forward) -> bool:
        """Whether, as far as we know, the next hop is the key's root."""
        me, key = self.ctx.me.id, forward.key
        span = self.chord.range() if self.chord.leaving else None
        if span is not None and hop == self.chord.first and owns(span[0], key, span[1]):
            # What was ours is our successor's now that we leave.
            return True
        return owns(me, key, hop.id) or (forward.final and not between(hop.id, key, me))

    # The root ------------------------------------------------------------------------------------------------

    def _deliver(self, application: Application, message: Message, forward: Forward) -> None:
        if forward.token in self._served:
            before = self._served[forward.token]
            if before is not None:
                self._send_answer(forward.origin, msgspec.structs.replace(before, path=forward.path))
            return
        self._served[forward.token] = None
        forget_oldest(self._served, self.config.served)
        answer = application.deliver(message, Route(forward.key, forward.origin, forward.path))
        if isinstance(answer, Pending):
            answer.when_done(lambda pending: self._answer_late(forward, pending))
        else:
            self._answer(forward, pack(answer), "")

    def _answer_late(self, forward: Forward, pending: Pending[Message]) -> None:
        if isinstance(pending.error, OverlayError):
            self._answer(forward, b"", str(pending.error) or "refused")
        elif pending.error is None:
            self._answer(forward, pack(pending.result()), "")

    def _answer(self, forward: Forward, payload: bytes, error: str) -> None:
        answer = Answer(forward.token, forward.path, payload, error[:256])
        if forward.token in self._served:
            self._served[forward.token] = answer
        self._send_answer(forward.origin, answer)

    def _send_answer(self, origin: Contact, answer: Answer, repeats: int = 2) -> None:
        if origin.is_same_peer(self.ctx.me):
            self.ctx.after(0, self._answer_here, answer)
            return

        def silent(failure: Failure) -> None:
            if repeats > 1 and failure.reason is not Reason.REFUSED:
                self._send_answer(origin, answer, repeats - 1)

        self.ctx.call(origin, answer, _taken, silent, timeout_s=self.config.hop_s)

    def _answer_here(self, answer: Answer) -> None:
        self.on_answer(self.ctx.me, answer)


def _taken(_: object) -> None:
    """The origin has it now."""
