"""Frames out of whatever pieces TCP makes of them, and replay windows."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.core.codec import MAX_FRAME_BYTES
from overlay.live.frames import FrameReader, frame
from overlay.live.replay import MAX_SENDERS, WINDOW, ReplayGuard


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 360), max_size=8))
def test_frames_come_whole_however_tcp_splits_and_merges_them(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(body) for body in bodies)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = FrameReader()
    got = [body for start, end in itertools.pairwise(places) for body in reader.feed(stream[start:end])]
    assert (got, reader.waiting, reader.broken) == (bodies, False, False)


def test_a_frame_is_the_same_at_every_split_and_a_byte_at_a_time() -> None:
    stream = frame(b"first") + frame(b"second")
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == [b"first", b"second"]
    reader = FrameReader()
    assert [body for byte in stream for body in reader.feed(bytes([byte]))] == [b"first", b"second"]


@pytest.mark.parametrize(("size", "accepted"), [(0, False), (1, True), (MAX_FRAME_BYTES, True)])
def test_the_length_has_bounds(size: int, accepted: bool) -> None:
    reader = FrameReader()
    assert (len(reader.feed(frame(bytes(size)))), reader.broken) == (int(accepted), not accepted)


@pytest.mark.parametrize("size", [MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_nothing_is_allocated_for_a_length_beyond_the_bound(size: int) -> None:
    reader = FrameReader()
    tracemalloc.start()
    try:
        assert reader.feed(frame(b"before") + size.to_bytes(4) + b"x") == [b"before"]
        assert reader.feed(bytes(1 << 20)) == []
        # The megabyte of zeros is this test's own.
        assert tracemalloc.get_traced_memory()[0] < 64 * 1024
    finally:
        tracemalloc.stop()
    assert reader.broken


def test_a_counter_is_fresh_once() -> None:
    guard, sender = ReplayGuard(), (1, 1)
    assert [guard.is_fresh(sender, n) for n in (5, 5, 3, 4, 3, 68, 5)] == [True, False, True, True, False, True, False]
    assert guard.is_fresh((1, 2), 5), "another incarnation counts anew"
    for counter in range(100, 100 + 2 * WINDOW):
        assert guard.is_fresh(sender, counter)
    assert [guard.is_fresh(sender, 100 + n) for n in (WINDOW, 2 * WINDOW - 1)] == [False, False]


def test_an_invented_counter_shuts_nobody_out() -> None:
    guard, sender = ReplayGuard(), (1, 1)
    for counter in (7, 1 << 62, 1 << 70, 8):
        assert guard.is_fresh(sender, counter)
    assert not guard.is_fresh(sender, 7)


def test_senders_that_are_remembered_are_bounded() -> None:
    guard = ReplayGuard()
    for sender in range(MAX_SENDERS + 1):
        assert guard.is_fresh((sender, 0), 1)
    assert [guard.is_fresh((sender, 0), 1) for sender in (MAX_SENDERS, 2, 0)] == [False, False, True]
