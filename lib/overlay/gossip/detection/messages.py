"""SWIM's messages, and its parameters."""

from __future__ import annotations

import msgspec

from overlay.core.message import Command, Contact, Datagram
from overlay.gossip.base import check
from overlay.gossip.detection.updates import Update

MAX_MEMBERS = 10_000
MAX_INTRODUCED = 800
"""Members told at once, to a newcomer or in an exchange: as many as fit a frame, whatever the addresses."""

MAX_TOLD = 12
"""Updates in a message that carries nothing else; as many as fit a datagram, whatever the addresses."""

SYNC_S = 10.0
"""For the answer to a Sync."""

PADDING = bytes(160)
"""Room in a probe, and so in its acknowledgement, for a few updates."""

NACK_AT = 0.8
"""Of its timeout, a helper says that it has heard nothing (LG18)."""


class Probe(Datagram, frozen=True):
    """A call: are you there?"""

    updates: tuple[Update, ...]
    padding: bytes = PADDING


class Ack(Datagram, frozen=True):
    """The answer."""

    updates: tuple[Update, ...]


class ProbeFor(Datagram, frozen=True):
    """A call: probe this one for me. Answered by Ack, or by Nack."""

    target: Contact
    updates: tuple[Update, ...]
    padding: bytes = PADDING


class Nack(Datagram, frozen=True):
    """The helper is there, and has heard nothing from the target yet."""


class Told(Datagram, frozen=True):
    """News on its own: what basic SWIM multicasts, and what a member says to whoever believes it dead."""

    updates: tuple[Update, ...]


class Sync(Command, frozen=True):
    """A call: all members that the sender knows, the dead among them, for all that you know."""

    updates: tuple[Update, ...]


class Members(Command, frozen=True):
    """The answer to a Join or a Sync."""

    updates: tuple[Update, ...]


class SwimConfig(msgspec.Struct, frozen=True):
    """The letters of SW02 and LG18."""

    period_s: float = 1.0
    """T'. SW02's prototype has 2 s, LG18 1 s."""
    timer: bool = True
    """Whether the protocol keeps time itself; otherwise somebody calls `probe` once a period."""
    timeout_s: float = 0.5
    """For a direct answer; what is left of the period is for the helpers."""
    helpers: int = 3
    """k: members asked to probe for us."""
    spread: float = 3.0
    """lambda: an update is told lambda log n times."""
    updates: int = 6
    """In one message."""
    gossip_s: float = 0.2
    """While there is news, it goes out on its own so often, besides on probes; 0: it does not, as in SW02."""
    fanout: int = 3
    """To so many."""
    sync_s: float = 30.0
    """Between two exchanges of all that is known with one member, so that nothing is missed for good; the first ones come
    sooner, for a group that meets. 0: none, as in SW02. Only where the protocol keeps time itself."""
    infection: bool = True
    """News travels on probes; without, a death is multicast by whoever finds it (SW02, section 3)."""
    suspicion: bool = True
    """Who is silent is suspected first, and may object (section 4.2)."""
    alpha: float = 4.0
    """A suspicion lasts alpha log10 n periods, at least."""
    lifeguard: bool = True
    """LG18's three remedies."""
    beta: float = 6.0
    """And at most beta times that, while nobody else suspects it. Without Lifeguard it is the least."""
    confirmations: int = 3
    """K: so many others that suspect it make that the least."""
    health: int = 8
    """S: the local health counter goes from 0 to this."""
    returning: bool = True
    """Whether a member that hears of its own death may object, as to a suspicion. In SW02 it may not, and leaves."""
    forget_s: float = 60.0
    """For so long a dead member is remembered; one that may not object can come back after that."""

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(0.05 <= self.period_s <= 3600, f"a period of {self.period_s} s")
        check(0 < self.timeout_s < self.period_s, "0 < timeout_s < period_s")
        check(0 <= self.helpers <= 32, f"{self.helpers} helpers")
        check(1 <= self.updates <= 8, f"{self.updates} updates in a message, of 1 to 8")
        check(self.gossip_s == 0 or self.gossip_s >= 0.01, f"gossip every {self.gossip_s} s")
        check(self.sync_s == 0 or self.sync_s >= self.period_s, f"an exchange every {self.sync_s} s")
        check(0 <= self.fanout <= 16, f"a fanout of {self.fanout}")
        check(0.5 <= self.spread <= 100 and self.alpha > 0 and self.beta >= 1, "spread, alpha, beta")
        check(1 <= self.confirmations <= 32 and 0 <= self.health <= 32, "confirmations, health")
        check(self.forget_s > 0, f"the dead are remembered for {self.forget_s} s")


class SwimView(msgspec.Struct, frozen=True):
    """The group from here."""

    alive: tuple[Contact, ...]
    suspects: tuple[Contact, ...]
    health: int
