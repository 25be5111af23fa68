"""A ring with fingers under churn: peers come and crash all the time, and somebody always asks."""

from __future__ import annotations

import random
from bisect import bisect_left

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import OverlayError
from overlay.ids import Key
from overlay.kbr import Answered
from overlay.ring.fingers import FingerConfig
from overlay.ring.messages import FindFinger
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Faults, Simulation

BITS = 160
CHORD = RingConfig(bits=BITS, successors=8)


class ChurningRing:
    """Peers of one simulation, whose number stays about the same."""

    def __init__(self, seed: int, size: int, *, loss: float = 0.0, interval_s: float = 1.0, candidates: int = 1):
        self.rng = random.Random(seed)
        self.sim = Simulation(seed, Faults(loss=loss))
        self.interval_s = interval_s
        self.size = size
        self.fingers = FingerConfig(candidates=candidates)
        self.members: dict[int, RingParts] = {}
        self.history: list[tuple[float, list[int]]] = []
        """Who was a member, from when on; once without and once with those whose join is about to return."""
        self.coming: set[int] = set()
        self._count = 0
        self.right = 0
        self.errors: dict[str, int] = {}
        self.wrong: list[str] = []
        self.paths: list[int] = []
        while len(self.members) < size:
            self.join(wait=True)

    def join(self, *, wait: bool = False) -> None:
        """One more peer, through any that is there."""
        self._count += 1
        me = Contact(Key(self.rng.getrandbits(BITS)), f"10.0.{self._count >> 8}.{self._count & 255}", 5000, self._count)
        parts = RingParts(self.interval_s, CHORD, fingers=self.fingers)
        self.sim.start(self.sim.add(me, *parts.protocols()))
        if not self.members:
            parts.chord.begin([], awaited=False)
            self._in(me, parts)
            return
        known = self.rng.choice(list(self.members.values())).chord.ctx.me
        joined = parts.admission.join(known.host, known.port, 30)
        parts.chord.on_change.append(lambda: self._coming(parts))
        joined.when_done(lambda pending: self._in(me, parts) if pending.error is None else self.sim.crash(me))
        if wait:
            self.sim.run_until(joined, 60)

    def crash(self) -> None:
        """One peer less."""
        number = self.rng.choice(list(self.members))
        self.sim.crash(self.members.pop(number).chord.ctx.me)
        self._note()

    def look_up(self) -> None:
        """Somebody asks for a key; what comes of it is judged when it comes."""
        key = self.rng.getrandbits(BITS)
        began, asker = self.sim.now, self.rng.choice(list(self.members.values()))

        def judge(pending: Pending[Answered]) -> None:
            if pending.error is not None:
                assert isinstance(pending.error, OverlayError)
                self.errors[str(pending.error)] = self.errors.get(str(pending.error), 0) + 1
                return
            answered = pending.result()
            self.paths.append(len(answered.path) - 1)
            if int(answered.root.id) in self._owners(key, began):
                self.right += 1
            else:
                self.wrong.append(f"{began:.2f}: {key:x} ended at {answered.root.id:x} by {len(answered.path)} hops")

        asker.router.route("fingers", key, FindFinger()).when_done(judge)

    def churn(self, seconds: float, *, changes_per_s: float = 1.0, lookups_per_s: float = 1.0) -> None:
        """Let peers come and go for a while, then wait until every lookup has ended."""
        end = self.sim.now + seconds
        self._again(end, changes_per_s, self._change)
        self._again(end, lookups_per_s, self.look_up)
        self.sim.run_for(seconds + 60)

    def _again(self, end: float, rate: float, what: object) -> None:
        after = self.rng.expovariate(rate)

        def happen() -> None:
            if self.sim.now < end:
                what()  # type: ignore[operator]
                self._again(end, rate, what)

        self.sim.at(self.sim.now + after, happen)

    def _change(self) -> None:
        if self.rng.random() < 0.5 + (self.size - len(self.members)) / self.size:
            self.join()
        else:
            self.crash()

    def _coming(self, parts: RingParts) -> None:
        number = int(parts.chord.ctx.me.id)
        if parts.chord.member and number not in self.members and number not in self.coming:
            self.coming.add(number)
            self._note()

    def _in(self, me: Contact, parts: RingParts) -> None:
        self.members[int(me.id)] = parts
        self.coming.discard(int(me.id))
        self._note()

    def _note(self) -> None:
        self.history.append((self.sim.now, sorted(self.members)))
        self.history.append((self.sim.now, sorted({*self.members, *self.coming})))

    def _owners(self, key: int, since: float) -> set[int]:
        """Who owned a key at any moment since then."""
        found = set()
        for at, members in reversed(self.history):
            found.add(members[bisect_left(members, key) % len(members)])
            if at < since:
                break
        return found
