"""Iterative lookups: the origin asks one peer after the other for the next, and learns from silence.

Source: Chord's find_successor, iterative (CH01, section 4.4; CH03, figure 5), with timeouts as in CH03, section IV-C: a peer
that does not answer is passed by, and the closest of the others that are known by then comes next.
Deviation: an answer names several next hops and several roots, so that a silent one costs no way back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from overlay.core.context import Failure, Reason
from overlay.core.message import Command, Contact, Message, Refused
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.errors import Indefinite
from overlay.ids import Key, distance, owns
from overlay.ring.chord import Chord
from overlay.ring.hops import ALTERNATIVES, Hops

NAMED = 32
"""Contacts in one answer, of either kind: enough that half of them may be dead."""
MOST_ASKED = 64
ROOT_S = 2.0
"""For the answer of a root, which nobody else can stand in for while it is only slow."""

Contacts = Annotated[tuple[Contact, ...], msgspec.Meta(max_length=NAMED)]


class FindNext(Command, frozen=True):
    """Who is next on the way to a key?"""

    key: Key


class Next(Command, frozen=True):
    """The closest that the answerer knows."""

    hops: Contacts
    """Peers between the answerer and the key, the closest to the key first."""
    roots: Contacts
    """Its successors from the key on: if none of the hops lives, the first of these that does is the key's root."""
    mine: bool = False
    """Whether the key is the answerer's own, as far as it knows."""


class Found(msgspec.Struct, frozen=True):
    """What a lookup came to."""

    root: Contact
    hops: int
    """Peers that answered on the way, up to the key's predecessor (the papers' path length; the root is not counted)."""
    timeouts: int
    """Peers that were asked and did not answer."""


class Lookups(Protocol):
    """Asks, and answers those who ask."""

    __slots__ = ("chord", "hops", "timeout_s")
    service = "lookup"
    answers = (Next,)

    def __init__(self, chord: Chord, hops: Hops, timeout_s: float = 0.5):
        self.chord = chord
        self.hops = hops
        self.timeout_s = timeout_s
        """For one answer (CH03: 500 ms)."""

    def lookup(self, key: int, *, retry: bool = True) -> Pending[Found]:
        """Find the key's root. Indefinite when nobody knows more; without `retry`, at the first peer that is silent."""
        lookup = Lookup(self, Key(key), retry)
        self.ctx.after(0, lookup.begin)
        return lookup.outcome

    def next(self, key: int) -> Next:
        """What we know ourselves."""
        chord, me = self.chord, self.ctx.me
        bits, span = chord.config.bits, chord.range()
        reach = distance(me.id, key, bits) or 1 << bits
        roots = [root for root in chord.successors if distance(me.id, root.id, bits) >= reach]
        # From where the list does not reach the key, as many ways on as the list is long; else all of the list counts.
        named = NAMED if roots else max(ALTERNATIVES, chord.config.successors)
        hops = [hop for hop in self.hops.towards(key, named) if distance(me.id, hop.id, bits) < reach]
        if len(chord.successors) < chord.config.successors:
            # The whole ring is in our list, so that behind the last of it comes ourselves.
            roots.append(me)
        mine = span is not None and owns(span[0], key, span[1])
        return Next(tuple(hops[:named]), tuple(roots[:NAMED]), mine)

    @on(FindNext)
    def on_find_next(self, sender: Contact, question: FindNext) -> Message:
        if not self.chord.member:
            return Refused("this peer is not in the ring")
        return self.next(question.key)


class Lookup:
    """One lookup, from its begin to its outcome."""

    __slots__ = (
        "_asked",
        "_closest",
        "_hops",
        "_key",
        "_known",
        "_lookups",
        "_retry",
        "_roots",
        "_timeouts",
        "outcome",
    )

    def __init__(self, lookups: Lookups, key: Key, retry: bool):
        self._lookups = lookups
        self._key = key
        self._retry = retry
        self._known: dict[Contact, int] = {}
        """Peers not asked yet, and how far before the key they are."""
        self._asked: set[Contact] = set()
        self._closest = self._before(lookups.ctx.me)
        """How far before the key the closest is that has answered."""
        self._roots: tuple[Contact, ...] = ()
        """What that one said."""
        self._hops = 0
        self._timeouts = 0
        self.outcome: Pending[Found] = Pending()

    def begin(self) -> None:
        """What is known here costs nothing."""
        self._take(self._lookups.ctx.me, self._lookups.next(self._key))

    def _before(self, contact: Contact) -> int:
        bits = self._lookups.chord.config.bits
        return distance(contact.id, self._key, bits) or 1 << bits

    def _take(self, peer: Contact, told: Next) -> None:
        if self._before(peer) <= self._closest:
            self._closest, self._roots = self._before(peer), told.roots
        self._known.update({contact: self._before(contact) for contact in told.hops if contact not in self._asked})
        self._known = {contact: before for contact, before in self._known.items() if before < self._closest}
        self._ask_next()

    def _ask_next(self) -> None:
        if self._timeouts and not self._retry:
            self._fail()
            return
        if not self._known or len(self._asked) >= MOST_ASKED:
            self._meet(self._roots)
            return
        peer = min(self._known, key=self._known.__getitem__)
        del self._known[peer]
        self._asked.add(peer)

        def told(answer: Next) -> None:
            self._hops += 1
            self._take(peer, answer)

        trips = self._lookups.hops.round_trips
        self._ask(peer, told, lambda _: self._ask_next(), trips.timeout_s(peer, self._lookups.timeout_s))

    def _ask(
        self, peer: Contact, told: Callable[[Next], None], passed_by: Callable[[Failure], None], timeout_s: float
    ) -> None:
        """Whatever comes of it is remembered here, for the next lookup and for what is routed."""
        lookups = self._lookups
        ctx, hops, asked = lookups.ctx, lookups.hops, lookups.ctx.now

        def answered(answer: Next) -> None:
            hops.round_trips.note(peer, ctx.now - asked)
            told(answer)

        def silent(failure: Failure) -> None:
            self._timeouts += 1
            if failure.reason in (Reason.TIMEOUT, Reason.UNREACHABLE):
                hops.suspect(peer, for_good=failure.reason is Reason.UNREACHABLE)
            passed_by(failure)

        ctx.call(peer, FindNext(self._key), answered, silent, timeout_s=timeout_s)

    def _meet(self, roots: tuple[Contact, ...], is_doubted: bool = False) -> None:
        """The first of the predecessor's successors that answers is the root; behind one that may be only slow, the
        first that takes the key for its own."""
        if not roots or (self._timeouts and not self._retry):
            self._fail()
            return
        root = roots[0]

        def answered(answer: Next) -> None:
            if is_doubted and not answer.mine:
                self._fail()
            else:
                self.outcome.resolve(Found(root, self._hops, self._timeouts))

        def passed_by(failure: Failure) -> None:
            self._meet(roots[1:], is_doubted or failure.reason is Reason.TIMEOUT)

        if root.id == self._lookups.ctx.me.id:
            answered(self._lookups.next(self._key))
        else:
            self._ask(root, answered, passed_by, ROOT_S)

    def _fail(self) -> None:
        self.outcome.fail(Indefinite(f"nobody knows more after {self._hops} hops and {self._timeouts} timeouts"))
