"""What a network does wrong. Its chances are a stream of their own: without faults, nothing else changes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from overlay.core.message import Contact
from overlay.sim.network import Network

Address = tuple[str, int]


class Faults(Network):
    """Another network, with datagrams lost, doubled or late, and with links cut.

    Commands suffer from cuts alone: what is sent into a cut is gone without a word, as from a full wire.
    """

    plain = False

    def __init__(
        self,
        network: Network | None = None,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        reorder_s: float = 0.05,
    ):
        self.network = network or Network()
        self.loss = loss
        self.duplicate = duplicate
        self.reorder = reorder
        """Each from 0 to 1, of all datagrams."""
        self.reorder_s = reorder_s
        """A datagram that is out of order comes up to so much later."""
        self._cut: set[tuple[Address, Address]] = set()
        self._group: dict[Address, int] = {}
        super().__init__(delay_s=self.network.delay_s, rate=self.network.rate)

    def begin(self, seed: object) -> None:
        self.network.begin(seed)
        self.delays = self.network.delays
        self._chance = random.Random(f"{seed}/faults").random

    def copies(self, sender: Contact, peer: Contact, reliable: bool) -> Sequence[float]:
        if not self.passes(sender, peer):
            return ()
        delays = self.network.copies(sender, peer, reliable)
        if reliable:
            return delays
        chance = self._chance
        if self.loss and chance() < self.loss:
            return ()
        if self.duplicate and chance() < self.duplicate:
            delays = (*delays, self.draw())
        if self.reorder:
            return [delay + chance() * self.reorder_s if chance() < self.reorder else delay for delay in delays]
        return delays

    def passes(self, sender: Contact, peer: Contact) -> bool:
        if not self._cut and not self._group:
            return True
        source, target = sender.address, peer.address
        return (source, target) not in self._cut and self._group.get(source, 0) == self._group.get(target, 0)

    def cut(self, sender: Contact, peer: Contact) -> None:
        """Let nothing pass from one to the other; the way back stays open."""
        self._cut.add((sender.address, peer.address))

    def partition(self, *groups: Iterable[Contact]) -> None:
        """Let nothing pass between the groups; who is in none of them is in one more together."""
        self._group = {contact.address: number for number, group in enumerate(groups, 1) for contact in group}

    def heal(self) -> None:
        """Undo every cut and partition."""
        self._cut.clear()
        self._group.clear()
