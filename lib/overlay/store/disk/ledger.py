"""Which entries a peer keeps, and how several batches of them become durable together.

Bodies first, with the names of their files; then, in one commit, the entries; then what people see, and bodies that nobody needs
any more. Only what must not be shown once it is forgotten is hidden before.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from overlay.core.storage import BlobRef, Write
from overlay.errors import LocalError
from overlay.store.disk.bodies import Bodies
from overlay.store.disk.folder import as_local_error
from overlay.store.disk.home import Home
from overlay.store.disk.index import Row
from overlay.store.disk.rows import Place, check_key, decode, encode
from overlay.store.disk.shown import Shown

log = logging.getLogger(__name__)


class Staged:
    """What one batch will have written once it is committed."""

    __slots__ = ("hidden", "refs", "rows", "size")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.refs: list[BlobRef | None] = []
        """The body of each row."""
        self.hidden: list[str] = []
        self.size = 0


class Ledger:
    """One thread at a time uses it."""

    __slots__ = ("_bodies", "_coming", "_home", "_is_rooted", "_shown", "_source", "kept")

    def __init__(self, home: Home, bodies: Bodies, shown: Shown, source: Callable[[BlobRef], Path | None]):
        self._home = home
        self._bodies = bodies
        self._shown = shown
        self._source = source
        self._is_rooted = False
        """Whether our folders themselves are durable."""
        bodies.on_return = self.show
        self.kept: dict[Place, tuple[BlobRef | None, int]] = {}
        """The body of every entry, and its bytes without that."""
        self._coming: Counter[Place] = Counter()
        """How often each is being written."""

    def load(self) -> list[str]:
        """Count and show what is kept. What is damaged: rows that are not what was written, or whose body is gone."""
        damaged = []
        for service, key, data in self._home.rows():
            row = decode(data, (service, key))
            ref = row[1].blob if row is not None else None
            if row is None or (ref is not None and not self._bodies.has(ref)):
                damaged.append(key)
                continue
            self._bodies.entry_bytes += len(data)
            if ref is not None:
                self._bodies.users[ref] += 1
            self._count((service, key), ref, len(data))
        return damaged

    def empty(self) -> None:
        """Keep nothing of what an earlier run left."""
        for _, key, _ in self._home.rows():
            self._shown.hide(key)
        self._home.empty()

    def places_of(self, ref: BlobRef) -> list[Place]:
        """The entries that need a body."""
        return [place for place, (body, _) in tuple(self.kept.items()) if body == ref]

    def show(self, ref: BlobRef) -> None:
        """Let people see a body again."""
        for _, key in self.places_of(ref):
            self._shown.show(key, ref)

    def lose(self, ref: BlobRef, *, hide: bool) -> list[Place]:
        """A body is not what it was: forget it, but not who needs it. Those are told."""
        places = self.places_of(ref)
        for _, key in places if hide else ():
            self._shown.hide(key)
        self._bodies.forget(ref)
        return places

    def lasting(self, service: str, steps: Sequence[Write]) -> Sequence[Write]:
        """Without what leaves no trace: an entry that was not there, and that is written and deleted at once."""
        if len(steps) == 2 and steps[0].key == steps[1].key and steps[0].entry is not None and steps[1].entry is None:
            place = service, steps[0].key
            return steps if place in self.kept or self._coming[place] else ()
        return steps

    def stage(self, service: str, steps: Sequence[Write]) -> Staged:
        """Have everything here that the entries refer to, and count it; LocalError where that cannot be."""
        staged = Staged()
        try:
            with as_local_error(self._shown.folder.path):
                for step in steps:
                    self._stage_one(staged, service, step)
        except LocalError:
            self.undo(staged)
            raise
        return staged

    def _stage_one(self, staged: Staged, service: str, step: Write) -> None:
        if step.entry is None:
            staged.rows.append((service, check_key(step.key), None))
            self._coming[service, step.key] += 1
            staged.refs.append(None)
            if self._shown.hide(step.key):
                staged.hidden.append(step.key)
            return
        data, ref = encode(service, step.key, step.entry), step.entry.blob
        self._bodies.reserve(len(data))
        if ref is not None:
            self._bodies.adopt(ref, self._source(ref))
            self._bodies.users[ref] += 1
        self._bodies.entry_bytes += len(data)
        staged.size += len(data)
        staged.rows.append((service, step.key, data))
        self._coming[service, step.key] += 1
        staged.refs.append(ref)

    def undo(self, staged: Staged) -> None:
        """It is not going to be."""
        self._bodies.entry_bytes -= staged.size
        self._bodies.spare(staged.refs)
        self._bodies.collect(ref for ref in staged.refs if ref is not None)
        for service, key, _ in staged.rows:
            self._has_come((service, key))
            ref = self.kept.get((service, key), (None,))[0]
            if key in staged.hidden and ref is not None:
                self._shown.show(key, ref)

    def ready(self, staged: Iterable[Staged]) -> None:
        """Make durable what has to be before the entries are."""
        with as_local_error(self._shown.folder.path):
            if not self._is_rooted:
                self._home.root()
                self._is_rooted = True
            self._bodies.sync()
            if any(part.hidden for part in staged):
                self._shown.folder.sync()

    def settle(self, staged: Iterable[Staged]) -> None:
        """It is durable; now let the rest of the folder follow."""
        replaced: list[BlobRef | None] = []
        is_seen = False
        for part in staged:
            for (service, key, data), ref in zip(part.rows, part.refs, strict=True):
                self._has_come((service, key))
                old, size = self.kept.pop((service, key), (None, 0))
                self._bodies.entry_bytes -= size
                replaced.append(old)
                if data is None:
                    is_seen |= self._shown.hide(key)
                else:
                    is_seen |= self._count((service, key), ref, len(data))
        self._bodies.spare(replaced)
        try:
            with as_local_error(self._shown.folder.path):
                if is_seen:
                    # Else a crash could bring a name back whose body is gone, and nobody would know it for ours.
                    self._shown.folder.sync()
                self._bodies.collect(ref for ref in replaced if ref is not None)
        except LocalError as error:
            log.warning("what is no longer needed is still there: %s", error)

    def _has_come(self, place: Place) -> None:
        self._coming[place] -= 1
        if not self._coming[place]:
            del self._coming[place]

    def _count(self, place: Place, ref: BlobRef | None, size: int) -> bool:
        self.kept[place] = ref, size
        return ref is not None and self._shown.show(place[1], ref)
