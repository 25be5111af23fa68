"""Fingers: shortcuts around the ring, so that a route takes half of log2 N hops instead of half of N.

Source: Chord (CH01, section 4.3; CH03, figure 6, fix_fingers). finger(k) is the first peer at or behind `me + offset(k)`.
Deviation: only distinct fingers are kept, for most of the m entries of a table are one and the same peer; a pass finds
each of them once. The first pass runs at once, without pauses, so that a newcomer need not wait for its shortcuts.

With `candidates`, a finger is the nearest by measured round trip of the first few peers of its interval: proximity neighbor
selection (Gummadi et al., The Impact of DHT Routing Geometry on Resilience and Proximity, SIGCOMM 2003, section 5), with the
candidates of DHash++ (Dabek et al., NSDI 2004): the first peer and those of its successors that lie in the interval too.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from overlay.core.message import Contact, Message
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.ids import Key, distance
from overlay.kbr import Answered, Pass, Route
from overlay.ring.chord import Chord
from overlay.ring.messages import MAX_LISTED, FindFinger, Finger, HowFar
from overlay.ring.routing import RingRouter


class FingerConfig(msgspec.Struct, frozen=True):
    """How many shortcuts, and how fresh."""

    base_bits: int = 1
    """Offsets are j * 2**(base_bits * i), for j from 1 to 2**base_bits - 1: base 2 is the paper's, larger ones have
    more fingers and fewer hops."""
    candidates: int = 1
    """Of a finger's interval, so many peers are compared by their round trip; 1: the first is the finger (CH03)."""
    fix_s: float = 5.0
    """Between two finds, on average; a find refreshes one finger (CH03 refreshes one entry per stabilization)."""


PROBE_S = 1.0
"""For the answer of a candidate; one that is farther, or whose datagrams are lost, is not taken this time."""


@functools.cache
def offsets(bits: int, base_bits: int) -> tuple[int, ...]:
    """The distances at which fingers begin, ascending."""
    digits = range(1, 1 << base_bits)
    found = {digit << place for place in range(0, bits, base_bits) for digit in digits}
    return tuple(sorted(offset for offset in found if offset < 1 << bits))


class Fingers(Protocol):
    """One peer's fingers, and their repair."""

    __slots__ = ("_at", "_first_pass", "_next", "_running", "chord", "config", "line", "router")
    service = "fingers"
    name = "fingers"
    messages: tuple[type[Message], ...] = (FindFinger, Finger)

    def __init__(self, chord: Chord, router: RingRouter, config: FingerConfig = FingerConfig()):  # noqa: B008 -- frozen
        self.chord = chord
        self.router = router
        self.config = config
        self.line: list[Contact] = []
        """The distinct fingers, in ring order."""
        self._at: list[int] = []
        """Their distances from here."""
        self._next = 0
        self._first_pass = True
        self._running = False
        router.register(self)
        router.hops.fingers = self
        chord.on_change.append(self._begin)
        chord.shortcuts = lambda: self.line

    # What they are for ---------------------------------------------------------------------------------------

    def before(self, reach: int) -> list[Contact]:
        """The fingers at less than this distance, in ring order."""
        return self.line[: bisect_left(self._at, reach)]

    def lose(self, contact: Contact) -> None:
        """It does not answer."""
        if contact in self.line:
            self.install([other for other in self.line if other != contact])

    def install(self, contacts: Iterable[Contact]) -> None:
        """Take these for the fingers; every one has been heard from."""
        me, bits = self.ctx.me.id, self.chord.config.bits
        found = {distance(me, contact.id, bits): contact for contact in contacts if contact.id != me}
        self._at = sorted(found)
        self.line = [found[at] for at in self._at]

    # fix_fingers ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._running and self.chord.member and not self.chord.leaving:
            self._running = True
            self._first_pass = not self.line
            if self._first_pass:
                self.ctx.after(0, self.fix)
            else:
                # They were given by whoever computed them.
                self._pause()

    def fix(self) -> None:
        """Find the next finger."""
        chord = self.chord
        if chord.leaving:
            self._running = False
            return
        starts = offsets(chord.config.bits, self.config.base_bits)
        reach = distance(self.ctx.me.id, chord.first.id, chord.config.bits)
        # Up to the first successor every finger is that one.
        self._next = max(self._next, bisect_left(starts, reach + 1)) if reach else len(starts)
        if self._next >= len(starts):
            self._next = 0
            self._first_pass = self._first_pass and not reach
            self._pause()
            return
        start = starts[self._next]
        key = Key((self.ctx.me.id + start) % (1 << chord.config.bits))
        question = FindFinger(self.config.candidates > 1)
        self.router.route(self.name, key, question).when_done(lambda pending: self._found(start, pending))

    def _found(self, start: int, pending: Pending[Answered]) -> None:
        starts, bits = offsets(self.chord.config.bits, self.config.base_bits), self.chord.config.bits
        self._next += 1
        if pending.error is not None:
            self._go_on()
            return
        root, answer = pending.result().root, pending.result().answer
        at = distance(self.ctx.me.id, root.id, bits) or 1 << bits
        self._next = max(self._next, bisect_left(starts, at + 1))
        # Nobody lives between the finger's beginning and its peer, and one finger is enough up to the next beginning.
        end = starts[self._next] if self._next < len(starts) else 1 << bits
        near = answer.near if isinstance(answer, Finger) else ()
        others = [other for other in near if at < distance(self.ctx.me.id, other.id, bits) < end]
        if others:
            self._compare([root, *others[: self.config.candidates - 1]], start, end)
        else:
            self._take(root, start, end)

    def _compare(self, candidates: list[Contact], start: int, end: int) -> None:
        """Take the nearest of those that answer, or the first: that one has."""
        trips, asked, waiting = self.router.hops.round_trips, self.ctx.now, len(candidates)
        heard = candidates[:1]

        def answered(candidate: Contact, _: object) -> None:
            trips.note(candidate, self.ctx.now - asked)
            heard.append(candidate)
            one_less()

        def one_less(_: object = None) -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                self._take(min(heard, key=trips.mean_s), start, end)

        for other in candidates:
            self.ctx.call(other, HowFar(), functools.partial(answered, other), one_less, timeout_s=PROBE_S)

    def _take(self, finger: Contact, start: int, end: int) -> None:
        kept = [c for c, there in zip(self.line, self._at, strict=True) if not start <= there < end]
        self.install([*kept, finger])
        self._go_on()

    def _go_on(self) -> None:
        if self._first_pass:
            self.ctx.after(0, self.fix)
        else:
            self._pause()

    def _pause(self) -> None:
        self.ctx.after(self.config.fix_s * self.ctx.rng.uniform(0.5, 1.5), self.fix)

    # The peer that is found ----------------------------------------------------------------------------------

    def forward(self, key: int, message: Message, next_hop: Contact) -> Pass:
        return Pass(next_hop)

    def deliver(self, message: Message, route: Route) -> Message:
        near = isinstance(message, FindFinger) and message.near
        return Finger(tuple(self.chord.successors[:MAX_LISTED]) if near else ())

    @on(HowFar)
    def on_how_far(self, sender: Contact, question: HowFar) -> None:
        """The answer is Done."""

    def update(self, neighbor: Contact, joined: bool) -> None:
        """Neighbors are no fingers."""
