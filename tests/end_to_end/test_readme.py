"""The README's Python examples are run as they stand, but for the port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from overlay import Peer
from overlay.peer.preset import chord
from overlay.store.replicated.config import ReplicasConfig
from tests.end_to_end.processes import DEADLINE_S, ROOT, free_base_port


def test_the_ten_lines_run(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"<!-- example: the tests run these lines -->\n```python\n(.*?)```", text, re.DOTALL)
    assert example.count("base_port=12000") == 2
    (tmp_path / "files").mkdir()
    shutil.copy(ROOT / "files" / "2067.pdf", tmp_path / "files")
    code = example.replace("12000", str(free_base_port([2, 4, 5, 15])))
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "lib")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert sorted(lines[:3]) == ["ready: 2", "ready: 4", "ready: 5"]
    # 2067 belongs to the key 19, and with that to peer 2; it is stored there and not at the newcomer.
    assert lines[3:] == [
        "first successor: 2",
        "stored at 2",
        f"received {(ROOT / 'files/2067.pdf').stat().st_size} bytes",
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """The address of a peer of three that keep a store."""
    peers = [
        Peer(1 + number, preset=chord(32, 4), data=tmp_path / f"{number}", files=tmp_path, store=ReplicasConfig())
        for number in range(3)
    ]
    peers[0].create()
    assert peers[0].wait_ready(DEADLINE_S)
    at = f"{peers[0].host}:{peers[0].port}"
    for peer in peers[1:]:
        peer.join(at)
        assert peer.wait_ready(DEADLINE_S)
    yield at
    for peer in peers:
        peer.kill()


def test_the_clients_run(tmp_path: Path, store: str) -> None:
    text = (ROOT / "README.md").read_text()
    examples = re.findall(
        r"<!-- example of a client: the tests run these lines -->\n```python\n(.*?)```", text, re.DOTALL
    )
    (tmp_path / "large.bin").write_bytes(bytes(700_000))
    printed = []
    for example in examples:
        assert example.count('"127.0.0.1:7001"') == 1
        run = subprocess.run(
            [sys.executable, "-c", example.replace("127.0.0.1:7001", store)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "lib")},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, "")
        printed.append(run.stdout.splitlines())
    assert printed[0] == ["3 peers have it on disk", "b'hello'", "[(b'greeting', 5), (b'large', 700000)]"]
    assert printed[1][0] == "b'7'" and printed[1][1] in ("complete", "on its way")
    assert printed[2] == ["False b'green'", "{'color': b'green', 'weight': b'3'}"]
