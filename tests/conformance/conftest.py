"""A world for each test: the simulator, threads, asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.worlds import AsyncioWorld, SimulatedWorld, ThreadsWorld, World


@pytest.fixture(params=[SimulatedWorld, ThreadsWorld, AsyncioWorld])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world: World = request.param(tmp_path)
    yield world
    world.close()
