"""How every command begins, before anything is imported that may not be there. Runs on any Python 3."""

from __future__ import annotations

import importlib
import sys

from overlay import __version__

NEEDED = (3, 11)


def run(program: str) -> int:
    """The version, or the program of a module; the exit status. Who has not installed what is needed is told how to."""
    if "--version" in sys.argv[1:]:
        sys.stdout.write(f"{__version__}\n")
        return 0
    if sys.version_info < NEEDED:
        sys.stderr.write(f"Python {NEEDED[0]}.{NEEDED[1]} or newer is needed\n")
        return 1
    try:
        module = importlib.import_module(program)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "overlay":
            raise
        sys.stderr.write(
            f"{error.name} is not installed: python -m pip install -r requirements.txt, or begin with make\n"
        )
        return 1
    return int(module.main())
