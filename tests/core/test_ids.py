"""The circle."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.ids import between, digits, distance, in_full, key_of, label, owns

points = st.integers(0, 255)


@given(points, points, points)
def test_between_is_walking_clockwise(low: int, key: int, high: int) -> None:
    steps = (high - low) % 256 or 256
    assert between(low, key, high) == (0 < (key - low) % 256 < steps)


@given(points, points)
def test_the_interval_from_a_point_to_itself_is_the_rest_of_the_circle(point: int, key: int) -> None:
    assert between(point, key, point) == (key != point)
    assert owns(point, key, point)


@given(points, points, points)
def test_owns_is_between_with_its_upper_end(low: int, key: int, high: int) -> None:
    assert owns(low, key, high) == (between(low, key, high) or key == high)


@given(points, points)
def test_distances_there_and_back_are_the_circle(a: int, b: int) -> None:
    assert distance(a, b, 8) + distance(b, a, 8) == (0 if a == b else 256)


@given(st.integers(0, 2**128 - 1))
def test_digits_spell_the_key(key: int) -> None:
    value = 0
    for digit in digits(key, 4, 128):
        value = value * 16 + digit
    assert value == key
    assert len(digits(key, 4, 128)) == 32


def test_a_names_key_is_the_head_of_its_sha1() -> None:
    assert key_of(b"abc") == int(hashlib.sha1(b"abc").hexdigest(), 16)
    assert key_of(b"abc", 8) == 0xA9


@pytest.mark.parametrize("bits", [0, 161])
def test_a_key_has_1_to_160_bits(bits: int) -> None:
    with pytest.raises(ValueError, match="160"):
        key_of(b"abc", bits)


def test_ids_are_shown_in_decimal_or_by_their_first_digits() -> None:
    assert [label(key) for key in (0, 255, 2**32 - 1)] == ["0", "255", "4294967295"]
    long = 0x0123456789ABCDEF0123456789ABCDEF01234567
    assert (label(long), in_full(long)) == ("01234567", "0123456789abcdef0123456789abcdef01234567")
    assert (label(2**60), label(2**100)) == ("10000000", "00000010")
