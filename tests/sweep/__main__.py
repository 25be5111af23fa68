"""`python -m tests.sweep --seeds 2000`: many seeds on all cores; a wrong one prints the command that replays it."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, "lib")

from tests.sweep.lasting import LastingRun, one_lasting
from tests.sweep.run import RingRun, one
from tests.sweep.storing import SMALL, StoreRun, one_store

PROGRESS = Path(".sweep.json")
"""Which seeds of an interrupted sweep are done."""

KINDS = {"rings": one, "stores": one_store, "lasting rings": one_lasting}
"""What can be swept, and what runs one seed of it."""
OPTIONS = {"rings": "", "stores": " --store", "lasting rings": " --lasting"}

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(Exception):
    """Somebody wants an end: Ctrl-C, a service manager, a terminal that is closed."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted(number)


def replay(run: RingRun | StoreRun | LastingRun) -> int:
    """Run one seed and show where it goes wrong."""
    try:
        run.run()
    except Exception:
        traceback.print_exc()
        return 1
    print(f"seed {run.seed} ends right")
    return 0


def _load(first: int, count: int, kind: str) -> tuple[set[int], list[int]]:
    if PROGRESS.exists():
        state = json.loads(PROGRESS.read_text())
        if state["of"] == [first, count, kind]:
            return set(state["done"]), state["wrong"]
    return set(), []


def sweep(first: int, count: int, jobs: int, *, kind: str = "rings") -> int:
    """Run many seeds; 1 if any was wrong. Interrupted, it is 128 and the signal's number, and the next sweep goes on there."""
    done, wrong = _load(first, count, kind)
    todo = [seed for seed in range(first, first + count) if seed not in done]
    if done:
        print(f"going on: {len(done)} of {count} seeds are done already")
    began = time.monotonic()
    for number in SIGNALS:
        # Under nohup a closed terminal is to be ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            for seed, complaint in pool.imap_unordered(KINDS[kind], todo, chunksize=4):
                done.add(seed)
                if complaint:
                    wrong.append(seed)
                    print(
                        f"\nseed {seed}: {complaint}\n  replay it: python -m tests.sweep{OPTIONS[kind]} --seed {seed}"
                    )
                if sys.stderr.isatty() or len(done) % 200 == 0:
                    rate = max(1, len(done) - count + len(todo)) / (time.monotonic() - began)
                    left = (count - len(done)) / rate
                    end = "\r" if sys.stderr.isatty() else "\n"
                    print(
                        f"{len(done)}/{count} seeds, {len(wrong)} wrong, {left:.0f} s left ", end=end, file=sys.stderr
                    )
    except Interrupted as interrupted:
        PROGRESS.write_text(json.dumps({"of": [first, count, kind], "done": sorted(done), "wrong": wrong}))
        print(f"\ninterrupted after {len(done)} of {count} seeds; the same command goes on from there")
        return 128 + interrupted.number
    PROGRESS.unlink(missing_ok=True)
    print(f"{count} {kind}, seeds from {first}: {len(wrong)} wrong {sorted(wrong) or ''}")
    return 1 if wrong else 0


def main() -> int:
    """Read the arguments and sweep."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--seed", type=int, help="replay one seed and show what goes wrong")
    parser.add_argument("--store", action="store_true", help="the replicated store, and not the classroom's ring")
    parser.add_argument("--lasting", action="store_true", help="peers that last, and come back into their ring")
    parser.add_argument("--small", action="store_true", help="with --store and --seed: a run as in the tests")
    arguments = parser.parse_args()
    kind = "stores" if arguments.store else "lasting rings" if arguments.lasting else "rings"
    if arguments.seed is None:
        return sweep(arguments.first, arguments.seeds, arguments.jobs, kind=kind)
    if arguments.lasting:
        return replay(LastingRun(arguments.seed))
    if arguments.store:
        return replay(StoreRun(arguments.seed, **(SMALL if arguments.small else {})))
    return replay(RingRun(arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
