"""The six services of an unstructured overlay, as one protocol in a node sees another one; no protocol imports a second.

Names and layers are those of UnsServ: everything rests on a membership; a clustering is one too, with a bias.
All of this happens inside the node: `overlay.peer.unstructured` has the same for programs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol as Interface

from overlay.core.message import Contact
from overlay.core.pending import Pending

Address = tuple[str, int]
OnNeighbor = Callable[[Contact, bool], None]
"""Told `(peer, True)` of a new neighbor and `(peer, False)` of one that is none any more."""


class Membership(Interface):
    """Knows a few of the others, at random, and replaces those that die."""

    def join(self, bootstrap: Collection[Address]) -> Pending[None]:
        """Enter the network by one of these, tried in turn; with none, begin it. Fails when none of them lets us in."""

    def neighbors(self) -> tuple[Contact, ...]:
        """The view: a bounded number of others, never this peer itself."""

    def sample(self, count: int, exclude: Collection[int] = ()) -> list[Contact]:
        """Up to `count` different neighbors at random, none whose id is in `exclude`."""

    def subscribe(self, listener: OnNeighbor) -> None:
        """Hear of each neighbor that comes or goes."""

    def unsubscribe(self, listener: OnNeighbor) -> None:
        """No longer."""


class Clustering(Membership, Interface):
    """A membership whose neighbors are those that a ranking prefers; lower is better."""


class Aggregation(Interface):
    """A value of the whole network, out of one that each peer has."""

    def aggregate(self) -> float:
        """What is known of it now."""

    def subscribe(self, listener: Callable[[float], None]) -> None:
        """Hear of each change."""

    def unsubscribe(self, listener: Callable[[float], None]) -> None:
        """No longer."""


class Sampling(Interface):
    """A peer drawn evenly from the whole network."""

    def get_sample(self) -> Pending[Contact]:
        """Indefinite when none was found in time."""


class Dissemination(Interface):
    """Brings bytes to everybody."""

    def broadcast(self, data: bytes) -> bytes:
        """Send to all, and return the broadcast's id. This peer does not hear its own."""

    def subscribe(self, listener: Callable[[bytes], None]) -> None:
        """Hear each broadcast of others, once."""

    def unsubscribe(self, listener: Callable[[bytes], None]) -> None:
        """No longer."""


class Searching(Interface):
    """Finds what somebody has published under a name."""

    def publish(self, name: str, data: bytes) -> None:
        """Let others find it here."""

    def unpublish(self, name: str) -> None:
        """No longer."""

    def search(self, name: str) -> Pending[bytes | None]:
        """The data; None when it was not found, which does not mean that it is not there."""
