"""The partial view: what is kept, what goes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from overlay.gossip.view import Descriptor, View
from overlay.ids import Key
from tests.fakes import contact

NOW = 100.0


def view_of(*ages: float, size: int = 10) -> View:
    """Peers 1, 2, ... of these ages, seen from peer 0."""
    view = View(Key(0), size)
    view.merge([Descriptor(contact(number), age) for number, age in enumerate(ages, 1)], NOW)
    return view


def test_of_two_news_of_a_peer_the_fresher_one_stays_and_we_are_never_in_our_own_view() -> None:
    view = view_of(5.0, 1.0)
    view.merge([Descriptor(contact(1), 2.0), Descriptor(contact(2), 3.0), Descriptor(contact(0), 0.0)], NOW)
    assert {d.contact.id: d.age_s for d in view.descriptors(9, 0, random.Random(1), NOW)} == {1: 2.0, 2: 1.0}


def test_ages_from_outside_that_are_no_numbers_count_as_none_and_contacts_that_cannot_be_are_ignored() -> None:
    view = View(Key(0), 5)
    view.merge([Descriptor(contact(1), float("nan")), Descriptor(contact(2), -7.0)], NOW)
    view.merge([Descriptor(contact(3).__class__(Key(3), "x", 99_999_999, 1), 0.0)], NOW)
    assert [(d.contact.id, d.age_s) for d in view.descriptors(9, 0, random.Random(1), NOW)] == [(1, 0.0), (2, 0.0)]


def test_policies_pick_the_freshest_the_oldest_or_any() -> None:
    view, rng = view_of(5.0, 1.0, 9.0), random.Random(1)
    assert view.select("head", rng) == contact(2)
    assert view.select("tail", rng) == contact(3)
    assert {view.select("rand", rng, (1,)) for _ in range(50)} == {contact(2), contact(3)}
    assert view.select("rand", rng, (1, 2, 3)) is None


def test_the_oldest_are_sent_only_when_there_are_not_enough_others() -> None:
    view, rng = view_of(5.0, 1.0, 9.0, 2.0), random.Random(1)
    for _ in range(20):
        assert {d.contact.id for d in view.descriptors(2, 2, rng, NOW)} == {2, 4}
    assert len(view.descriptors(3, 2, rng, NOW)) == 3


def test_what_goes_first_the_oldest_then_what_was_sent_then_by_policy() -> None:
    ages = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    sent = (Key(6), Key(1), Key(2))
    view = view_of(*ages, size=3)
    view.trim(1, 1, sent, "head", random.Random(1))
    assert view.ids() == {2, 3, 4}, "6 as the oldest, 1 as sent, 5 as the oldest of the rest"
    view = view_of(*ages, size=3)
    view.trim(0, 0, sent, "tail", random.Random(1))
    assert view.ids() == {4, 5, 6}


@given(st.lists(st.floats(0, 99), max_size=30), st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), st.randoms())
def test_a_view_is_never_larger_than_its_size_and_never_smaller_than_need_be(
    ages: list[float], size: int, healer: int, swapper: int, rng: random.Random
) -> None:
    view = view_of(*ages, size=size)
    view.trim(healer, swapper, [Key(number) for number in range(1, 9)], "rand", rng)
    assert len(view) == min(size, len(ages))
