"""What a driver needs of a disk. Everything here may block: a driver calls it on a pool, never inside a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol as Interface

from overlay.core.storage import Batch, BlobRef, Entry
from overlay.errors import LocalError


class Partial(Interface):
    """A body on its way to the disk. One at a time for a reference; it grows from its beginning.

    Every byte goes through `write` and through `check`, in order; one thread may write while another checks, because
    a disk and SHA-256 together are slower than either.
    """

    have: int
    """Bytes that are there, from the beginning of the body; those of an earlier attempt have been checked already."""

    def write(self, data: memoryview) -> None:
        """Append; `have` grows. LocalError when the disk will not."""

    def check(self, data: memoryview) -> None:
        """Feed the hash."""

    def finish(self) -> None:
        """Compare the hash, sync, rename into the store; `source` knows it from now on.

        RemoteError when these are not the bytes of the reference: they are gone then. LocalError when the disk will not.
        """

    def close(self) -> None:
        """No more for now; after anything but `finish`, what has come stays for another attempt. Never raises."""


class Scrub(Interface):
    """A look at whether everything is still what was written."""

    def run(self, on_rotten: Callable[[tuple[str, str], BlobRef | None], None]) -> bool:
        """Look, and tell service and key of what is not: a body is forgotten then, with None the entry itself is damaged.

        False when it was cancelled.
        """

    def cancel(self) -> None:
        """Stop it soon; from any thread."""


class BlobStore(Interface):
    """The durable side of one peer. Methods may be called by several threads at a time."""

    def entries(self, service: str) -> Mapping[str, Entry]:
        """What is durable for a service. LocalError when the disk cannot be read."""

    def write_all(
        self, batches: Sequence[tuple[str, Batch]], on_done: Callable[[list[LocalError | None]], None]
    ) -> Callable[[], None]:
        """Do the batches of services in order, all but for the last sync of the disk: that is what comes back, to be called.

        What was written by the time that it is called, by others too, may share that sync. `on_done` is told of each batch
        when it is durable, or why it is not, by any thread; one that fails does not fail the others.
        """

    def find(self, name: str) -> BlobRef:
        """Hash a file of the shared folder; `source` serves it from then on.

        NotThere where there is none, LocalError where it cannot be read.
        """

    def source(self, ref: BlobRef) -> Path | None:
        """Where the whole body can be read from, None if it is not here."""

    def partial(self, ref: BlobRef) -> Partial:
        """Begin a body, or go on with one that was cut. Its room stays reserved until it is finished or closed.

        LocalError when the disk has no room, a quota is hit, or the same body is open already.
        """

    def scrub(self, bytes_per_s: float) -> Scrub:
        """Begin to look, no faster than that. It ends with the store."""
