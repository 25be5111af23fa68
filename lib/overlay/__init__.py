"""Run, watch, break and measure peer-to-peer overlays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overlay.peer import Peer
    from overlay.peer.aio import AsyncPeer

__version__ = "0.1.0"
__all__ = ["AsyncPeer", "Peer", "__version__"]


def __getattr__(name: str) -> object:
    # Imported when it is used: `overlay.__version__` and the arguments of a command need no sockets.
    if name == "Peer":
        from overlay.peer import Peer

        return Peer
    if name == "AsyncPeer":
        from overlay.peer.aio import AsyncPeer

        return AsyncPeer
    raise AttributeError(f"module 'overlay' has no attribute {name!r}")
