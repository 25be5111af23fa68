"""`python -m tests.fuzz --minutes 30`: the codec, the servers and a ring of peers are given what nobody would send.

What reaches new code is kept in tests/fuzz/corpus; what finds a defect is kept in .fuzz, with the command that replays it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from pathlib import Path

from hypothesis import Phase

sys.path.insert(0, "lib")

from tests.fuzz import live, ring
from tests.fuzz.corpus import keep, load, seeds
from tests.fuzz.engine import FAILED, Fuzzer, save, smallest, told
from tests.fuzz.targets import TARGETS

SLICE_S = 5.0
LIVE_INPUTS = 1000


def replay(path: Path) -> int:
    """One input again."""
    name = path.name.split("-")[0]
    try:
        (live.replay if name == "live" else TARGETS[name].run)(path.read_bytes())
    except Exception:
        traceback.print_exc()
        return 1
    print(f"{path} finds nothing")
    return 0


class Campaign:
    """All targets in turn, until the time is over."""

    def __init__(self, minutes: float, seed: int):
        self.end = time.monotonic() + 60 * minutes
        self.chance = random.Random(seed)
        self.fuzzers = [Fuzzer(target, load(target), self.chance) for target in TARGETS.values()]
        self.failed = sum(len(fuzzer.failures) for fuzzer in self.fuzzers)
        self.sockets = self.rings = 0
        self.bad_ring = False

    def run(self) -> None:
        """Until the end; whoever interrupts loses nothing that was found."""
        while self.left() > 0:
            for fuzzer in self.fuzzers:
                fuzzer.run(min(SLICE_S, self.left()))
            self._live()
            self._ring()
            self.tell()

    def left(self) -> float:
        """Seconds."""
        return max(0.0, self.end - time.monotonic())

    def _live(self) -> None:
        sent = list(live.inputs(self.chance, LIVE_INPUTS))
        self.sockets += len(sent)
        try:
            live.play(sent)
        except Exception:
            self.failed += 1
            traceback.print_exc()
            told(save("live", live.packed(sent)))

    def _ring(self) -> None:
        if self.bad_ring:
            return
        try:
            # A smaller one would take minutes to find.
            self.rings += ring.some(phases=[Phase.reuse, Phase.generate])
        except Exception:
            self.failed += 1
            self.bad_ring = True
            traceback.print_exc()
            print("  replay it, and have it made smaller: python -m tests.fuzz --ring", flush=True)

    def tell(self) -> None:
        """How far it is."""
        texts = [f"{f.target.name} {f.count} ({f.arcs} arcs, {len(f.found)} kept)" for f in self.fuzzers]
        texts += [f"sockets {self.sockets}", f"rings {self.rings}", f"{self.found()} wrong"]
        print(f"{', '.join(texts)}; {self.left() / 60:.1f} minutes left", flush=True)

    def found(self) -> int:
        """Defects."""
        return self.failed + sum(len(fuzzer.failures) for fuzzer in self.fuzzers)

    def keep(self) -> None:
        """Of all that was found, what the next one should begin with."""
        for fuzzer in self.fuzzers:
            if fuzzer.found:
                known = seeds(fuzzer.target)
                keep(fuzzer.target, [data for data in smallest(fuzzer.target, fuzzer.inputs) if data not in known])


def main() -> int:
    """Read the arguments and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long (30)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of the chance that makes the inputs")
    parser.add_argument("--replay", type=Path, metavar="FILE", help=f"try one input of {FAILED} again")
    parser.add_argument("--ring", action="store_true", help="try the rings that found something again, and some more")
    arguments = parser.parse_args()
    if arguments.ring:
        return 0 if ring.some() else 1
    if arguments.replay is not None:
        return replay(arguments.replay)
    print(f"seed {arguments.seed}", flush=True)
    campaign = Campaign(arguments.minutes, arguments.seed)
    status = 0
    try:
        campaign.run()
    except KeyboardInterrupt:
        status = 130
    campaign.tell()
    campaign.keep()
    return 1 if campaign.found() else status


if __name__ == "__main__":
    sys.exit(main())
