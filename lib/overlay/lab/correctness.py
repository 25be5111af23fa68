"""Z1 to Z4: what was wrong with Chord, and that it is right now (ZV15)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from overlay.core.message import Contact
from overlay.ids import Key
from overlay.lab.experiment import Experiment, Progress, Report, Setting, at_least, exactly
from overlay.lab.zave import CORRECT, MUTANTS, Mutant, Ring, explore
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Simulation


def _ring_of_one(setting: Setting) -> Iterator[Report]:
    """Figure 3: 48 alone, 62 and 37 join, everybody stabilizes once, 48 fails; r = 2."""
    yield Progress("the original, then ours", 0.0)
    original = Ring(2, [48], frozenset(), Mutant("the original", starts_alone=True))
    for newcomer in (62, 37):
        list(original.join(newcomer))
    for number in (62, 37):
        list(original.stabilize(number))
    original.fail(48)
    lonely = sum(original.best(number) is None for number in original.members)
    yield exactly("Z1", "original: members that can never find each other", "2", lonely, 2)
    yield exactly("Z1", "ours: members with wrong pointers 30 s later", "0", _ours_from_one(setting), 0)


def _ours_from_one(setting: Setting) -> int:
    """The same by the protocol that runs on sockets."""
    sim, parts = Simulation(setting.seed), {}
    for number in (48, 62, 37):
        me = Contact(Key(number), "127.0.0.1", 12000 + number, 1)
        peer = parts[number] = RingParts(1.0, RingConfig(successors=2))
        sim.start(sim.add(me, *peer.protocols()))
        if number == 48:
            peer.chord.begin([], awaited=False)
        else:
            sim.run_until(peer.admission.join("127.0.0.1", 12048), 10)
    sim.crash(parts.pop(48).chord.ctx.me)
    sim.run_for(30)
    right = {37: [62], 62: [37]}
    return sum([c.id for c in peer.chord.successors] != right[number] for number, peer in parts.items())


def _disordered(setting: Setting) -> Iterator[Report]:
    """Figure 4: ring 3, 20, 31, 52 and the appendage 45; 3 fails, 52 stabilizes; r = 2."""
    yield Progress("the counterexample", 0.0)
    ring = Ring(2, [3, 20, 31, 52], frozenset((20, 31, 52)))
    ring.members[52].list = [3, 45]
    list(ring.join(45))
    ring.members[45].list = [20, 31]
    told = ring.broken()
    yield exactly("Z2", "the start is flagged, by BaseNotSkipped alone", "yes", told == ["BaseNotSkipped"], 1)
    ring.fail(3)
    list(ring.stabilize(52))
    yield exactly("Z2", "3 fails, 52 stabilizes: the ring is disordered", "yes", "OrderedRing" in ring.broken(), 1)


def _explore(setting: Setting, part: int, parts: int) -> Iterator[Report]:
    """r = 2 to 5, up to 12 members: joins, failures and stabilizations in any order, query by query."""
    schedules = setting.pick(250, 100_000 // parts)
    broken = steps = not_ideal = 0
    for number in range(schedules):
        if number % 100 == 0:
            yield Progress(f"{schedules} schedules", number / schedules)
        verdict = explore(f"{setting.seed}/{part}/{number}", CORRECT)
        steps += verdict.steps
        broken += bool(verdict.broken)
        not_ideal += not verdict.broken and not verdict.ideal
    note = f"{steps} steps, part {part + 1} of {parts}" if setting.scale == "paper" else f"{steps} steps"
    yield exactly("Z3", f"violations in {schedules} schedules", "0", broken, 0, note)
    yield exactly("Z3", "rings that did not become ideal afterwards", "0", not_ideal, 0, note)


def _mutants(setting: Setting) -> Iterator[Report]:
    """Each mistake of the original, put back, must be found within the same budget."""
    for index, mutant in enumerate(MUTANTS):
        budget = 100_000 if setting.scale == "paper" else 3_000
        found = 0
        for number in range(budget):
            yield Progress(mutant.name, (index + number / budget) / len(MUTANTS))
            verdict = explore(f"{setting.seed}/{number}", mutant)
            if verdict.broken or not verdict.ideal:
                found = 1
                break
        note = f"after {number + 1} schedules: {', '.join(verdict.broken) or 'never ideal'}"
        yield at_least("Z4", f"mutant is killed: {mutant.name}", "yes", found, 1, note)


PARTS = 4
EXPERIMENTS = (
    Experiment(("Z1",), "a ring of one", _ring_of_one),
    Experiment(("Z2",), "a disordered ring", _disordered),
    *(
        Experiment(("Z3",), f"random schedules, part {part + 1}", partial(_explore, part=part, parts=PARTS))
        for part in range(PARTS)
    ),
    Experiment(("Z4",), "mutants", _mutants),
)
