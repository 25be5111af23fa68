"""Key-based routing: one interface to any structured overlay.

Dabek et al., Towards a Common API for Structured Peer-to-Peer Overlays, IPTPS 2003: route, and the upcalls
forward, deliver and update. There is no state here; `ring` (and later `pastry`) implement `Router`. To join is the
overlay's own affair (`ring.admission`).
"""

from __future__ import annotations

from typing import Protocol as Interface

import msgspec

from overlay.core.message import Contact, Message
from overlay.core.pending import Pending
from overlay.ids import Key


class Route(msgspec.Struct, frozen=True):
    """How a routed message came, told to the application that it is delivered to."""

    key: int
    origin: Contact
    path: tuple[Key, ...]
    """The ids of the peers that passed it on, the origin first; the root is not among them."""


class Answered(msgspec.Struct, frozen=True):
    """What the root answered, told to the origin."""

    answer: Message
    root: Contact
    path: tuple[Key, ...]
    """The whole way: the origin first, the root last."""


class Pass(msgspec.Struct, frozen=True):
    """An answer of `forward`: let it go on, to `next_hop`."""

    next_hop: Contact


class Stop(msgspec.Struct, frozen=True):
    """An answer of `forward`: it goes no further; the origin is told why."""

    why: str


class Application(Interface):
    """What is routed for. One name is one application on every peer."""

    name: str
    messages: tuple[type[Message], ...]
    """What it routes and what it answers with: nothing else reaches it."""

    def forward(self, key: int, message: Message, next_hop: Contact) -> Pass | Stop:
        """At every hop, before the message goes on. Pure: it gets no Context and changes nothing."""

    def deliver(self, message: Message, route: Route) -> Message | Pending[Message]:
        """At the root, once. What it returns travels to the origin.

        Where a root dies on the way, the next one may be asked too, so it is idempotent."""

    def update(self, neighbor: Contact, joined: bool) -> None:
        """A neighbor of this peer came or went, and the peer's range may have changed with it."""


class Router(Interface):
    """What an application may ask of an overlay."""

    def register(self, application: Application) -> None:
        """Deliver to this application from now on."""

    def route(self, application: str, key: int, message: Message, *, hint: Contact | None = None) -> Pending[Answered]:
        """Carry a message to the root of its key. `hint` is the first hop."""

    def local_lookup(self, key: int, count: int) -> tuple[Contact, ...]:
        """The next hops towards a key, the best first; known here, and asked of nobody."""

    def neighbor_set(self) -> tuple[Contact, ...]:
        """The peers next to this one on either side, those behind it first."""

    def missing_s(self) -> float:
        """Seconds since a neighbor fell silent that may yet come back; infinite if there is none."""

    def replica_set(self, key: int, count: int) -> tuple[Contact, ...]:
        """The peers that would be the key's root, were those before them gone; as far as is known here."""

    def range(self) -> tuple[int, int] | None:
        """The keys (low, high] that this peer is the root of; None while it cannot know."""
