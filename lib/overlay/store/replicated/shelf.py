"""What one peer keeps: its durable items by tag, in order, and those that are being written.

What is found here is on disk. An item that is being written is not found until it is durable, and one that is being
forgotten is found no more.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable

from overlay.core import storage
from overlay.core.codec import DecodeError, pack, unpack
from overlay.core.context import Context, Failure, OnFailed
from overlay.core.pending import ignore
from overlay.core.storage import Entry
from overlay.ids import Key
from overlay.store.replicated.messages import (
    NEVER,
    PAGE_ROWS,
    TAG_BITS,
    TAG_BYTES,
    Item,
    Page,
    Row,
    Version,
    key_of_tag,
    tag_of,
)

PREFIX = "item/"
LAST = b"\xff" * TAG_BYTES
FIRST = b"\0" * TAG_BYTES
Section = tuple[bytes, bytes]
"""Tags from the first to the last, both included; it does not wrap."""


class Held:
    """One durable item."""

    __slots__ = ("hold", "item", "mark")

    def __init__(self, item: Item, tag: bytes, hold: int):
        self.item = item
        self.mark = mark_of(tag, item.version)
        self.hold = hold
        """Another one whenever somebody relies on our copy: a drop begun before then does not take it away from us."""


class _Writing:
    """An item that is being written, and those who wait until it is durable."""

    __slots__ = ("item", "waiting")

    def __init__(self, item: Item):
        self.item = item
        self.waiting: list[tuple[Callable[[], None], OnFailed]] = []


def mark_of(tag: bytes, version: Version) -> int:
    """64 bits of an item's digest; those of several are combined by exclusive or."""
    text = b"%b/%d/%d/%d" % (tag, version.counter, version.writer, version.boot)
    return int.from_bytes(hashlib.sha256(text).digest()[:8])


class Shelf:
    """The table of one peer."""

    __slots__ = ("_coming", "_ctx", "_held", "_holds", "_tags", "bits", "on_new")

    def __init__(self, ctx: Context, bits: int):
        self._ctx = ctx
        self.bits = bits
        self.on_new: Callable[[bytes], None] = ignore
        """Told when a newer version has become durable, before those who wait for it."""
        self._held: dict[bytes, Held] = {}
        self._tags: list[bytes] = []
        self._holds = 0
        self._coming: dict[bytes, _Writing] = {}
        """The newest of those that are being written, by tag."""

    def load(self) -> Version:
        """Take what was durable when this incarnation began, and tell the greatest version of it; what cannot be read stays."""
        for key, entry in self._ctx.stored().items():
            if key.startswith(PREFIX):
                try:
                    item = unpack(entry.value, (Item,))
                except DecodeError:
                    continue
                assert isinstance(item, Item)
                tag = tag_of(item.name)
                self._held[tag] = Held(item, tag, 0)
        self._tags = sorted(self._held)
        return max((held.item.version for held in self._held.values()), default=NEVER)

    # Looking -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._tags)

    def get(self, tag: bytes) -> Item | None:
        """What is durable here under a tag."""
        held = self._held.get(tag)
        return None if held is None else held.item

    def version(self, tag: bytes) -> Version:
        """The durable version of a tag; NEVER if there is none."""
        held = self._held.get(tag)
        return NEVER if held is None else held.item.version

    def newest(self, tag: bytes) -> Version:
        """The same, or that of what is being written here."""
        coming = self._coming.get(tag)
        return self.version(tag) if coming is None else max(coming.item.version, self.version(tag))

    def is_wanted(self, item: Item) -> bool:
        """Whether it is newer than what is here and what is coming."""
        return self.newest(tag_of(item.name)) < item.version

    def is_writing(self, tag: bytes) -> bool:
        """Whether something is about to become durable under a tag."""
        return tag in self._coming

    def tags(self, section: Section) -> list[bytes]:
        """The tags of a section, in order."""
        return self._tags[bisect_left(self._tags, section[0]) : bisect_right(self._tags, section[1])]

    def rows(self, tags: Iterable[bytes]) -> tuple[Row, ...]:
        """Those of the tags that are here, with their versions."""
        return tuple([Row(tag, self._held[tag].item.version) for tag in tags if tag in self._held])

    def sections(self, low: int, high: int) -> list[Section]:
        """The tags of the keys (low, high], in one section or, around the end of the circle, in two."""
        shift = TAG_BITS - self.bits
        if low == high:
            return [(FIRST, LAST)]
        start, end = ((low + 1) << shift) % (1 << TAG_BITS), ((high + 1) << shift) - 1
        first, last = start.to_bytes(TAG_BYTES), end.to_bytes(TAG_BYTES)
        return [(first, last)] if first <= last else [(FIRST, last), (first, LAST)]

    def key(self, tag: bytes) -> Key:
        """The ring's key of a tag."""
        return key_of_tag(tag, self.bits)

    def digest(self, section: Section) -> int:
        """Equal for two peers that have the same versions in a section."""
        digest = 0
        for tag in self.tags(section):
            digest ^= self._held[tag].mark
        return digest

    def pages(self, section: Section) -> list[Page]:
        """A section's items by pages; the last page reaches to its end."""
        tags = self.tags(section)
        pages = []
        first = section[0]
        for at in range(0, max(1, len(tags)), PAGE_ROWS):
            upto = section[1] if at + PAGE_ROWS >= len(tags) else tags[at + PAGE_ROWS - 1]
            pages.append(Page(upto, self.digest((first, upto))))
            first = after(upto)
        return pages

    # Keeping -------------------------------------------------------------------------------------------------

    def put(self, item: Item, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        """Keep an item, unless what is here is as new. Either way its version or a newer one is durable then, and relied on."""
        tag = tag_of(item.name)
        held, coming = self._held.get(tag), self._coming.get(tag)
        if held is not None and held.item.version >= item.version:
            held.hold = self._next_hold()
            on_durable()
        elif coming is not None and coming.item.version >= item.version:
            coming.waiting.append((on_durable, on_failed))
        else:
            writing = self._coming[tag] = _Writing(item)
            writing.waiting.append((on_durable, on_failed))
            self._persist(tag, item, lambda: self._written(tag, writing), lambda why: self._failed(tag, writing, why))

    def _persist(self, tag: bytes, item: Item, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        self._ctx.persist((storage.Write(PREFIX + tag.hex(), Entry(pack(item), item.body)),), on_durable, on_failed)

    def _written(self, tag: bytes, writing: _Writing) -> None:
        held = self._held.get(tag)
        self._held[tag] = Held(writing.item, tag, self._next_hold())
        if held is None:
            insort(self._tags, tag)
        if self._coming.get(tag) is writing:
            del self._coming[tag]
        self.on_new(tag)
        for on_durable, _ in writing.waiting:
            on_durable()

    def _failed(self, tag: bytes, writing: _Writing, failure: Failure) -> None:
        if self._coming.get(tag) is writing:
            del self._coming[tag]
        for _, on_failed in writing.waiting:
            on_failed(failure)

    # Letting go ----------------------------------------------------------------------------------------------

    def hold(self, row: Row) -> bool:
        """Whether we have this or a newer version; somebody relies on it from now on."""
        held = self._held.get(row.tag)
        if held is None or held.item.version < row.version:
            return False
        held.hold = self._next_hold()
        return True

    def _next_hold(self) -> int:
        self._holds += 1
        return self._holds

    def holds(self, tag: bytes) -> int:
        """To be compared when a drop ends with what it was when the drop began."""
        held = self._held.get(tag)
        return -1 if held is None else held.hold

    def drop(self, tag: bytes, then: Callable[[], None]) -> None:
        """Forget an item; nobody may rely on it. Nothing happens while a new version is being written."""
        if tag in self._coming or tag not in self._held:
            return
        del self._held[tag]
        del self._tags[bisect_left(self._tags, tag)]
        self._ctx.persist((storage.Write(PREFIX + tag.hex(), None),), then, lambda failure: then())

    def rewrite(self, tag: bytes) -> None:
        """What is in memory is right, what is on disk is not."""
        held = self._held.get(tag)
        if held is not None and tag not in self._coming:
            # Where that fails it is tried again another time.
            self._persist(tag, held.item, ignore, ignore)

    def lose(self, tag: bytes) -> None:
        """The body is gone from the disk, so we have this no more; it will be brought again."""
        if self._held.pop(tag, None) is not None:
            del self._tags[bisect_left(self._tags, tag)]


def after(tag: bytes) -> bytes:
    """The next tag; the last one has none, and is its own."""
    return tag if tag == LAST else (int.from_bytes(tag) + 1).to_bytes(TAG_BYTES)
