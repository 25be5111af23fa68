"""A node's disk: what is durable stays when the node crashes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping

from overlay.core.context import Failure, OnFailed, Reason
from overlay.core.storage import Batch, BlobRef, Entry, Step, Write


class Body:
    """Bytes, or only the length of bytes that nobody needs to see."""

    __slots__ = ("content", "ref")

    def __init__(self, content: bytes | int, name: str = ""):
        self.content = content
        if isinstance(content, bytes):
            self.ref = BlobRef(hashlib.sha256(content).digest(), len(content))
        else:
            self.ref = BlobRef(hashlib.sha256(f"{name}: {content} bytes".encode()).digest(), content)


class Partial:
    """The ranges of a body that have come, and from which body of the other side."""

    __slots__ = ("pieces", "ref")

    def __init__(self, ref: BlobRef):
        self.ref = ref
        self.pieces: list[tuple[int, int, Body]] = []

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
    """Batches become durable one after the other; a crash keeps a beginning of the one that is being written."""

    def __init__(self, *, write_s: tuple[float, float] = (0.001, 0.005)):
        self.write_s = write_s
        self.full = False
        """Set it to have everything refused that needs space."""
        self.entries: dict[str, dict[str, Entry]] = {}
        """What is durable, by service and key."""
        self.bodies: dict[bytes, Body] = {}
        """Bodies of the node's own, by hash."""
        self.files: dict[str, Body] = {}
        """The shared folder."""
        self._partial: dict[BlobRef, Partial] = {}
        self.offered: dict[bytes, Body] = {}
        """Files of the shared folder that can be fetched from here until the node stops."""
        self._writing: list[tuple[str, Batch]] = []
        self._idle_at = 0.0

    def put_files(self, files: Mapping[str, bytes | int]) -> None:
        """Lay files into the shared folder; a number stands for that many bytes."""
        for name, content in files.items():
            self.files[name] = Body(content, name)

    def body(self, sha256: bytes) -> Body | None:
        """A body that can be fetched from here."""
        return self.bodies.get(sha256) or self.offered.get(sha256)

    def partial(self, ref: BlobRef) -> Partial:
        """What has come of a body."""
        partial = self._partial.setdefault(ref, Partial(ref))
        own = self.bodies.get(ref.sha256)
        if own is not None and not partial.pieces:
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
        return True

    def stored(self, service: str) -> dict[str, Entry]:
        """A copy of what a service has made durable."""
        return dict(self.entries.get(service, {}))

    def plan(self, now: float, rng: random.Random, service: str, batch: Batch) -> float:
        """Begin to write; the time at which it will be done. Its caller then says `finish`."""
        self._idle_at = max(now, self._idle_at) + rng.uniform(*self.write_s)
        self._writing.append((service, batch))
        return self._idle_at

    def refusal(self, batch: Batch) -> Failure | None:
        """Why a batch cannot be written."""
        if self.full:
            return Failure(Reason.LOCAL, "no space left on the disk")
        for step in batch:
            ref = step.blob if not isinstance(step, Write) else step.entry.blob if step.entry is not None else None
            if ref is not None and self.body(ref.sha256) is None:
                return Failure(Reason.LOCAL, "a body that was neither fetched nor found")
        return None

    def finish(self, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        """The batch that was planned first is written, or fails as a whole."""
        service, batch = self._writing.pop(0)
        failure = self.refusal(batch)
        if failure is not None:
            on_failed(failure)
            return
        for step in batch:
            self._write(service, step)
        on_durable()

    def flush(self) -> None:
        """Finish what is being written, for a clean stop; nobody is left to be told."""
        while self._writing:
            self.finish(_nobody, _nobody)
        self.offered.clear()

    def crash(self, rng: random.Random) -> None:
        """Lose what is not durable; a beginning of the batch being written may be done."""
        if self._writing and self.refusal(self._writing[0][1]) is None:
            service, batch = self._writing[0]
            for step in batch[: rng.randrange(len(batch) + 1)]:
                self._write(service, step)
        self._writing.clear()
        self.offered.clear()
        self._idle_at = 0.0

    def _write(self, service: str, step: Step) -> None:
        if not isinstance(step, Write):
            self.files[step.name] = self._keep(step.blob)
        elif step.entry is None:
            self.entries.get(service, {}).pop(step.key, None)
        else:
            self.entries.setdefault(service, {})[step.key] = step.entry
            if step.entry.blob is not None:
                self._keep(step.entry.blob)

    def _keep(self, ref: BlobRef) -> Body:
        body = self.body(ref.sha256)
        assert body is not None
        self.bodies[ref.sha256] = body
        return body


def _nobody(*_: object) -> None:
    """Hears what nobody waits for."""
