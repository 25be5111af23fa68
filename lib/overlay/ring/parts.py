"""A ring's peer put together: pings, the ring, its routing, its door, and fingers unless it is the classroom's."""

from __future__ import annotations

from overlay.core.detector import FailureDetector
from overlay.core.protocol import Protocol
from overlay.ring.admission import Admission
from overlay.ring.chord import Chord
from overlay.ring.fingers import FingerConfig, Fingers
from overlay.ring.lookup import Lookups
from overlay.ring.neighborhood import RingConfig
from overlay.ring.pings import Pings
from overlay.ring.routing import RingRouter, RoutingConfig
from overlay.ring.watching import PingConfig


class RingParts:
    """The protocols of a ring at one peer, which know each other; not yet in a node."""

    def __init__(
        self,
        interval_s: float = 3.0,
        ring: RingConfig = RingConfig(),  # noqa: B008 -- frozen
        routing: RoutingConfig = RoutingConfig(),  # noqa: B008 -- frozen
        fingers: FingerConfig | None = None,
        pings: Pings | None = None,
        detector: FailureDetector | None = None,
    ):
        self.pings = pings if pings is not None else Pings(PingConfig(interval_s=interval_s), detector)
        self.chord = Chord(self.pings, ring)
        self.router = RingRouter(self.chord, routing)
        self.admission = Admission(self.chord, self.router)
        self.lookups = Lookups(self.chord, self.router.hops)
        self.fingers = None if fingers is None else Fingers(self.chord, self.router, fingers)

    def protocols(self) -> tuple[Protocol, ...]:
        """In the order in which they are added to a node."""
        protocols = (self.pings, self.chord, self.router, self.admission, self.lookups)
        return protocols if self.fingers is None else (*protocols, self.fingers)
