"""A record that is larger than a peer may become."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import pytest

from tests.end_to_end import processes
from tests.end_to_end.processes import Program, Ring

RECORD_BYTES = 1 << 30
MOST_BYTES = 100 << 20
BLOCK_BYTES = 1 << 20


def most_memory(program: Program) -> int:
    """The most that a process has had in memory so far, in bytes."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the most memory a process had is read from /proc")
def test_one_gibibyte_goes_through_two_processes_of_less_than_a_tenth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "DEADLINE_S", 500.0)
    files = tmp_path / "files"
    files.mkdir()
    chance, digest = random.Random(1), hashlib.sha256()
    with (files / "0005.pdf").open("wb") as original:
        for _ in range(RECORD_BYTES // BLOCK_BYTES):
            block = chance.randbytes(BLOCK_BYTES)
            digest.update(block)
            original.write(block)
    ring = Ring(tmp_path)
    try:
        asker, keeper = ring.start("init", 2, 5, 2), ring.start("init", 5, 2, 5)
        asker.type("store 0005")
        asker.line("0005 is stored durably at Peer 5 (1.0 GiB)")
        asker.type("request 0005")
        asker.line("> File 0005 received")
        with (files / "received_0005.pdf").open("rb") as copy:
            assert hashlib.file_digest(copy, "sha256").digest() == digest.digest()
        memory = [most_memory(program) for program in (asker, keeper)]
        with capsys.disabled():
            print(f"\nat most {' and '.join(f'{size / (1 << 20):.0f} MiB' for size in memory)} of memory")
        assert max(memory) < MOST_BYTES
    finally:
        ring.end()
        shutil.rmtree(files)
