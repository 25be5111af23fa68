"""A hundred seeds; and planted bugs, each of which a few seeds must find."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overlay import ids
from overlay.core.message import Contact, Done
from overlay.ring import admission, chord, neighborhood, rectifying, routing
from overlay.ring.chord import Chord
from overlay.ring.pings import Pings
from overlay.store.intake import Intake
from overlay.store.messages import Durable
from overlay.store.records import Records
from tests.sweep import __main__ as sweeps
from tests.sweep.run import RingRun


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_a_ring_under_faults_ends_right(first: int) -> None:
    for seed in range(first, first + 10):
        try:
            RingRun(seed).run()
        except Exception as error:
            pytest.fail(f"seed {seed}: {error}\nreplay it: python -m tests.sweep --seed {seed}")


@pytest.mark.parametrize("number", sweeps.SIGNALS)
def test_an_interrupted_sweep_goes_on_where_it_was(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked: list[int] = []

    class Pool(contextlib.nullcontext[Any]):
        def imap_unordered(self, one: object, todo: list[int], chunksize: int) -> Iterator[tuple[int, str]]:
            for seed in todo:
                if len(looked) == 2:
                    looked.append(-1)
                    signal.raise_signal(number)
                looked.append(seed)
                yield seed, ""

        def __enter__(self) -> Pool:
            return self

    monkeypatch.setattr(sweeps, "PROGRESS", tmp_path / "progress")
    monkeypatch.setattr(sweeps.multiprocessing, "get_context", lambda how: SimpleNamespace(Pool=Pool))
    # A run in the background ignores a closed terminal, and then a sweep does so too.
    before = [signal.signal(number, signal.SIG_DFL) for number in sweeps.SIGNALS]
    try:
        assert sweeps.sweep(0, 4, 1) == 128 + number
        assert sweeps.sweep(0, 4, 1) == 0
    finally:
        for other, handler in zip(sweeps.SIGNALS, before, strict=True):
            signal.signal(other, handler)
    assert looked == [0, 1, -1, 2, 3]


def wrong_between(low: int, key: int, high: int) -> bool:
    """Forgets that the circle wraps."""
    return low < key < high


def wrong_owns(low: int, key: int, high: int) -> bool:
    """The same mistake, with the upper end."""
    return low < key <= high


def plant_between(plant: pytest.MonkeyPatch) -> None:
    for module in (ids, chord, rectifying, routing):
        plant.setattr(module, "between", wrong_between, raising=False)
        plant.setattr(module, "owns", wrong_owns, raising=False)


def plant_forgotten_notify(plant: pytest.MonkeyPatch) -> None:
    """Who pings us is never looked at, so nobody learns of its predecessor."""
    plant.setattr(Chord, "pinged", lambda self, sender: None)


def plant_reviving_ping(plant: pytest.MonkeyPatch) -> None:
    """Whoever is heard of is as good as heard: the dead are pointed to again."""

    def of_all(me: Contact, contacts: Any, gone: Any, bits: int) -> list[Contact]:
        return clockwise(me, contacts, neighborhood.Gone(), bits)

    clockwise = neighborhood.clockwise
    for module in (chord, neighborhood):
        plant.setattr(module, "clockwise", of_all)
    plant.setattr(Pings, "fresh", lambda self, contact: True)


def plant_no_wrap(plant: pytest.MonkeyPatch) -> None:
    """Neighbors are sorted by number instead of by distance."""

    def by_number(me: Contact, contacts: Any, gone: Any, bits: int) -> list[Contact]:
        return sorted({c.id: c for c in contacts if c.id != me.id and c not in gone}.values(), key=lambda c: c.id)

    for module in (chord, admission):
        plant.setattr(module, "clockwise", by_number, raising=False)


def plant_early_word(plant: pytest.MonkeyPatch) -> None:
    """A record is said to be durable while it is still on its way, and is then not fetched."""
    plant.setattr(Intake, "take", lambda *_, **__: None)
    plant.setattr(Records, "handlers", {**Records.handlers, Durable: lambda self, sender, question: Done()})


@pytest.mark.parametrize(
    "bug",
    [
        plant_between,
        plant_forgotten_notify,
        plant_reviving_ping,
        plant_no_wrap,
        plant_early_word,
    ],
)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    for seed in range(60):
        try:
            RingRun(seed).run()
        except Exception:
            return
    pytest.fail(f"60 seeds did not find {bug.__name__}")
