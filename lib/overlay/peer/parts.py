"""A peer put together, without a driver: its protocols, and the steps that concern several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from overlay.core.context import Failure
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.errors import LocalError
from overlay.ids import Key, label
from overlay.peer.address import show_address
from overlay.peer.preset import CLASSROOM, Preset, agreed_of
from overlay.peer.views import Neighbors, PeerView, picture_of
from overlay.peer.walk import Walk
from overlay.ring.contacts import Contacts
from overlay.ring.parts import RingParts
from overlay.ring.pings import Pings
from overlay.store.records import GIVE_UP_S, Records

if TYPE_CHECKING:
    from overlay.gossip.detection.messages import SwimConfig
    from overlay.gossip.detection.swim import Swim
    from overlay.kbr import Router
    from overlay.store.desk.desk import Desk
    from overlay.store.replicated.config import ReplicasConfig
    from overlay.store.replicated.replicas import Replicas

T = TypeVar("T")

MEET_S = 1.0
"""Between two greetings of an address at which nobody answers yet."""

Place = tuple[Key | None, str, int]
"""A peer that was named: its id where that is known, its host and port."""


def _swim(config: SwimConfig) -> Swim:
    # Imported by those alone who want it.
    from overlay.gossip.detection.swim import Swim

    return Swim("ring", config)


def _replicas(router: Router, bits: int, config: ReplicasConfig) -> Replicas:
    # Imported by those alone who want it, as above.
    from overlay.store.replicated.replicas import Replicas

    return Replicas(router, bits, config)


def _desk(replicas: Replicas) -> Desk:
    from overlay.store.desk.desk import Desk

    return Desk(replicas)


class PeerParts:
    """Everything here runs inside the node."""

    def __init__(self, interval_s: float, preset: Preset = CLASSROOM, store: ReplicasConfig | None = None):
        self.swim = None if preset.swim is None else _swim(preset.swim)
        pings = Pings(msgspec.structs.replace(preset.pings, interval_s=interval_s), self.swim)
        self.ring = RingParts(interval_s, preset.ring, preset.routing, fingers=preset.fingers, pings=pings)
        self.ring.admission.agreed = agreed_of(store)
        self.records = Records(self.ring.router, preset.ring.bits)
        self.replicas = None if store is None else _replicas(self.ring.router, preset.ring.bits, store)
        """The replicated store, where it is wanted."""
        self.contacts = None if preset.fingers is None else Contacts(self.ring.admission)
        self.ready: Pending[None] = Pending()
        self._unmet: list[str] = []
        self.ring.chord.on_change.append(self._look)

    def protocols(self) -> tuple[Protocol, ...]:
        """In the order in which they are added to a node."""
        detector = () if self.swim is None else (self.swim,)
        contacts = () if self.contacts is None else (self.contacts,)
        replicas = () if self.replicas is None else (self.replicas, _desk(self.replicas))
        return *detector, *self.ring.protocols(), *contacts, self.records, *replicas

    def _look(self) -> None:
        chord = self.ring.chord
        if chord.member and not chord.awaited and not self._unmet:
            self.ready.resolve(None)

    # Coming --------------------------------------------------------------------------------------------------

    def setup(self, places: Sequence[Place]) -> None:
        """Begin with these successors, in this order; those named by address alone are greeted until they tell their id."""
        found: dict[int, Contact] = {}

        def greet(index: int, host: str, port: int) -> None:
            self.ring.chord.ctx.meet(
                host,
                port,
                lambda contact: met(index, contact),
                lambda failure: missed(index, host, port, failure),
                timeout_s=MEET_S,
            )

        def missed(index: int, host: str, port: int, failure: Failure) -> None:
            self.ring.chord.ctx.after(MEET_S, greet, index, host, port)

        def met(index: int, contact: Contact) -> None:
            found[index] = contact
            begin()

        def begin() -> None:
            if len(found) == len(places):
                self._unmet.clear()
                others = {c.id: c for _, c in sorted(found.items()) if c.id != self.ring.chord.ctx.me.id}
                self.ring.chord.begin(others.values(), awaited=True)

        self._unmet = [show_address(host, port) for number, host, port in places if number is None]
        for index, (number, host, port) in enumerate(places):
            if number is None:
                greet(index, host, port)
            else:
                found[index] = Contact(number, host, port)
        begin()

    def join(self, place: Place, timeout_s: float) -> Pending[None]:
        """Ask a peer of a ring to be let in."""
        return self.ring.admission.join(place[1], place[2], timeout_s)

    def come_back(self, begins: bool) -> Pending[bool]:
        """Find the ring that is remembered; with `begins`, or begin one."""
        if self.contacts is None:
            raise LocalError("a peer of the classroom's ring remembers nobody: setup or join")
        if not begins and not self.contacts.remembered:
            raise LocalError("no ring is remembered here; join one at an address, or create one")
        return self.contacts.come_back(begins=begins)

    # Looking -------------------------------------------------------------------------------------------------

    def view(self) -> PeerView:
        """This peer."""
        return picture_of(self.ring.chord.view(), self.records.view(), tuple(self._unmet))

    def walk(self, timeout_s: float) -> Pending[tuple[Neighbors, ...]]:
        """All peers of the ring, in order of their ids."""
        chord = self.ring.chord
        if not chord.member:
            raise LocalError(f"Peer {label(chord.ctx.me.id)} is in no ring yet")
        return Walk(chord.ctx, chord.picture(), timeout_s).outcome

    # Going ---------------------------------------------------------------------------------------------------

    def leave(self, then: Callable[[], None], timeout_s: float = GIVE_UP_S) -> None:
        """Tell those behind us, hand the records over; then call back."""

        def departed() -> None:
            self.records.leave(timeout_s).when_done(handed_over)

        def handed_over(_: object) -> None:
            if self.replicas is None:
                then()
            else:
                self.replicas.leave(timeout_s).when_done(lambda _: then())

        self.ring.admission.depart(departed)

    def left_behind(self) -> int:
        """How many records of the replicated store a peer that goes now has not handed over, although somebody is there."""
        return self.replicas.left_behind() if self.replicas is not None and self.ring.router.neighbor_set() else 0
