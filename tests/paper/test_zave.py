"""The model that correctness is explored on sees what is wrong, and each of the original's mistakes (ZV15)."""

from __future__ import annotations

import pytest

from overlay.lab.zave import CORRECT, MUTANTS, Mutant, Ring, explore

BASE = frozenset((10, 20, 30))


def ring_with(**lists: list[int]) -> Ring:
    """Members 10, 20, 30 and 40, r = 2, the first three of them the base; some with other lists."""
    ring = Ring(2, [10, 20, 30, 40], BASE)
    for name, line in lists.items():
        ring.members[int(name[1:])].list = line
    return ring


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        ({}, []),
        ({"m40": [20, 30]}, ["BaseNotSkipped"]),
        ({"m10": [30, 40]}, ["BaseNotSkipped"]),
        ({"m20": [10, 20], "m10": [20, 30], "m30": [40, 10], "m40": [30, 10]}, ["AtMostOneRing", "BaseNotSkipped"]),
        ({"m10": [30, 40], "m30": [20, 30], "m20": [40, 10], "m40": [10, 20]}, ["OrderedRing", "BaseNotSkipped"]),
        ({"m10": [15, 25]}, ["a member has no live successor"]),
    ],
)
def test_each_broken_invariant_is_named(lists: dict[str, list[int]], told: list[str]) -> None:
    assert ring_with(**lists).broken() == told


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed_by_schedules_that_the_right_protocol_survives(mutant: Mutant) -> None:
    for number in range(200):
        right = explore(number, CORRECT)
        assert right.ideal and not right.broken
        verdict = explore(number, mutant)
        if verdict.broken or not verdict.ideal:
            return
    pytest.fail("it lives")
