"""How long a message takes, and how fast a body comes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle

from overlay.core.message import Contact

DELAYS = 8191
"""So many delays are drawn beforehand and used in turn: a prime, so that no regular traffic meets the same ones again
and again, and few enough to stay in the processor's cache."""


class Network:
    """Every message arrives, after a delay that is even over a range; a LAN unless told otherwise."""

    plain = True
    """Whether every datagram arrives once, after one draw: then a context sends without asking the network.
    A subclass that has its own `copies` or `passes` says False."""

    def __init__(self, *, delay_s: tuple[float, float] = (0.0005, 0.002), rate: float = 100e6):
        self.delay_s = delay_s
        self.rate = rate
        """Bytes per second of every body on its way."""
        self.begin(0)

    def begin(self, seed: object) -> None:
        """Start the streams of chance; the simulation does this."""
        rng = random.Random(f"{seed}/network")
        self.delays = cycle([rng.uniform(*self.delay_s) for _ in range(DELAYS)])

    def draw(self) -> float:
        """The next delay, in seconds."""
        return next(self.delays)

    def copies(self, sender: Contact, peer: Contact, reliable: bool) -> Sequence[float]:
        """The delays after which a message arrives: none if it is lost, several if it is doubled."""
        return (self.draw(),)

    def passes(self, sender: Contact, peer: Contact) -> bool:
        """Whether anything gets from one to the other now."""
        return True
