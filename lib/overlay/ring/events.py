"""What a ring tells the layer above. The narrator makes the assignment's lines of these, word for word."""

from __future__ import annotations

import msgspec

from overlay.core.message import Contact, Message


class Event(msgspec.Struct, frozen=True):
    """Something that happened at one peer."""


class PingsSent(Event, frozen=True):
    """A round of pings went out, to one or two peers."""

    peers: tuple[int, ...]


class PingReceived(Event, frozen=True):
    """A peer pinged us: once a sender and round."""

    peer: int


class PingAnswered(Event, frozen=True):
    """A peer answered our ping: once a peer and round."""

    peer: int


class Waiting(Event, frozen=True):
    """A successor named at the start has not been heard from for a while."""

    peer: Contact


class Forwarded(Event, frozen=True):
    """A routed message, such as a Join, a Store or a Request, left this peer for the next one."""

    message: Message
    next_hop: int
    first_hop: bool
    """Whether it began here."""


class JoinReceived(Event, frozen=True):
    """We are the peer behind which a newcomer belongs, and take it in."""

    newcomer: int


class SuccessorsChanged(Event, frozen=True):
    """Our two successors are these now. The identifier of ourselves stands where the ring has no other peer."""

    first: int
    second: int


class SuccessorChangeReceived(Event, frozen=True):
    """Our first successor has a new first successor."""


class JoinAccepted(Event, frozen=True):
    """We are in."""

    first: int
    second: int


class IdTaken(Event, frozen=True):
    """Our identifier is another peer's, as our neighbors see the ring; they will not point to us while it lives."""

    holder: Contact


class JoinRefused(Event, frozen=True):
    """We are not in, and will not be."""

    why: str


class DepartureReceived(Event, frozen=True):
    """A successor of ours leaves of its own will."""

    peer: int


class PeerDied(Event, frozen=True):
    """A successor of ours is no longer alive."""

    peer: int


class Departed(Event, frozen=True):
    """Everybody who has to know knows that we leave."""
