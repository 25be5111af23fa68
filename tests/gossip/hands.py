"""What the tests of the services hold in their hands."""

from __future__ import annotations

from collections.abc import Collection

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.gossip.services import OnNeighbor


class Few:
    """A membership whose neighbors a test names; a sample is the first of them."""

    def __init__(self, *peers: Contact):
        self.peers = peers
        self.listeners: list[OnNeighbor] = []

    def join(self, bootstrap: Collection[tuple[str, int]]) -> Pending[None]:
        """Nobody joins here."""
        return Pending()

    def neighbors(self) -> tuple[Contact, ...]:
        return self.peers

    def sample(self, count: int, exclude: Collection[int] = ()) -> list[Contact]:
        return [peer for peer in self.peers if peer.id not in exclude][:count]

    def subscribe(self, listener: OnNeighbor) -> None:
        self.listeners.append(listener)

    def unsubscribe(self, listener: OnNeighbor) -> None:
        self.listeners.remove(listener)

    def tell(self, peer: Contact, up: bool) -> None:
        """A neighbor comes or goes."""
        self.peers = (*self.peers, peer) if up else tuple(other for other in self.peers if other != peer)
        for listener in self.listeners:
            listener(peer, up)
