"""What the simulator tells of a ring is what happens on sockets. `make bench` has the figures, within 20 %; here there is slack
for a busy machine."""

from __future__ import annotations

from benchmarks.trust import Outcome, live, simulated
from overlay.live.aio import run


def test_a_ring_on_sockets_does_what_the_simulated_one_does() -> None:
    model, reality = simulated(), run(live())
    assert model == simulated(), "the same seed is the same run"
    assert ratio(reality, model, "quiet_datagrams", 0.75, 1.35)
    assert ratio(reality, model, "join_commands", 0.7, 1.6)
    assert ratio(reality, model, "repair_messages", 0.6, 2.0)
    assert ratio(reality, model, "repair_s", 0.6, 2.0)


def ratio(reality: Outcome, model: Outcome, what: str, low: float, high: float) -> bool:
    value, expected = getattr(reality, what), getattr(model, what)
    assert low < value / expected < high, f"{what}: {value} live, {expected} simulated"
    return True
