"""What all machines share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from overlay.core.message import Contact
from overlay.core.trace import Observer
from overlay.ids import Key
from overlay.sim.agenda import Agenda
from overlay.sim.network import Network

if TYPE_CHECKING:
    from overlay.sim.context import SimContext
    from overlay.sim.machine import Machine
    from overlay.sim.post import Post


class World:
    """Time, the network, who lives where, and who looks on."""

    __slots__ = ("agenda", "direct", "drops", "network", "observers", "places", "post", "seats", "seed", "watchers")

    post: Post

    def __init__(self, seed: object, network: Network, observers: Sequence[Observer], encode: bool):
        self.seed = seed
        self.agenda = Agenda()
        self.network = network
        self.observers = tuple(observers)
        self.direct = not self.observers and not encode
        """Whether datagrams may go from context to context, with nobody looking on in between."""
        self.places: dict[tuple[str, int], Machine] = {}
        """The machines that are alive, by address."""
        self.seats: defaultdict[str, dict[Key, SimContext]] = defaultdict(dict)
        """By service and id; see SimContext."""
        self.watchers: defaultdict[tuple[str, int], dict[SimContext, None]] = defaultdict(dict)
        """By address, who watches a peer there; in the order in which they began."""
        self.drops: Counter[str] = Counter()
        network.begin(seed)

    def dropped(self, node: Contact, sender: Contact | None, why: str) -> None:
        """Count a message to `node` that went nowhere."""
        self.drops[why] += 1
        for observer in self.observers:
            observer.dropped(self.agenda.now, node, sender, why)

    def fault(self, node: Contact, what: str) -> None:
        """Tell observers what is done to a node."""
        for observer in self.observers:
            observer.fault(self.agenda.now, node, what)
