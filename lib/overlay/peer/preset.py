"""The kinds of ring that a peer can live in: the classroom's, and Chord's for everywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from overlay.errors import LocalError
from overlay.ids import CHORD_BITS, CLASSROOM_BITS, WIDTHS
from overlay.ring.fingers import FingerConfig
from overlay.ring.messages import LONGEST, Shape
from overlay.ring.neighborhood import RingConfig
from overlay.ring.routing import RoutingConfig
from overlay.ring.watching import PingConfig

if TYPE_CHECKING:
    from overlay.gossip.detection.messages import SwimConfig
    from overlay.store.replicated.config import ReplicasConfig

SUCCESSORS = 8
"""Of a list outside the classroom: with half of the peers dead at once, a list of 8 is lost once in 256 times."""


STORE_AGREED = ("copies", "durable", "tombstone_s")
"""With other copies two roots would undo each other's work; who forgets deletions sooner would bring back what was deleted."""


class Preset(msgspec.Struct, frozen=True):
    """What a peer's protocols are made with; the defaults are the classroom's."""

    ring: RingConfig = RingConfig()
    fingers: FingerConfig | None = None
    """None: no fingers, and nothing is remembered over restarts either."""
    swim: SwimConfig | None = None
    """If given, SWIM with Lifeguard says who is dead, and not the silence of pings; the same at every peer of a ring."""
    pings: PingConfig = PingConfig()
    """Its interval is the peer's own."""
    routing: RoutingConfig = RoutingConfig()


CLASSROOM = Preset()


def check_bits(bits: int) -> int:
    """A width of ids that people can be shown alike; LocalError for another."""
    if not (CLASSROOM_BITS <= bits <= 32 or bits in WIDTHS):
        raise LocalError(f"ids have 8 to 32, 64, 128 or 160 bits, not {bits}")
    return bits


def check_successors(count: int) -> int:
    """LocalError for a list that is too short to be shown, or too long for a message."""
    if not 2 <= count <= LONGEST:
        raise LocalError(f"a list has 2 to {LONGEST} successors, not {count}")
    return count


def chord(bits: int = CHORD_BITS, successors: int = SUCCESSORS, *, swim: bool = False) -> Preset:
    """A ring with fingers."""
    ring = RingConfig(bits=check_bits(bits), successors=check_successors(successors))
    if not swim:
        return Preset(ring, FingerConfig())
    from overlay.gossip.detection.messages import SwimConfig

    return Preset(ring, FingerConfig(), SwimConfig())


def agreed_of(store: ReplicasConfig | None) -> tuple[tuple[str, float], ...]:
    """In what the peers of a ring with such a store have to agree; see `Shape`."""
    return () if store is None else tuple([(f"store.{name}", float(getattr(store, name))) for name in STORE_AGREED])


def of_shape(shape: Shape) -> Preset:
    """What fits into a ring that was asked for its shape; LocalError where that is a classroom's, or none of ours."""
    if not shape.fingers:
        raise LocalError("it is a classroom's ring; join it by: peer.py join PEER KNOWN_PEER PING_INTERVAL")
    return chord(shape.bits, shape.successors, swim=shape.swim)
