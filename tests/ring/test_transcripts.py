"""The assignment's sections in virtual time, on an encoded wire: what each peer prints, ping lines apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from overlay.app.narrator import narrate
from overlay.app.terminal import SAY
from overlay.ring.events import PingAnswered, PingReceived, PingsSent
from tests.rings import EXAMPLE, SimRing

GOLDEN = Path(__file__).parent.parent / "golden"


def golden(name: str) -> dict[int, list[str]]:
    """The lines of a transcript by peer."""
    lines: dict[int, list[str]] = {}
    for line in (GOLDEN / f"{name}.txt").read_text().splitlines():
        peer, text = line.split(" > ", 1)
        lines.setdefault(int(peer.strip("[]")), []).append(text)
    return lines


@pytest.fixture
def ring() -> SimRing:
    files = {8: {"2067.pdf": b"two thousand", "4103.pdf": b"four thousand"}}
    ring = SimRing(1, encode=True)
    ring.form(files=files)
    ring.sim.run_for(7)
    return ring


def said(ring: SimRing) -> dict[int, list[str]]:
    """What the peers printed on their standard output since the last time, ping lines apart."""
    lines = {}
    for number, peer in ring.peers.items():
        told = [line for event in peer.events for line in narrate(event)]
        lines[number] = [line.text for line in told if line.kind == SAY]
        peer.events.clear()
    return {number: texts for number, texts in lines.items() if texts}


def kill(ring: SimRing) -> None:
    ring.kill(14)


@pytest.mark.parametrize(
    ("name", "act", "seconds"),
    [
        ("join_15_via_4", lambda ring: ring.join(15, 4), 20),
        ("quit_9", lambda ring: ring.quit(9), 20),
        ("kill_14", kill, 20),
        ("store_2067_at_8", lambda ring: ring.peers[8].records.store("2067"), 20),
        ("request_4103_at_2", lambda ring: ring.peers[2].records.request("4103"), 20),
    ],
)
def test_each_section(ring: SimRing, name: str, act: Callable[[SimRing], object], seconds: float) -> None:
    said(ring)
    act(ring)
    # Long enough for everything that stabilization might still want to correct: a transcript stays as it is.
    ring.sim.run_for(seconds)
    assert said(ring) == golden(name)
    assert ring.is_right()


def test_pings(ring: SimRing) -> None:
    ring.sim.run_for(0.5)
    for peer in ring.peers.values():
        peer.events.clear()
    ring.sim.run_for(3 * 4)
    for index, number in enumerate(EXAMPLE):
        peer = ring.peers[number]
        ahead = (EXAMPLE[(index + 1) % 7], EXAMPLE[(index + 2) % 7])
        behind = {EXAMPLE[index - 1], EXAMPLE[index - 2]}
        assert [event.peers for event in peer.told(PingsSent)] == [ahead] * 4  # type: ignore[attr-defined]
        assert {event.peer for event in peer.told(PingReceived)} == behind  # type: ignore[attr-defined]
        assert sorted(e.peer for e in peer.told(PingAnswered)) == sorted(ahead * 4)  # type: ignore[attr-defined]
