"""`python -m overlay` is the command `overlay`."""

from __future__ import annotations

import sys

from overlay.app.entry import run

if __name__ == "__main__":
    sys.exit(run("overlay.app.program"))
