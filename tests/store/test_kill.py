"""Row 12: a process that writes is killed at a random moment, again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from overlay.store.disk import FolderDisk
from tests.store.writer import THREADS, Kept, body_of, opened, replay

ROOT = Path(__file__).parent.parent.parent


def found(disk: FolderDisk, folder: Path, thread: int) -> Kept:
    """What is kept of a thread; nothing of it is torn."""
    kept: Kept = {}
    for key, entry in disk.entries("records").items():
        if key.partition("/")[2][0] != str(thread):
            continue
        kept[key] = int(entry.value)
        if entry.blob is not None:
            source = disk.source(entry.blob)
            shown = disk.path / f"{key.partition('/')[2]}.pdf"
            assert source is not None
            assert source.read_bytes() == shown.read_bytes() == body_of(thread, kept[key])
    received = folder / f"files/received_{thread}.pdf"
    if received.exists():
        kept[received.name] = int(received.read_bytes().split()[0].partition(b"-")[2])
        assert received.read_bytes() == body_of(thread, kept[received.name])
    return kept


def killed(folder: Path, shared: bool, first: list[int], chance: random.Random) -> list[int]:
    """Let it write, and kill it soon after it has begun to; the turn behind the last acknowledged one, of each thread."""
    command = [sys.executable, "-m", "tests.store.writer", str(folder), "shared" if shared else "own", *map(str, first)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "lib"})
    assert child.stdout is not None
    upto, enough = list(first), chance.randrange(5, 60)
    killer = threading.Timer(chance.uniform(0, 0.03), child.send_signal, (signal.SIGKILL,))
    for count, line in enumerate(child.stdout, 1):
        thread, turn = map(int, line.split())
        assert upto[thread] == turn
        upto[thread] += 1
        if count == enough:
            killer.start()
    assert child.wait() == -signal.SIGKILL
    killer.join()
    return upto


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_tears_nothing_and_loses_nothing(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    first, kept = [0] * THREADS, [Kept() for _ in range(THREADS)]
    for number in range(rounds):
        shared = number % 2 == 0
        upto = killed(tmp_path, shared, first, chance)
        disks = opened(tmp_path, chance.random() < 0.5)
        for thread in range(THREADS):
            disk = disks[thread % 2]
            assert disk.damaged == ()
            for turn in range(first[thread], upto[thread]):
                replay(thread, turn, kept[thread])
            now, maybe = found(disk, tmp_path, thread), dict(kept[thread])
            # What was not acknowledged may have been done, or a beginning of it: an entry, and not yet its file.
            replay(thread, upto[thread], maybe)
            name = f"received_{thread}.pdf"
            halfway = {key: turn for key, turn in maybe.items() if key != name}
            halfway |= {name: kept[thread][name]} if name in kept[thread] else {}
            assert now in (kept[thread], maybe, halfway), f"round {number}"
            kept[thread] = now
            first[thread] = upto[thread] + 1
        for disk in disks:
            disk.close()
    assert {path.name for path in (tmp_path / "files").iterdir()} <= {
        "peer-0",
        "peer-1",
        *(f"received_{thread}.pdf" for thread in range(THREADS)),
    }
