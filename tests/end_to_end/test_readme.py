"""The README's Python example is run as it stands, but for the port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.processes import ROOT, free_base_port


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
