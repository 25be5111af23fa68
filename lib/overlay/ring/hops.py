"""Which peer is the next hop, which one after that, and how long to wait for either.

Sources: closest_preceding_node (CH03, figure 5), over fingers and the successor list alike; timeouts by the measured
round trip, mean + 4 deviations (Rhea et al., Handling Churn in a DHT, section 4.2; Jacobson 1988).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from overlay.core.bounded import forget_oldest
from overlay.core.message import Contact

if TYPE_CHECKING:
    from overlay.ring.chord import Chord
    from overlay.ring.fingers import Fingers

MAX_REMEMBERED = 256
SUSPECTED_S = 10.0
"""So long a peer that did not answer is passed by; then it has another chance."""
ALTERNATIVES = 8
LEAST_S = 0.2
"""The shortest timeout; a busy process may be silent for so long."""


class RoundTrips:
    """How long peers take to answer. Bounded; who was not heard from for longest is forgotten."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Contact, tuple[float, float]] = {}

    def note(self, peer: Contact, seconds: float) -> None:
        """An answer came."""
        mean, deviation = self._known.pop(peer, (seconds, seconds / 2))
        error = seconds - mean
        self._known[peer] = mean + error / 8, deviation + (abs(error) - deviation) / 4
        forget_oldest(self._known, MAX_REMEMBERED)

    def mean_s(self, peer: Contact) -> float:
        """How long it takes on average; infinite for a peer that never answered."""
        known = self._known.get(peer)
        return math.inf if known is None else known[0]

    def timeout_s(self, peer: Contact, longest_s: float) -> float:
        """How long to wait for the next one; `longest_s` for a peer that never answered."""
        known = self._known.get(peer)
        return longest_s if known is None else min(longest_s, max(LEAST_S, known[0] + 4 * known[1]))


class Hops:
    """Chooses hops at one peer."""

    __slots__ = ("_chord", "_suspected", "fingers", "round_trips")

    def __init__(self, chord: Chord):
        self._chord = chord
        self.fingers: Fingers | None = None
        self.round_trips = RoundTrips()
        self._suspected: dict[Contact, float] = {}

    def suspect(self, contact: Contact, *, for_good: bool) -> None:
        """It did not answer; `for_good` if nobody, or another incarnation, lives there."""
        self._chord.pings.doubt(contact)
        if self.fingers is not None:
            if for_good:
                self.fingers.lose(contact)
            self._suspected[contact] = self._chord.ctx.now + SUSPECTED_S
            forget_oldest(self._suspected, MAX_REMEMBERED)

    def towards(self, key: int, count: int = ALTERNATIVES) -> list[Contact]:
        """The best hop first: the closest before the key, then those before it, then the successors behind the key.

        So many of either, at most."""
        chord = self._chord
        if self.fingers is None:
            return chord.successors
        me, mask = chord.ctx.me.id, (1 << chord.config.bits) - 1
        reach = (key - me) & mask or mask + 1
        successors = chord.successors
        preceding = {(hop.id - me) & mask: hop for hop in self.fingers.before(reach)[-count:]}
        for hop in reversed(successors):
            at = (hop.id - me) & mask
            if at < reach:
                preceding[at] = hop
                if len(preceding) >= 2 * count:
                    break
        best = [preceding[at] for at in sorted(preceding, reverse=True)[:count]]
        # A successor behind the key is a way around whoever is silent before it.
        hops = list(dict.fromkeys([*best, *successors[:count]]))
        good = [hop for hop in hops if hop not in chord.gone and not (self._suspected and self._is_suspected(hop))]
        return good or hops

    def _is_suspected(self, contact: Contact) -> bool:
        until = self._suspected.get(contact)
        if until is None:
            return False
        if until <= self._chord.ctx.now:
            del self._suspected[contact]
            return False
        return True
