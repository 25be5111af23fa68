"""What the ring's failure detector keeps: its parameters, whom it watches, who pings it. Values only."""

from __future__ import annotations

import math
from typing import Protocol as Interface

import msgspec

from overlay.core.context import Timer
from overlay.core.message import Contact
from overlay.ring.messages import Neighbors


class PingConfig(msgspec.Struct, frozen=True):
    """How often, and how patiently."""

    interval_s: float = 3.0
    """Between two rounds (the assignment's PING_INTERVAL)."""
    answer_s: float = 0.4
    """After which an answer is missed; five times the slowest answer of a busy machine on one network."""
    probes: int = 5
    """Quick probes before the last question; at 20 % loss each way all of them fail once in 160 times."""
    probe_s: float = 0.4
    """Between two probes."""
    question_s: float = 2.4
    """For the answer to the last question; with the above it keeps a death within interval + 5 s."""
    await_first_s: float = 0.1
    await_s: float = 1.0
    """Between two quiet pings to a successor that has never been heard from; the first, and the longest after doublings."""
    waiting_s: float = 10.0
    """After which somebody is told that such a successor is waited for."""
    quiet_s: float = 50.0
    """The longest time without a probe, so that long intervals still show a death within 60 s."""
    pause_s: float = 1.0
    """A timer later than this was our own pause: we doubt ourselves before others (HOSTILE, row 15)."""


class Listener(Interface):
    """Who hears of the peers' life and death."""

    def round(self) -> None:
        """A round of pings has gone out."""

    def pinged(self, sender: Contact) -> None:
        """Somebody who is not familiar pinged us."""

    def heard(self, contact: Contact, picture: Neighbors) -> None:
        """A watched peer answered, with its picture of the ring."""

    def dead(self, contact: Contact) -> None:
        """A watched peer is dead."""


class Watch:
    """One peer that we ping."""

    __slots__ = (
        "answered",
        "awaited",
        "contact",
        "doubt",
        "heard_at",
        "line",
        "missed_at",
        "missed_from",
        "picture",
        "rank",
        "secret",
    )

    def __init__(self, contact: Contact, rank: int, secret: int, awaited: bool):
        self.contact = contact
        self.rank = rank
        self.secret = secret
        self.awaited = awaited
        self.heard_at = -math.inf
        self.answered = -1
        """The last round whose answer was told."""
        self.missed_from = 0
        """The first ping that has no answer yet; 0 when the last one has. An answer to an earlier one proves nothing."""
        self.missed_at = 0.0
        self.doubt: Timer | None = None
        self.line: Contact | None = None
        """Whom we hold a connection to: when that breaks, it is asked at once whether it lives."""
        self.picture: Neighbors | None = None
        """What it last told of its neighbors."""


class Pinger:
    """One incarnation of a peer that pings us."""

    __slots__ = ("contact", "familiar", "round")

    def __init__(self, contact: Contact, familiar: bool):
        self.contact = contact
        self.familiar = familiar
        """Whether its pings tell the listener nothing new."""
        self.round = -1
        """The last round that was told."""
