"""Bodies that go."""

from __future__ import annotations

from typing import Any


def serve(driver: Any, envelope: Any, request: Any, sock: Any) -> None:
    sock.close()
