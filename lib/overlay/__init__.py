"""Run, watch, break and measure peer-to-peer overlays."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overlay.peer import Peer
    from overlay.peer.aio import AsyncPeer
    from overlay.peer.client import AsyncClient, Client, NoAnswer, NoRoom, NotFound
    from overlay.peer.unstructured.aio import get_dissemination_service, get_node, join_network

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "AsyncPeer",
    "Client",
    "NoAnswer",
    "NoRoom",
    "NotFound",
    "Peer",
    "__version__",
    "get_dissemination_service",
    "get_node",
    "join_network",
]

_HOMES = {
    "Peer": "overlay.peer",
    "AsyncPeer": "overlay.peer.aio",
    **dict.fromkeys(("AsyncClient", "Client", "NoAnswer", "NoRoom", "NotFound"), "overlay.peer.client"),
    "join_network": "overlay.peer.unstructured.aio",
    "get_dissemination_service": "overlay.peer.unstructured.aio",
    "get_node": "overlay.peer.unstructured.aio",
}


def __getattr__(name: str) -> object:
    # Imported when it is used: `overlay.__version__` and the arguments of a command need no sockets.
    if name not in _HOMES:
        raise AttributeError(f"module 'overlay' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
