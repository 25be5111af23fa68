"""What the peers of a ring tell each other."""

from __future__ import annotations

import functools
import operator
from typing import Annotated

import msgspec

from overlay.core.message import Command, Contact, Datagram, shared
from overlay.ids import CLASSROOM_BITS, Key

MAX_LISTED = 8
"""Contacts on one side of a picture in a datagram; the bound that keeps an answer within its question."""

LONGEST = 32
"""Of a list of successors, which then goes by TCP."""

PADDING = bytes(960)
"""Makes a ping as long as the longest answer it can get, so that nobody is flooded in another's name (HOSTILE, row 9)."""

Listed = Annotated[tuple[Contact, ...], msgspec.Meta(max_length=MAX_LISTED)]
List = Annotated[tuple[Contact, ...], msgspec.Meta(max_length=LONGEST)]
Path = Annotated[tuple[Key, ...], msgspec.Meta(max_length=1024)]
Packed = Annotated[bytes, msgspec.Meta(max_length=8192)]
"""What is routed: it crosses every hop."""
Answered = Annotated[bytes, msgspec.Meta(max_length=32 * 1024)]
"""What the root answers to the origin at once: with the longest path it still fits into a frame."""
Name = Annotated[str, msgspec.Meta(max_length=32)]


class Neighbors(Command, frozen=True):
    """How a peer sees the ring around it: the answer to Ask, and part of every Pong."""

    predecessors: Listed
    """The nearest first."""
    successors: List
    """The nearest first; never the peer itself."""
    member: bool = True
    leaving: bool = False
    lost: Listed = ()
    """Told by a leaver alone: peers that it was still looking for."""
    rest: int = 0
    """In a datagram, of a longer list: a sum of the whole picture, which changes with it."""


def shared_picture(picture: Neighbors) -> Neighbors:
    """An equal picture, which may be kept in this process already: all of a peer's neighbors keep what it showed."""
    behind, ahead = tuple(map(shared, picture.predecessors)), tuple(map(shared, picture.successors))
    if not all(map(operator.is_, (*behind, *ahead), (*picture.predecessors, *picture.successors))):
        picture = msgspec.structs.replace(picture, predecessors=behind, successors=ahead)
    return _kept(picture)


@functools.lru_cache(1024)
def _kept(picture: Neighbors) -> Neighbors:
    return picture


class Ping(Datagram, frozen=True):
    """Are you there? `rank` 1 or 2: you are my first or second successor; 0: a quiet probe, which nobody prints."""

    round: int
    rank: int
    secret: int
    serial: int
    padding: Annotated[bytes, msgspec.Meta(max_length=1024)] = PADDING


class Pong(Datagram, frozen=True):
    """Yes. It repeats what the ping said, and shows the ring as seen from here."""

    round: int
    rank: int
    secret: int
    serial: int
    neighbors: Neighbors


class Alive(Command, frozen=True):
    """The last question before a peer is taken for dead; it must be answered (Done), not merely be accepted."""


class Ask(Command, frozen=True):
    """Show me your Neighbors. Whatever changes a pointer is asked back by this at the peer's own address."""


MAX_AGREED = 16


class Shape(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """In what the peers of one ring have to agree. The defaults are the classroom's, and those of who does not say."""

    bits: int = CLASSROOM_BITS
    successors: int = 4
    fingers: bool = False
    swim: bool = False
    """Whether another failure detector than the pings says who is dead."""
    agreed: Annotated[tuple[tuple[str, float], ...], msgspec.Meta(max_length=MAX_AGREED)] = ()
    """The parameters of what runs on the ring, such as ("store.copies", 3), that are the same at every peer."""


class Describe(Command, frozen=True):
    """What kind of ring is this?"""


class Description(Command, frozen=True):
    """The answer to Describe."""

    shape: Shape
    member: bool
    """Whether the answerer is in the ring, or only on its way into one."""
    network: int = 0
    """Which ring: a number that whoever began it drew by lot; 0: it has none, as in the classroom."""


class JoinRequest(Command, frozen=True):
    """A newcomer asks a peer that it knows to be let in. Answered when it is decided: Done, or refused with the reason."""

    newcomer: Contact
    ticket: int
    """Unpredictable; whoever lets the newcomer in shows it."""
    shape: Shape = Shape()
    network: int = 0
    """Of the ring that the newcomer was in before, if it was in any."""


class Join(Command, frozen=True):
    """The same on its way to the peer behind which the newcomer belongs."""

    newcomer: Contact
    ticket: int


class Admit(Command, frozen=True):
    """To the newcomer: you are in, this is your place."""

    ticket: int
    predecessors: Listed
    successors: List
    lost: Listed = ()
    network: int = 0


class Admitted(Command, frozen=True):
    """The answer to a Join, at its end: `why` is empty, or says why not."""

    why: str = ""
    again: bool = False
    """Whether to try again soon."""


class SuccessorChange(Command, frozen=True):
    """My first successor is a new one: ask me."""


class Depart(Command, frozen=True):
    """I leave: ask me."""


class Meet(Command, frozen=True):
    """Routed to the peer behind which `peer` belongs: do you know it? So rings that grew apart find together."""

    peer: Contact


class FindBefore(Command, frozen=True):
    """Routed to the peer before a place: who are you?"""


class Before(Command, frozen=True):
    """The answer to FindBefore."""

    neighbors: Neighbors


class Forward(Command, frozen=True):
    """A routed message on its way (recursive, with an acknowledgement a hop)."""

    token: int
    """Unpredictable; matches the answer."""
    attempt: int
    key: Key
    before: bool
    """Whether it goes to the peer before the key rather than to the key's root."""
    final: bool
    """Whether the sender takes the receiver for the root."""
    application: Name
    origin: Contact
    path: Path
    payload: Packed


class Answer(Command, frozen=True):
    """From the root to the origin, in a call of its own."""

    token: int
    path: Path
    payload: Answered
    error: Annotated[str, msgspec.Meta(max_length=256)] = ""


class FindFinger(Command, frozen=True):
    """Routed to the root of a finger's beginning: who are you? With `near`: and who is behind you?"""

    near: bool = False


class Finger(Command, frozen=True):
    """The answer: it comes from the finger itself, so it has been heard from."""

    near: Listed = ()


class HowFar(Datagram, frozen=True):
    """How far are you? Answered by Done, which is as short."""
