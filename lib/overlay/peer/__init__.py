"""Peers to program with: `Peer` on threads, the pictures it shows."""

from overlay.peer.outcome import Outcome
from overlay.peer.peer import Peer
from overlay.peer.views import Neighbors, PeerView, TransferView

__all__ = ["Neighbors", "Outcome", "Peer", "PeerView", "TransferView"]
