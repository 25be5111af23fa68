"""Zave's model of Chord: join, stabilize and rectify, interleaved query by query, and what must hold after every step.

Source: Zave, How to Make Chord Correct (ZV15), sections II to IV. It is a model: members are numbers, a query is a look at
another member's state. The protocol that runs on sockets is explored by the seeds of tests/sweep.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from overlay.ids import between

PLACES = 60
"""Identifiers of the circle."""

Step = Iterator[None]


class Mutant(msgspec.Struct, frozen=True):
    """A mistake of the original, put back (ZV15, section IV)."""

    name: str
    adopts_unheard: bool = False
    """Stabilize takes the successor's predecessor without asking whether it lives."""
    short_lists: bool = False
    """A newcomer's list has one entry, not r."""
    starts_alone: bool = False
    """The first ring has one member."""
    pings_nobody: bool = False
    """Rectify keeps a predecessor without asking whether it lives."""


CORRECT = Mutant("correct")
MUTANTS = (
    Mutant("stabilize adopts what it has not heard from", adopts_unheard=True),
    Mutant("a newcomer's list is not full", short_lists=True),
    Mutant("the ring starts with one member", starts_alone=True),
    Mutant("rectify does not ping", pings_nobody=True),
)


class Member:
    """One member: its predecessor and its successor list."""

    __slots__ = ("before", "busy", "list")

    def __init__(self, successors: list[int], before: int | None = None):
        self.list = successors
        self.before = before
        self.busy = False
        """Whether it stabilizes just now."""


class Ring:
    """The state, and the operations as generators, which stop before every query."""

    def __init__(self, length: int, members: list[int], base: frozenset[int], mutant: Mutant = CORRECT):
        line = sorted(members)
        self.length = length
        """Of every successor list (the paper's r)."""
        self.base = base
        """Members that never fail."""
        kept = sorted(base)
        self._next_kept = [kept[bisect_right(kept, place) % len(kept)] if kept else place for place in range(PLACES)]
        """Of each place, the first member of the base behind it; the place itself if there is none."""
        self.mutant = mutant
        self.members: dict[int, Member] = {}
        for index, me in enumerate(line):
            ahead = [line[(index + step) % len(line)] for step in range(1, length + 1)]
            self.members[me] = Member(ahead, line[index - 1])

    # Operations (ZV15, section III) --------------------------------------------------------------------------

    def join(self, me: int) -> Step:
        """Look the successor up, ask it for its list, be a member."""
        heads = ((number, self.best(number)) for number in sorted(self.members))
        head = next((best for number, best in heads if best is not None and between(number, me, best)), None)
        yield
        found = None if head is None else self.members.get(head)
        if found is not None and head is not None and me not in self.members:
            rest = [] if self.mutant.short_lists else found.list[: self.length - 1]
            self.members[me] = Member([head, *rest])

    def stabilize(self, me: int) -> Step:
        """Take the list of the first successor that answers, and of its predecessor if that is nearer and answers."""
        member = self.members[me]
        for head in tuple(member.list):
            yield
            if self.members.get(me) is not member:
                return
            found = self.members.get(head)
            if found is not None:
                break
        else:
            return
        member.list = [head, *found.list[: self.length - 1]]
        nearer = found.before
        if nearer is not None and between(me, nearer, head):
            if self.mutant.adopts_unheard:
                member.list = [nearer, *member.list[:-1]]
            else:
                yield
                if self.members.get(me) is not member:
                    return
                if nearer in self.members:
                    member.list = [nearer, *self.members[nearer].list[: self.length - 1]]
        yield
        if self.members.get(me) is member and member.list[0] in self.members:
            yield from self.rectify(member.list[0], me)

    def rectify(self, me: int, notifier: int) -> Step:
        """The notifier is the predecessor, unless a nearer one answers."""
        member = self.members[me]
        before = member.before
        if before is not None and before != notifier:
            yield
            alive = before in self.members or self.mutant.pings_nobody
            if alive and not between(before, notifier, me):
                return
        member.before = notifier

    def fail(self, me: int) -> None:
        """It stops to answer."""
        del self.members[me]

    def may_fail(self, me: int) -> bool:
        """No more than r - 1 members fail before the others have repaired their lists."""
        if me in self.base or len(self.members) < 3:
            return False
        unrepaired = {entry for member in self.members.values() for entry in member.list if entry not in self.members}
        return len(unrepaired) < self.length - 1

    # Invariants (ZV15, section IV) ---------------------------------------------------------------------------

    def best(self, me: int) -> int | None:
        """The first entry of the list that lives."""
        return next((entry for entry in self.members[me].list if entry in self.members), None)

    def broken(self) -> list[str]:
        """The invariants that do not hold, by name."""
        ahead = {number: self.best(number) for number in self.members}
        if None in ahead.values():
            return ["a member has no live successor"]
        ring, said = self._rings(ahead)
        if len(ring) != 1:
            said.append("AtMostOneRing")
        for cycle in ring:
            # In order, it passes the end of the circle once.
            if sum((ahead[one] or 0) <= one for one in cycle) > 1:
                said.append("OrderedRing")
        if any(self._skips(number, member) for number, member in self.members.items()):
            said.append("BaseNotSkipped")
        return said

    def _skips(self, me: int, member: Member) -> bool:
        """Whether a member of the base lies between two neighbors of an extended successor list."""
        next_kept = self._next_kept
        return any(between(a, next_kept[a], b) for a, b in itertools.pairwise((me, *member.list)) if a != b)

    def _rings(self, ahead: dict[int, int | None]) -> tuple[list[list[int]], list[str]]:
        rings: list[list[int]] = []
        seen: dict[int, int] = {}
        for start in self.members:
            at, path = start, []
            while at not in seen:
                seen[at] = start
                path.append(at)
                at = ahead[at] or 0
            if seen[at] == start:
                rings.append(path[path.index(at) :])
        return rings, [] if rings else ["AtLeastOneRing"]

    def is_ideal(self) -> bool:
        """Whether every list and predecessor is what it should be."""
        line = sorted(self.members)
        reach = min(self.length, len(line))
        return all(
            self.members[me].list[:reach] == [line[(index + step) % len(line)] for step in range(1, reach + 1)]
            and self.members[me].before == line[index - 1]
            for index, me in enumerate(line)
        )


class Verdict(msgspec.Struct, frozen=True):
    """How a schedule ended."""

    steps: int
    broken: tuple[str, ...]
    """What did not hold at some step; empty if everything always did."""
    ideal: bool
    """Whether the ring became ideal once nobody came or went."""


def explore(seed: object, mutant: Mutant = CORRECT, steps: int = 80) -> Verdict:
    """One random schedule: joins, failures and stabilizations, interleaved query by query; then quiet."""
    rng = random.Random(f"{seed}/zave")
    length = rng.randint(2, 5)
    first = [rng.randrange(PLACES)] if mutant.starts_alone else rng.sample(range(PLACES), length + 1)
    ring = Ring(length, first, frozenset(() if mutant.starts_alone else first), mutant)
    most = rng.randint(max(6, length + 2), 12)
    open_steps: list[tuple[Step, Member | None]] = []
    for taken in range(steps):
        _one_step(ring, rng, most, open_steps)
        if wrong := ring.broken():
            return Verdict(taken + 1, tuple(wrong), False)
    for _, member in open_steps:
        if member is not None:
            member.busy = False
    for _ in range(4 * most):
        for number in sorted(ring.members):
            if number in ring.members:
                for _ in ring.stabilize(number):
                    """Alone, without anybody in between."""
        if ring.is_ideal():
            return Verdict(steps, (), True)
    return Verdict(steps, (), False)


def _one_step(ring: Ring, rng: random.Random, most: int, open_steps: list[tuple[Step, Member | None]]) -> None:
    choice = rng.random()
    number = rng.choice(sorted(ring.members))
    member = ring.members[number]
    if open_steps and choice < 0.55:
        index = rng.randrange(len(open_steps))
        operation, owner = open_steps[index]
        if next(operation, open_steps) is open_steps:
            del open_steps[index]
            if owner is not None:
                owner.busy = False
    elif choice < 0.85 and not member.busy:
        member.busy = True
        operation = ring.stabilize(number)
        next(operation)
        open_steps.append((operation, member))
    elif choice < 0.94 and len(ring.members) < most:
        newcomer = rng.randrange(PLACES)
        if newcomer not in ring.members:
            open_steps.append((ring.join(newcomer), None))
    elif ring.may_fail(number):
        ring.fail(number)
