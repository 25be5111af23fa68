"""Bytes to envelopes and back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.core.codec import MAX_FRAME_BYTES, Codec, DecodeError, pack, unpack
from overlay.core.message import CALL, WIRE_VERSION, Command, Contact, Datagram, Envelope, Hello, Message
from overlay.errors import LocalError
from overlay.ids import Key


class Note(Datagram, frozen=True):
    who: Contact
    text: str


class Blob(Command, frozen=True):
    data: bytes


CODEC = Codec([Note, Blob])
keys = st.one_of(st.integers(0, 255), st.integers(0, 2**160 - 1)).map(Key)
contacts = st.builds(Contact, keys, st.just("127.0.0.1"), st.integers(1, 65535), st.integers(0, 2**63 - 1))
messages = st.one_of(
    st.builds(Note, contacts, st.text(max_size=100)), st.builds(Blob, st.binary(max_size=100)), st.builds(Hello)
)


def envelope(body: Message, sender: Contact, version: int = WIRE_VERSION) -> Envelope[Message]:
    return Envelope(version, CALL, sender, Key(3), 7, "ring", 5, 9, body)


@given(messages, contacts)
def test_an_envelope_survives_the_wire(body: Message, sender: Contact) -> None:
    assert CODEC.decode(CODEC.encode(envelope(body, sender))) == envelope(body, sender)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_a_decode_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        CODEC.decode(data)


@given(messages, contacts, st.data())
def test_any_bent_envelope_is_an_envelope_or_a_decode_error(
    body: Message, sender: Contact, data: st.DataObject
) -> None:
    whole = bytearray(CODEC.encode(envelope(body, sender)))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        CODEC.decode(whole[: data.draw(st.integers(0, len(whole)))])


def test_deep_nesting_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(b"\x91" * 60_000)


def test_another_wire_version_is_named() -> None:
    data = CODEC.encode(envelope(Hello(), Contact(Key(2), "h", 1), version=WIRE_VERSION + 1))
    with pytest.raises(DecodeError, match="wire version 2, not 1"):
        CODEC.decode(data)


def test_an_unknown_message_leaves_its_head_readable_so_that_a_call_can_be_refused() -> None:
    data = Codec([Blob]).encode(envelope(Blob(b"x"), Contact(Key(2), "h", 1)))
    with pytest.raises(DecodeError) as caught:
        Codec([Note]).decode(data)
    assert caught.value.head is not None
    assert (caught.value.head.number, caught.value.head.sender.id) == (5, 2)


@pytest.mark.parametrize("sender", [Contact(Key(2), "", 1), Contact(Key(2), "h", 0), Contact(Key(2), "h" * 65, 1)])
def test_a_sender_that_cannot_be_is_refused(sender: Contact) -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(CODEC.encode(envelope(Hello(), sender)))


def test_a_message_larger_than_a_frame_is_the_callers_mistake() -> None:
    sender = Contact(Key(2), "h", 1)
    CODEC.encode(envelope(Blob(bytes(MAX_FRAME_BYTES - 100)), sender))
    with pytest.raises(LocalError, match="at most 65536"):
        CODEC.encode(envelope(Blob(bytes(MAX_FRAME_BYTES)), sender))


def test_two_messages_of_one_name_are_refused() -> None:
    other = type("Note", (Command,), {})
    with pytest.raises(LocalError, match="called Note"):
        Codec([Note, other])


@given(messages)
def test_a_packed_message_comes_back_and_only_as_one_of_its_kinds(body: Message) -> None:
    assert unpack(pack(body), (Note, Blob, Hello)) == body
    others = tuple(kind for kind in (Note, Blob, Hello) if kind is not type(body))
    with pytest.raises(DecodeError):
        unpack(pack(body), others)
