"""The desk's parts: what is held for clients is bounded, theirs alone, and not for long."""

from __future__ import annotations

from overlay.store.desk.messages import MAX_VALUE, PART_BYTES
from overlay.store.desk.parts import IDLE_S, MOST_BYTES, Parts
from tests.fakes import FakeContext, contact

ME, ONE, OTHER = contact(1), contact(2), contact(3)


def test_parts_come_in_order_and_are_their_senders_alone() -> None:
    parts = Parts(FakeContext(ME))
    assert parts.add(ONE, 7, 0, b"abc") == parts.add(OTHER, 7, 0, b"x") == parts.add(ONE, 7, 3, b"de") == ""
    assert parts.take(contact(2, boot=9), 7) is None
    assert (parts.take(ONE, 7), parts.take(OTHER, 7), parts.take(ONE, 7)) == (b"abcde", b"x", None)
    assert parts.add(ONE, 7, 0, b"abc") == ""
    assert parts.add(ONE, 7, 4, b"e") == "this is not the next part of the value" and parts.take(ONE, 7) is None
    # Once more from the beginning is what a client does whose connection broke.
    assert parts.add(ONE, 8, 0, b"lost") == parts.add(ONE, 8, 0, b"abc") == "" and parts.take(ONE, 8) == b"abc"


def test_a_value_is_fetched_once_by_whoever_asked_for_it() -> None:
    parts = Parts(FakeContext(ME))
    value = bytes(range(256)) * (2 * PART_BYTES // 256) + b"end"
    ticket = parts.keep(ONE, value)
    assert parts.part(OTHER, ticket, 0) is None and parts.part(ONE, ticket, len(value)) is None
    got = b"".join(parts.part(ONE, ticket, offset) or b"" for offset in range(0, len(value), PART_BYTES))
    assert got == value and parts.part(ONE, ticket, 0) is None


def test_what_is_held_has_an_end() -> None:
    ctx = FakeContext(ME)
    parts = Parts(ctx)
    full = bytes(MAX_VALUE)
    for ticket in range(MOST_BYTES // MAX_VALUE):
        assert parts.add(ONE, ticket, 0, full) == ""
    assert parts.add(ONE, 0, MAX_VALUE, b"1") != ""  # longer than a value may be, and the rest of it is gone with that
    assert parts.add(OTHER, 1, 0, full) == "" and parts.keep(OTHER, b"1") == 0
    assert parts.add(OTHER, 2, 0, b"1") == "too much is on its way through this peer"
    ctx.advance(2 * IDLE_S)
    assert parts.take(ONE, 5) is None and parts.keep(OTHER, full) != 0
