"""Where a ring is found that nobody named: OVERLAY_AT, or the peer that `overlay up` has started for this user."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

AT = "OVERLAY_AT"
"""Addresses of peers, with commas between them."""

UP_FILE = "up.json"


class Running(msgspec.Struct, frozen=True):
    """What a peer in the background says of itself."""

    pid: int
    at: str
    """Its address, host:port."""
    ready: bool = False
    """Whether it is in its ring."""
    left: str = ""
    """What went wrong when it left."""


def data_folder() -> Path:
    """Where the background's peer has its state unless it is told otherwise."""
    base = os.environ.get("XDG_DATA_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "overlay"


def default_places() -> list[str]:
    """The addresses; none where nothing says them."""
    named = [word.strip() for word in os.environ.get(AT, "").split(",") if word.strip()]
    if named:
        return named
    running = read_running(data_folder())
    return [running.at] if running is not None else []


def read_running(data: Path) -> Running | None:
    """What the background's peer of a folder wrote last; it may have ended since."""
    try:
        return msgspec.json.decode((data / UP_FILE).read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None
