"""What a peer keeps for others: the ranges whose roots compare with it, and what those roots have not seen yet.

A copy is covered while it lies in our own range, or in one whose root has compared with us lately and knows this copy.
All others are surplus: they are offered to their root, which takes them, or tells that they are in good hands.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from overlay.core.bounded import forget_oldest
from overlay.core.message import Contact
from overlay.ids import owns
from overlay.store.replicated.messages import NEVER, ROWS, Compare, Differ, Listing, Unequal
from overlay.store.replicated.shelf import FIRST, LAST, Section, after
from overlay.store.replicated.site import Site

ROUNDS = 3
"""A root that has not compared for so many periods speaks for its range no longer."""
MOST = 64


class Grant:
    """One root's range, and until when it counts."""

    __slots__ = ("high", "low", "root", "settled", "until")

    def __init__(self, root: Contact, question: Compare, until: float):
        self.root = root
        self.low = question.low
        self.high = question.high
        self.settled = question.settled
        """Whether, besides ourselves and the root, the others have everything too."""
        self.until = until


class Grants:
    """The answers to a root's comparisons, and what follows from them for us."""

    __slots__ = ("_grants", "_site", "_span", "_unseen")

    def __init__(self, site: Site):
        self._site = site
        self._grants: dict[int, Grant] = {}
        self._span: tuple[int, int] | None = None
        """Our own range when we last looked."""
        self._unseen: dict[bytes, None] = {}
        """Copies of others' ranges that did not come from their root and were not in a comparison with it since."""

    # What a root asks ------------------------------------------------------------------------------------------

    def compare(self, root: Contact, question: Compare) -> Unequal:
        """Which pages differ; from now on we keep this range, or do not."""
        shelf = self._site.shelf
        until = self._site.ctx.now + ROUNDS * self._site.config.sync_s
        if question.replica:
            self._grants[root.id] = Grant(root, question, until)
            forget_oldest(self._grants, MOST)
        else:
            self._grants.pop(root.id, None)
        unequal = []
        first = question.first
        for index, page in enumerate(question.pages):
            section = (first, page.upto)
            equal = shelf.digest(section) == page.digest
            if not equal:
                unequal.append(index)
            for tag in shelf.tags(section):
                self._mark(tag, seen=equal)
            first = after(page.upto)
        return Unequal(tuple(unequal))

    def go_through(self, root: Contact, listing: Listing) -> Differ:
        """Row by row: what we want, and what we have that is newer."""
        shelf = self._site.shelf
        theirs = {row.tag: row.version for row in listing.rows}
        wanted = tuple([tag for tag, version in theirs.items() if shelf.version(tag) < version])
        newer = []
        for tag in shelf.tags((listing.first, listing.last)):
            known = theirs.get(tag, NEVER) >= shelf.version(tag)
            self._mark(tag, seen=known)
            if not known:
                newer.append(tag)
        return Differ(wanted, tuple(newer[:ROWS]), len(newer) > ROWS)

    def is_new(self, tag: bytes) -> None:
        """A copy is durable here, and nobody knows yet. What we are the root of counts once we are it no more."""
        if not self._site.owns(tag):
            self._unseen[tag] = None

    def came_from(self, tag: bytes, sender: Contact) -> None:
        """It was brought by this peer. If that is the root for which we keep it, it knows."""
        grant = self._grant_of(tag)
        if grant is not None and grant.root == sender:
            self._unseen.pop(tag, None)

    def forget(self, tag: bytes) -> None:
        """It is here no more."""
        self._unseen.pop(tag, None)

    def _mark(self, tag: bytes, *, seen: bool) -> None:
        if seen:
            self._unseen.pop(tag, None)
        else:
            self._unseen[tag] = None

    def _grant_of(self, tag: bytes) -> Grant | None:
        key, now = self._site.shelf.key(tag), self._site.ctx.now
        for grant in self._grants.values():
            if grant.until > now and owns(grant.low, key, grant.high):
                return grant
        return None

    # What follows ----------------------------------------------------------------------------------------------

    def uncovered(self) -> list[bytes]:
        """The tags of our surplus, in order; everything if we leave, nothing while we do not know our own range."""
        site, shelf = self._site, self._site.shelf
        if site.leaving:
            return shelf.tags((FIRST, LAST))
        self.notice_range()
        span = self._span
        if span is None:
            return []
        self._expire()
        spans = [span, *((grant.low, grant.high) for grant in self._grants.values())]
        covered = sorted(section for low, high in spans for section in shelf.sections(low, high))
        found = _outside(shelf.tags((FIRST, LAST)), covered)
        found += [tag for tag in self._unseen if shelf.get(tag) is not None and not site.owns(tag)]
        return sorted(set(found))

    def notice_range(self) -> None:
        """Whenever our range changes: what was ours until now, its new root may not have seen."""
        before, self._span = self._span, self._site.router.range()
        if before == self._span:
            return
        shelf = self._site.shelf
        for section in shelf.sections(*before) if before is not None else ():
            self._unseen.update(dict.fromkeys(shelf.tags(section)))
        self._unseen = {tag: None for tag in self._unseen if not self._site.owns(tag)}

    def are_settled(self) -> bool:
        """Whether all the roots that compare with us have told that their ranges are settled."""
        self._expire()
        return all(grant.settled for grant in self._grants.values())

    def _expire(self) -> None:
        now = self._site.ctx.now
        self._grants = {number: grant for number, grant in self._grants.items() if grant.until > now}


def _outside(tags: list[bytes], covered: list[Section]) -> list[bytes]:
    """Those of the tags that are in no section; both are sorted."""
    found: list[bytes] = []
    at = 0
    for first, last in covered:
        found += tags[at : bisect_left(tags, first)]
        at = max(at, bisect_right(tags, last))
    return found + tags[at:]
