"""A whole ring in one process: `python runner.py --help` says how."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

if __name__ == "__main__":
    if "--version" in sys.argv[1:]:
        from overlay import __version__

        print(__version__)
    else:
        from overlay.app.runner_program import main

        sys.exit(main())
