"""Names of records, and their keys."""

from __future__ import annotations

from overlay.errors import LocalError
from overlay.ids import CLASSROOM_BITS, key_of


def is_name(name: str) -> bool:
    """Whether this is the name of a record: exactly four ASCII digits."""
    return len(name) == 4 and name.isascii() and name.isdigit()


def check_name(name: str) -> None:
    """LocalError for what is no name of a record."""
    if not is_name(name):
        raise LocalError(f"{name!r} is not the name of a record: it has four digits, as in 2067")


def key_of_name(name: str, bits: int = CLASSROOM_BITS) -> int:
    """The assignment's hash in the classroom's ring; elsewhere that of the papers."""
    return int(name) % 256 if bits == CLASSROOM_BITS else key_of(name.encode(), bits)
