"""Clients of a ring's store: `Client` blocks, `AsyncClient` is awaited. Neither is a peer."""

from overlay.peer.client.aio import AsyncClient
from overlay.peer.client.blocking import Client
from overlay.peer.client.line import NoAnswer, NoRoom
from overlay.store.replicated.config import NotFound

__all__ = ["AsyncClient", "Client", "NoAnswer", "NoRoom", "NotFound"]
