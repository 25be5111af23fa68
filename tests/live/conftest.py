"""Peers for a test, all of them gone behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from overlay.live.threads import ThreadDriver
from tests.live.support import Folder, Talker, contact

Make = Callable[..., ThreadDriver]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a peer with a Talker: `make(3)`; keywords as for `ThreadDriver`, and `port`, `boot`."""
    drivers: list[ThreadDriver] = []

    def begin(number: int, host: str = "127.0.0.1", port: int = 0, boot: int = 0, **keywords: Any) -> ThreadDriver:
        me = contact(number, host, boot)
        blobs = keywords.pop("blobs", None) or Folder(tmp_path / str(number))
        driver = ThreadDriver(type(me)(me.id, host, port, boot), blobs=blobs, **keywords)
        drivers.append(driver)
        driver.open()
        driver.node.add(Talker())
        driver.start()
        return driver

    yield begin
    for driver in drivers:
        driver.kill()
