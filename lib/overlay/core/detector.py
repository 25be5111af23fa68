"""The failure detector's interface: the ring's pings and SWIM both are one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Interface

from overlay.core.message import Contact


class FailureDetector(Interface):
    """Watches peers, and says once of each incarnation that it is dead."""

    def monitor(self, peer: Contact, on_dead: Callable[[Contact], None]) -> None:
        """Watch a peer from now on."""

    def forget(self, peer: Contact) -> None:
        """No longer."""

    def doubt(self, peer: Contact) -> None:
        """Somebody has a reason to think that the peer is dead: find out now."""
