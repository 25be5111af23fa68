"""A whole ring in one process: `python runner.py --help` says how."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

if __name__ == "__main__":
    from overlay.app.entry import run

    sys.exit(run("overlay.app.runner_program"))
