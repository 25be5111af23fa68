"""The Context of the live drivers: every call goes to the driver, which is inside the node's monitor at that time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from overlay.core.context import Context, OnFailed, Timer, Transfer
from overlay.core.message import ONE_WAY, Contact, Message
from overlay.core.storage import Batch, BlobRef, Entry

if TYPE_CHECKING:
    from overlay.live.driver import Driver


CHANCE = random.SystemRandom()
"""Chance that nobody can foresee, and that costs a peer no memory: only a simulation has to be repeated."""


class LiveContext(Context):
    """See `Context`."""

    __slots__ = ("_driver", "_stored", "heard")

    def __init__(self, driver: Driver, service: str):
        super().__init__(driver.node, service, None)
        self._rng = CHANCE
        self._driver = driver
        self.heard = driver.is_heard
        self._stored = driver.blobs.entries(service)

    @property
    def now(self) -> float:
        return time.monotonic()

    @property
    def wall(self) -> float:
        return time.time()

    def send(self, peer: Contact, message: Message) -> None:
        self._driver.transmit(self.node, peer, ONE_WAY, self.service, 0, message)

    def meet(
        self, host: str, port: int, on_contact: Callable[[Contact], None], on_failed: OnFailed, *, timeout_s: float
    ) -> None:
        self._driver.hellos.ask((host, port), on_contact, on_failed, timeout_s)

    def after(self, delay_s: float, callback: Callable[..., None], *args: Any) -> Timer:
        return self._driver.after(self.node, delay_s, callback, args)

    def watch(self, peer: Contact, on_down: Callable[[Contact], None]) -> None:
        self._driver.watches.add(self.service, peer, on_down)

    def unwatch(self, peer: Contact) -> None:
        self._driver.watches.remove(self.service, peer)

    def close(self) -> None:
        self._driver.watches.forget(self.service)

    def stored(self) -> Mapping[str, Entry]:
        return self._stored

    def persist(self, batch: Batch, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        self._driver.persist(self.service, batch, on_durable, on_failed)

    def find_blob(self, name: str, on_found: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        self._driver.find_blob(name, on_found, on_failed)

    def make_blob(self, data: bytes, on_made: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        self._driver.make_blob(data, on_made, on_failed)

    def read_blob(self, ref: BlobRef, on_read: Callable[[bytes], None], on_failed: OnFailed) -> None:
        self._driver.read_blob(ref, on_read, on_failed)

    def fetch_blob(
        self,
        peer: Contact,
        ref: BlobRef,
        start: int,
        end: int,
        on_done: Callable[[], None],
        on_failed: OnFailed,
    ) -> Transfer:
        return self._driver.fetch_blob(Transfer(peer, ref), start, end, on_done, on_failed)

    def scrub(
        self,
        on_rotten: Callable[[str, BlobRef | None], None],
        on_done: Callable[[], None],
        *,
        bytes_per_s: float,
    ) -> Callable[[], None]:
        return self._driver.scrub(self.service, on_rotten, on_done, bytes_per_s)

    def notify(self, event: msgspec.Struct) -> None:
        self._driver.notify(self.service, event)

    def record(self, what: str, **fields: Any) -> None:
        for observer in self._driver.observers:
            observer.recorded(time.monotonic(), self.me, self.service, what, fields)
