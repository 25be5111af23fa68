"""`python -m overlay` is the command `overlay`."""

from __future__ import annotations

import sys

from overlay.app.program import main

if __name__ == "__main__":
    sys.exit(main())
