"""The parameters of the replicated store, and what it tells."""

from __future__ import annotations

import msgspec

from overlay.errors import LocalError, RemoteError
from overlay.store.replicated.messages import NEVER, Version


class ReplicasConfig(msgspec.Struct, frozen=True):
    """How many copies, and how patiently. All peers of a ring use the same."""

    copies: int = 3
    """Of every record (the papers' k)."""
    durable: int = 3
    """Copies on disk before a put is acknowledged (w): as many permanent losses less one are survived. k // 2 + 1 answers
    sooner and survives fewer."""
    fewer_s: float = 900.0
    """A ring that sees fewer than w peers acknowledges with as many as there are, once nobody was missed for so long:
    whoever fell silent and may come back counts until then."""
    sync_s: float = 10.0
    """Between two comparisons of the root with its replicas; a copy that is missing is noticed after so long."""
    answer_s: float = 2.0
    """For the answer of a replica; then the next peer of the ring is asked too."""
    write_s: float = 10.0
    """For a root to bring a record to w peers."""
    deadline_s: float = 30.0
    """For a put, a get or a delete; after that nobody knows."""
    tombstone_s: float = 30 * 86400.0
    """A deletion is remembered for so long: longer than any peer is away, or the network cut."""
    forget_s: float = 600.0
    """Between two looks for what was deleted so long ago."""
    scrub_s: float = 86400.0
    """Between two readings of all that is on disk: bits rot, and a copy that is damaged is no copy."""
    scrub_bytes_per_s: float = 10e6
    """No faster than that: a tenth of a slow disk."""

    def check(self) -> None:
        """LocalError for what cannot be."""
        if not 1 <= self.durable <= self.copies <= 8:
            raise LocalError(
                f"durable = {self.durable} and copies = {self.copies}: it must be 1 <= durable <= copies <= 8"
            )


class Acked(msgspec.Struct, frozen=True):
    """A put or a delete is durable."""

    version: Version
    copies: int
    """Distinct peers that had it on disk by then."""


class Got(msgspec.Struct, frozen=True):
    """A record as it was read."""

    name: bytes
    version: Version
    value: bytes
    expires: float = 0.0
    """Seconds since 1970; 0: never."""


class NotFound(RemoteError):
    """There is no such record. `version` is that of its deletion, as far as it is remembered."""

    def __init__(self, name: bytes, version: Version = NEVER):
        super().__init__(f"{name.decode(errors='replace')} is not stored")
        self.name = name
        self.version = version


class Listed(msgspec.Struct, frozen=True):
    """One record in a list."""

    name: bytes
    size: int
    version: Version
    expires: float = 0.0


class Status(msgspec.Struct, frozen=True):
    """One peer's part of the store."""

    keys: int
    """Records and tombstones on its disk."""
    own: int
    """Of these, such as it is the root of."""
    surplus: int
    """Of these, such as it may forget once the right peers have them, or has not compared with their root yet."""
    coming: int
    """Writes of which it is the root, and that have not reached w peers."""
    complete: bool
    """Whether all that it is responsible for is at the right k peers, as far as it knows. When every peer says so, no
    copy is missing anywhere; one that is left over may be noticed up to three periods of `sync_s` later."""


class StoreView(msgspec.Struct, frozen=True):
    """What is here."""

    status: Status
    names: tuple[bytes, ...]
