"""Values that are too long to lie in an item: bodies, which are pulled by whoever is to keep or read them.

A body is named by its hash, so wrong bytes are not taken from anybody, and the next holder is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overlay.core.context import Context, Failure, OnFailed
from overlay.core.message import Contact
from overlay.core.pending import ignore
from overlay.core.storage import BlobRef, Entry, Write

AGAIN_S = 0.3
TRIES = 10
"""To make a body, while the same one comes from elsewhere."""
SLOWEST_BYTES_PER_S = 128 * 1024
"""A body that comes more slowly is not waited for."""
PASSING = "passing/"


class Bodies:
    """The bodies that pass through one peer."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: Context):
        self._ctx = ctx

    def make(self, data: bytes, on_made: Callable[[BlobRef], None], on_failed: OnFailed, tries: int = TRIES) -> None:
        """A body of a value that is written here; to be released when it is written."""

        def failed(failure: Failure) -> None:
            if tries > 1:
                self._ctx.after(AGAIN_S, self.make, data, on_made, on_failed, tries - 1)
            else:
                on_failed(failure)

        self._ctx.make_blob(data, on_made, failed)

    def pull(self, ref: BlobRef, holders: Sequence[Contact], on_here: Callable[[], None], on_failed: OnFailed) -> None:
        """Fetch a body from one of its holders; used for an entry, or to be released."""

        def failed(failure: Failure) -> None:
            if len(holders) > 1:
                self.pull(ref, holders[1:], on_here, on_failed)
            else:
                on_failed(failure)

        # A body that is here is not asked for, whoever is named.
        self._ctx.fetch_blob(holders[0] if holders else self._ctx.me, ref, 0, ref.size, on_here, failed)

    def read(
        self, ref: BlobRef, holders: Sequence[Contact], on_read: Callable[[bytes], None], on_failed: OnFailed
    ) -> None:
        """The bytes of a body that lies here or elsewhere."""

        def here() -> None:
            self._ctx.read_blob(ref, read, failed)

        def read(data: bytes) -> None:
            self.release(ref)
            on_read(data)

        def failed(failure: Failure) -> None:
            self.release(ref)
            on_failed(failure)

        self.pull(ref, holders, here, on_failed)

    def release(self, ref: BlobRef) -> None:
        """A body that was made or pulled is not needed here for that any more."""
        # What is kept for no entry stays until it was used for one.
        key = PASSING + ref.sha256.hex()
        self._ctx.persist((Write(key, Entry(b"", ref)), Write(key, None)), ignore, ignore)


def patience_s(size: int) -> float:
    """For a body of so many bytes to come."""
    return size / SLOWEST_BYTES_PER_S
