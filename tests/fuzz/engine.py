"""Fuzzing that is guided by coverage: an input that reaches what none before it reached is kept, and others are made of it."""

from __future__ import annotations

import hashlib
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import Target

FAILED = Path(".fuzz")
"""Where inputs go that found something."""

Arc = tuple[CodeType, int, int]


class Tracer:
    """Which lines of the package follow which."""

    def __init__(self, part: str = "/overlay/"):
        self._part = part
        self._ours: dict[CodeType, bool] = {}
        self.arcs: set[Arc] = set()

    def run(self, call: Callable[[bytes], None], data: bytes) -> None:
        """Call, and add to `arcs`."""
        sys.settrace(self._enter)
        try:
            call(data)
        finally:
            sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = self._part in code.co_filename
        if not ours:
            return None
        arcs, before = self.arcs, 0

        def line(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal before
            if event == "line":
                arcs.add((code, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line


class Fuzzer:
    """One target's inputs, and what they have reached."""

    def __init__(self, target: Target, inputs: list[bytes], chance: random.Random, part: str = "/overlay/"):
        self.target = target
        self.inputs = inputs
        self.found: list[bytes] = []
        self.count = 0
        self.failures: dict[str, Path] = {}
        self._chance = chance
        self._tracer = Tracer(part)
        for data in inputs:
            self._try(data)

    @property
    def arcs(self) -> int:
        """How much was reached."""
        return len(self._tracer.arcs)

    def run(self, seconds: float) -> None:
        """Make inputs and try them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()

    def step(self) -> None:
        """One input more."""
        chance = self._chance
        parent = self.found[-1] if self.found and chance.random() < 0.1 else chance.choice(self.inputs)
        data = mutate(self.target, parent, chance, self.inputs)
        before = self.arcs
        if self._try(data) and self.arcs > before:
            self.inputs.append(data)
            self.found.append(data)

    def _try(self, data: bytes) -> bool:
        self.count += 1
        try:
            self._tracer.run(self.target.run, data)
        except Exception as error:
            self._failed(data, error)
            return False
        return True

    def _failed(self, data: bytes, error: Exception) -> None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {last.filename}:{last.lineno}"
        if where not in self.failures:
            self.failures[where] = save(self.target.name, data)
            traceback.print_exception(error)
            told(self.failures[where])


def save(name: str, data: bytes) -> Path:
    """Keep an input that found something."""
    FAILED.mkdir(exist_ok=True)
    path = FAILED / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.bin"
    path.write_bytes(data)
    return path


def told(path: Path) -> None:
    """How it is seen again."""
    print(f"  replay it: python -m tests.fuzz --replay {path}", flush=True)


def smallest(target: Target, inputs: list[bytes]) -> list[bytes]:
    """Of these inputs, the shortest first, those that reach what those before them do not."""
    tracer, kept = Tracer(), []
    for data in sorted(inputs, key=len):
        before = len(tracer.arcs)
        tracer.run(target.run, data)
        if len(tracer.arcs) > before:
            kept.append(data)
    return kept
