"""A hundred thousand inputs, some rings, and that what is planted is found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import Phase

from tests.fuzz import engine, live, ring
from tests.fuzz.corpus import load
from tests.fuzz.engine import Fuzzer
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, Target, split
from tests.sweep.run import Wrong
from tests.sweep.test_sweep import plant_early_word


@pytest.mark.parametrize(("name", "count"), [("codec", 67_000), ("tcp", 10_000), ("answers", 8_000), ("udp", 10_000)])
def test_no_input_gets_an_exception_out(name: str, count: int) -> None:
    target, chance = TARGETS[name], random.Random(name)
    known = load(target)
    for data in known:
        target.run(data)
    for _ in range(count):
        data = mutate(target, chance.choice(known), chance, known)
        try:
            target.run(data)
        except Exception as error:
            pytest.fail(f"{error!r}; replay it: python -m tests.fuzz --replay {engine.save(name, data)}")


def test_no_input_over_sockets_ends_a_thread() -> None:
    live.play(list(live.inputs(random.Random("live"), 5000)))


def test_a_ring_to_which_anything_happens_ends_right() -> None:
    ring.some(40, derandomize=True, database=None)


def test_a_planted_bug_of_a_ring_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_early_word(monkeypatch)
    with pytest.raises(Wrong):
        ring.some(200, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False)


def test_coverage_leads_to_what_chance_alone_would_not_find(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def deep(data: bytes) -> None:
        first, second, *_ = [piece[:1] for piece in split(data)] + [b"", b""]
        if first != b"\x2a":
            return
        if second == b"\x2b":
            raise RuntimeError("found")

    monkeypatch.setattr(engine, "FAILED", tmp_path)
    fuzzer = Fuzzer(Target("deep", deep, True), [b""], random.Random(1), part=__file__)
    while not fuzzer.failures and fuzzer.count < 200_000:
        fuzzer.step()
    (path,) = fuzzer.failures.values()
    with pytest.raises(RuntimeError):
        deep(path.read_bytes())
    assert str(path) in capsys.readouterr().out
