"""A node's disk: what is durable stays when the node crashes."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping

from overlay.core.context import Failure, OnFailed, Reason
from overlay.core.pending import ignore
from overlay.core.storage import Batch, BlobRef, Entry, Export, Write


class Body:
    """Bytes, or only the length of bytes that nobody needs to see."""

    __slots__ = ("content", "ref")

    def __init__(self, content: bytes | int, name: str = ""):
        self.content = content
        if isinstance(content, bytes):
            self.ref = BlobRef(hashlib.sha256(content).digest(), len(content))
        else:
            self.ref = BlobRef(hashlib.sha256(f"{name}: {content} bytes".encode()).digest(), content)


EMPTY = Body(b"")
"""The body of a placeholder. Every disk has it."""


class Partial:
    """The ranges of a body that have come, and from which body of the other side."""

    __slots__ = ("coming", "pieces", "ref")

    def __init__(self, ref: BlobRef):
        self.ref = ref
        self.pieces: list[tuple[int, int, Body]] = []
        self.coming: list[tuple[int, int]] = []
        """Ranges that are being fetched."""

    def claim(self, start: int, end: int) -> bool:
        """Begin to fetch a range; False where some of it is being fetched already."""
        free = all(end <= low or high <= start for low, high in self.coming)
        if free:
            self.coming.append((start, end))
        return free

    def put(self, start: int, end: int, source: Body) -> None:
        """The bytes [start, end) of `source` have come."""
        self.pieces.append((start, end, source))
        self.pieces.sort(key=lambda piece: piece[:2])

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """What is missing of [start, end). An empty body is missing too, until somebody has shown that he has it."""
        if not self.pieces and not self.ref.size:
            return [(0, 0)]
        gaps = []
        for low, high, _ in self.pieces:
            if start < min(low, end):
                gaps.append((start, min(low, end)))
            start = max(start, high)
        if start < end:
            gaps.append((start, end))
        return gaps


class Disk:
    """Batches become durable one after the other; a crash keeps a beginning of what was being written."""

    def __init__(self, *, write_s: tuple[float, float] = (0.001, 0.005)):
        self.write_s = write_s
        self.full = False
        """Set it to have everything refused that needs space."""
        self.quota: int | None = None
        """Bytes that bodies and the values of entries may take; whatever would be more is refused."""
        self.entries: dict[str, dict[str, Entry]] = {}
        """What is durable, by service and key."""
        self.bodies: dict[bytes, Body] = {}
        """Bodies of the node's own, by hash. One stays while an entry needs it, or until it was used once."""
        self.files: dict[str, Body] = {}
        """The shared folder."""
        self.unreadable: set[str] = set()
        """Names in the shared folder that are no files, or files that cannot be read."""
        self.hash_rate = math.inf
        """Bytes a second at which a file of the shared folder is hashed."""
        self._partial: dict[BlobRef, Partial] = {}
        self._fresh: Counter[bytes] = Counter()
        """How often a body was fetched that was not yet used for it."""
        self.offered: dict[bytes, Body] = {}
        """Files of the shared folder that can be fetched from here until the node stops."""
        self._writing: list[tuple[str, Batch]] = []
        self._idle_at = 0.0

    def put_files(self, files: Mapping[str, bytes | int]) -> None:
        """Lay files into the shared folder; a number stands for that many bytes."""
        for name, content in files.items():
            self.files[name] = Body(content, name)

    def begin(self) -> None:
        """A new incarnation: what no entry needs is thrown away."""
        for sha256 in list(self.bodies):
            self._collect(sha256)

    def body(self, sha256: bytes) -> Body | None:
        """A body that can be fetched from here."""
        if sha256 == EMPTY.ref.sha256:
            return EMPTY
        return self.bodies.get(sha256) or self.offered.get(sha256)

    def partial(self, ref: BlobRef) -> Partial:
        """What has come of a body."""
        partial = self._partial.setdefault(ref, Partial(ref))
        own = EMPTY if ref == EMPTY.ref else self.bodies.get(ref.sha256)
        if own is not None and not partial.pieces and not partial.coming:
            partial.put(0, ref.size, own)
        return partial

    def adopt(self, partial: Partial) -> bool:
        """Keep a body that has come whole; False, and it is thrown away, where a piece came of other bytes."""
        self._partial.pop(partial.ref, None)
        source = partial.pieces[0][2]
        if any(body.ref != partial.ref for _, _, body in partial.pieces):
            partial.pieces.clear()
            return False
        self.bodies[source.ref.sha256] = source
        self._fresh[source.ref.sha256] += 1
        return True

    def make(self, data: bytes) -> BlobRef:
        """Keep these bytes as a body, as if they had been fetched."""
        body = Body(data)
        self.bodies[body.ref.sha256] = body
        self._fresh[body.ref.sha256] += 1
        return body.ref

    def stored(self, service: str) -> dict[str, Entry]:
        """A copy of what a service has made durable."""
        return dict(self.entries.get(service, {}))

    def plan(self, now: float, rng: random.Random, service: str, batch: Batch) -> float:
        """Begin to write; the time at which it will be done. Its caller then says `finish`."""
        self._idle_at = max(now, self._idle_at) + rng.uniform(*self.write_s)
        self._writing.append((service, batch))
        return self._idle_at

    def lacks(self, size: int = 0) -> Failure | None:
        """Why there is no room for what comes and so many bytes more."""
        if self.full:
            return Failure(Reason.NO_SPACE, "no space left on the disk")
        if self.quota is None:
            return None
        kept = sum(len(entry.value) for entries in self.entries.values() for entry in entries.values())
        coming = sum(partial.ref.size for partial in self._partial.values() if partial.coming)
        if sum(body.ref.size for body in self.bodies.values()) + kept + coming + size > self.quota:
            return Failure(Reason.NO_SPACE, f"no room for {size} bytes within the quota of {self.quota}")
        return None

    def rot(self, sha256: bytes) -> None:
        """A body is no longer what was written, and nobody is told."""
        body = self.bodies[sha256]
        if isinstance(body.content, bytes):
            self.bodies[sha256] = Body(bytes([body.content[0] ^ 1]) + body.content[1:])
        else:
            self.bodies[sha256] = Body(body.content, "rotten")

    def scrub(self, service: str) -> list[tuple[str, BlobRef]]:
        """Forget bodies that are not what was written, and say which keys of a service had them."""
        found = [
            (key, entry.blob)
            for key, entry in self.entries.get(service, {}).items()
            if entry.blob is not None and (body := self.body(entry.blob.sha256)) is not None and body.ref != entry.blob
        ]
        for _, ref in found:
            self.bodies.pop(ref.sha256, None)
        return found

    def refusal(self, batch: Batch) -> Failure | None:
        """Why a batch cannot be written."""
        if self.full or self.quota is not None:
            writes = [step.entry for step in batch if isinstance(step, Write) and step.entry is not None]
            adopted = {
                entry.blob for entry in writes if entry.blob is not None and entry.blob.sha256 not in self.bodies
            }
            size = sum(len(entry.value) for entry in writes) + sum(ref.size for ref in adopted)
            if (self.full or size) and (lack := self.lacks(size)) is not None:
                return lack
        if any(self.body(sha256) is None for sha256 in _used(batch)):
            return Failure(Reason.LOCAL, "a body that was neither fetched nor found")
        return None

    def finish(self, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        """The batch that was planned first is written, or fails as a whole."""
        service, batch = self._writing.pop(0)
        failure = self.refusal(batch)
        if failure is not None:
            on_failed(failure)
            return
        self._do(service, batch)
        on_durable()

    def flush(self) -> None:
        """Finish what is being written, for a clean stop; nobody is left to be told."""
        while self._writing:
            self.finish(ignore, ignore)
        self._forget()

    def crash(self, rng: random.Random) -> None:
        """Lose what is not durable. Batches that wait share syncs: some may be done, in order, and a beginning of the next."""
        count = rng.randrange(len(self._writing) + 1) if self._writing else 0
        for number, (service, batch) in enumerate(self._writing[: count + 1]):
            if self.refusal(batch) is None:
                self._do(service, batch if number < count else batch[: rng.randrange(len(batch) + 1)])
        self._forget()

    def _forget(self) -> None:
        self._writing.clear()
        self._partial.clear()
        self._fresh.clear()
        self.offered.clear()
        self._idle_at = 0.0

    def _do(self, service: str, batch: Batch) -> None:
        entries = self.entries.setdefault(service, {})
        touched = _used(batch)
        for step in batch:
            if isinstance(step, Export):
                self.files[step.name] = self._get(step.blob)
                continue
            before = entries.pop(step.key, None)
            if before is not None and before.blob is not None:
                touched.append(before.blob.sha256)
            if step.entry is not None:
                entries[step.key] = step.entry
                if step.entry.blob is not None:
                    self.bodies[step.entry.blob.sha256] = self._get(step.entry.blob)
        self._fresh -= Counter(set(_used(batch)))
        for sha256 in touched:
            self._collect(sha256)

    def _get(self, ref: BlobRef) -> Body:
        body = self.body(ref.sha256)
        assert body is not None
        return body

    def _collect(self, sha256: bytes) -> None:
        """Throw a body away that nobody needs any more."""
        entries = (entry for service in self.entries.values() for entry in service.values())
        needed = any(entry.blob is not None and entry.blob.sha256 == sha256 for entry in entries)
        if not needed and sha256 not in self._fresh:
            self.bodies.pop(sha256, None)


def _used(batch: Batch) -> list[bytes]:
    """The bodies that a batch names."""
    named: list[Export | Entry | None] = [step if isinstance(step, Export) else step.entry for step in batch]
    return [step.blob.sha256 for step in named if step is not None and step.blob is not None]
