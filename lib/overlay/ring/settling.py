"""Settling: what a peer shows becomes what it should show, once everybody new in it has answered.

Source: Zave, How to Make Chord Correct (ZV15): stabilize, and never a pointer to a peer that has not been heard from.
Deviation: a better successor found by stabilization is installed one interval after it was first seen, so that joins and
departures, which tell about themselves, come first (the assignment's printed lines depend on it).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from overlay.core.message import Contact
from overlay.ring.messages import Neighbors

if TYPE_CHECKING:
    from overlay.ring.chord import Chord


class Settling:
    """Whom a peer wants to show, since when, and whether it is asking them."""

    __slots__ = ("_chord", "_loudly", "_wanted_at", "busy", "wanted")

    def __init__(self, chord: Chord):
        self._chord = chord
        self.wanted: list[Contact] | None = None
        """What was seen to be better than what is shown, and is to be installed."""
        self._wanted_at = math.inf
        self._loudly = False
        self.busy = False
        """Whether somebody new is being asked."""

    def forget(self) -> None:
        """What was wanted is so, or is no longer wanted."""
        self.wanted = None

    def stabilize(self) -> None:
        """Is what we show what we should show?"""
        chord = self._chord
        wanted = chord.best()
        if wanted == chord.shown:
            self.forget()
            chord.beyond.refresh()
        elif wanted != self.wanted:
            self.wanted, self._wanted_at = wanted, chord.ctx.now
        elif chord.ctx.now - self._wanted_at >= 0.99 * chord.pings.beat_s:
            self.settle()

    def settle(self, *, loudly: bool = False) -> None:
        """Make what we show right, now: ask whoever has not been heard from lately, then install those that answered.

        `loudly`: tell who the successors are even if they are the same."""
        self._loudly |= loudly
        if self.busy:
            return
        chord = self._chord
        wanted = chord.best()
        unheard = [c for c in wanted if c.id not in chord.awaited and not chord.pings.fresh(c)]
        if unheard:
            self._ask(unheard, wanted)
        else:
            self._install(wanted)

    def _ask(self, unheard: list[Contact], wanted: list[Contact]) -> None:
        self.busy = True
        questions = len(unheard)
        answers = 0

        def answered(picture: Neighbors) -> None:
            nonlocal answers
            answers += 1
            one_less()

        def one_less() -> None:
            nonlocal questions
            questions -= 1
            if questions:
                return
            self.busy = False
            if answers == len(unheard) and self._chord.best() == wanted:
                self._install(wanted)
            else:
                self.settle()

        for contact in unheard:
            self._chord.ask(contact, answered, one_less)

    def _install(self, wanted: list[Contact]) -> None:
        loudly, self._loudly = self._loudly, False
        self.forget()
        if loudly or wanted != self._chord.shown:
            self._chord.install(wanted)
