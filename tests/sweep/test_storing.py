"""Fifty seeds of the replicated store; and planted bugs, each of which a few seeds must find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from overlay.core.context import OnFailed
from overlay.store.replicated import handover, shelf, site
from overlay.store.replicated.messages import Item, Offered, Version
from tests.sweep.storing import SMALL, StoreRun


def run(seed: int) -> None:
    StoreRun(seed, **SMALL).run()


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_a_store_under_faults_loses_nothing(first: int) -> None:
    for seed in range(first, first + 10):
        try:
            run(seed)
        except Exception as error:
            pytest.fail(f"seed {seed}: {error}\nreplay it: python -m tests.sweep --store --small --seed {seed}")


def test_a_handful_of_peers_all_of_which_may_be_down_at_once_lose_nothing() -> None:
    for seed in range(12):
        try:
            StoreRun(seed, peers=3 + seed % 3, trouble_s=20.0).run()
        except Exception as error:
            pytest.fail(f"seed {seed} with {3 + seed % 3} peers: {error}")


def plant_early_word(plant: pytest.MonkeyPatch) -> None:
    """A copy is said to be durable, and written a moment later."""

    def persist(self: shelf.Shelf, tag: bytes, item: Item, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        self._ctx.after(0, on_durable)
        self._ctx.after(0.5, honest, self, tag, item, nothing, on_failed)

    def nothing() -> None:
        pass

    honest = shelf.Shelf._persist
    plant.setattr(shelf.Shelf, "_persist", persist)


def plant_forgotten_hand_over(plant: pytest.MonkeyPatch) -> None:
    """What is offered is forgotten, whether it was confirmed or not."""

    def begin(self: handover.Receiving) -> None:
        self.outcome.resolve(Offered(tuple([row.tag for row in self._rows]), False, self._low, self._high))

    plant.setattr(handover.Receiving, "begin", begin)


def plant_early_end_of_tombstones(plant: pytest.MonkeyPatch) -> None:
    """A deletion is not remembered, but done."""
    written = shelf.Shelf._written

    def forget(self: shelf.Shelf, tag: bytes, writing: shelf._Writing) -> None:
        written(self, tag, writing)
        if writing.item.gone:
            self.drop(tag, lambda: None)

    plant.setattr(shelf.Shelf, "_written", forget)


def plant_wrong_comparison(plant: pytest.MonkeyPatch) -> None:
    """Versions are compared by their writers first."""

    def less(self: Version, other: Version) -> bool:
        return (self.writer, self.boot, self.counter) < (other.writer, other.boot, other.counter)

    plant.setattr(Version, "__lt__", less, raising=False)
    plant.setattr(Version, "__ge__", lambda self, other: not less(self, other), raising=False)
    plant.setattr(Version, "__gt__", lambda self, other: less(other, self), raising=False)
    plant.setattr(Version, "__le__", lambda self, other: not less(other, self), raising=False)


def plant_own_clock(plant: pytest.MonkeyPatch) -> None:
    """A writer does not heed what it was told before."""
    plant.setattr(site.Site, "saw", lambda self, version: None)
    plant.setattr(site.Site, "heard", lambda self, clock: None)


@pytest.mark.parametrize(
    "bug",
    [
        plant_early_word,
        plant_forgotten_hand_over,
        plant_early_end_of_tombstones,
        plant_wrong_comparison,
        plant_own_clock,
    ],
)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    for seed in range(40):
        try:
            run(seed)
        except Exception as error:
            print(f"seed {seed}: {error}")
            return
    pytest.fail(f"40 seeds did not find {bug.__name__}")
