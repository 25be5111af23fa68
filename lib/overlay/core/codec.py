"""Bytes to envelopes and back, within bounds. msgspec does the work; whatever it does not accept is a DecodeError."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Union, cast

import msgspec

from overlay.core.message import WIRE_VERSION, Contact, Done, Envelope, Hello, Message, Refused, Welcome
from overlay.errors import LocalError, RemoteError
from overlay.ids import Key

MAX_DATAGRAM_BYTES = 1232
"""What passes every IPv6 path without being cut up: 1280 less the headers."""

MAX_FRAME_BYTES = 64 * 1024
"""The largest control frame. Anything larger travels as a body that its receiver pulls."""

MAX_HOST_CHARS = 64
MAX_SERVICE_CHARS = 64


class DecodeError(RemoteError):
    """These bytes are not an envelope of ours. `head` is the envelope as far as it could be read, without a body."""

    def __init__(self, reason: str, head: Envelope[None] | None = None):
        super().__init__(reason)
        self.head = head


LONG = 1 << 63
"""Identifiers from here on travel as bytes: msgpack's integers end there."""

REMEMBERED = 2048
"""Identifiers whose two forms are known: few are spoken of again and again, and hundreds of peers in one process share them."""


def _to_wire(value: object) -> object:
    if isinstance(value, Key):
        return int(value) if value < LONG else value.to_bytes((value.bit_length() + 7) // 8)
    raise NotImplementedError(f"{type(value).__name__} has no form on the wire")


def _from_wire(wanted: type, value: object) -> object:
    if wanted is Key and type(value) is int and value >= 0:
        return Key(value)
    if wanted is Key and isinstance(value, bytes) and len(value) <= 64:
        return Key(int.from_bytes(value))
    raise ValueError(f"{value!r} is not a {wanted.__name__}")


# Typed, for True and 1.0 are equal to 1, and are no identifiers.
_encode_hook: Callable[[Any], Any] = functools.lru_cache(REMEMBERED, typed=True)(_to_wire)
_decode_hook = cast(Callable[[type[Any], Any], Any], functools.lru_cache(REMEMBERED, typed=True)(_from_wire))


class _Head(msgspec.Struct, array_like=True, gc=False):
    version: int
    kind: int
    sender: Contact
    to: Key
    boot: int
    service: str
    number: int
    counter: int
    body: msgspec.Raw


_packer = msgspec.msgpack.Encoder(enc_hook=_encode_hook)
_heads = msgspec.msgpack.Decoder(_Head, dec_hook=_decode_hook)


class Codec:
    """Encodes any message; decodes those of the given classes, and the ones every peer speaks."""

    def __init__(self, messages: Iterable[type[Message]]):
        types: tuple[type[Message], ...] = tuple(dict.fromkeys((Done, Refused, Hello, Welcome, *messages)))
        names = [str(kind.__name__) for kind in types]
        for name in names:
            if names.count(name) > 1:
                raise LocalError(f"two messages are called {name}; the class name is the tag on the wire, rename one")
        union: Any = Union[types]
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_encode_hook)
        self._decoder: msgspec.msgpack.Decoder[Envelope[Message]] = msgspec.msgpack.Decoder(
            Envelope[union], dec_hook=_decode_hook
        )

    def encode(self, envelope: Envelope[Message]) -> bytes:
        """The envelope's bytes; LocalError where they are more than a frame may have."""
        data = self._encoder.encode(envelope)
        if len(data) > MAX_FRAME_BYTES:
            raise LocalError(
                f"{type(envelope.body).__name__} has {len(data)} bytes, a message at most {MAX_FRAME_BYTES}"
            )
        return data

    def decode(self, data: bytes | bytearray | memoryview) -> Envelope[Message]:
        """The envelope in `data`; DecodeError for anything else, whatever it is."""
        try:
            envelope = self._decoder.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise DecodeError(str(error) or type(error).__name__, _head_of(data)) from None
        if envelope.version != WIRE_VERSION:
            raise DecodeError(f"wire version {envelope.version}, not {WIRE_VERSION}")
        if not 0 <= envelope.kind <= 3 or envelope.number < 0 or envelope.counter < 0 or envelope.boot < 0:
            raise DecodeError("a number in the envelope is out of range")
        if len(envelope.service) > MAX_SERVICE_CHARS or not is_sound(envelope.sender):
            raise DecodeError("the envelope names a service or a sender that cannot be")
        return envelope


def is_sound(contact: Contact) -> bool:
    """Whether a contact from outside could be one at all."""
    return 0 < contact.port < 65536 and 0 < len(contact.host) <= MAX_HOST_CHARS and contact.boot >= 0


def _head_of(data: bytes | bytearray | memoryview) -> Envelope[None] | None:
    try:
        head = _heads.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError):
        return None
    if head.version != WIRE_VERSION or not is_sound(head.sender):
        return None
    return Envelope(
        head.version, head.kind, head.sender, head.to, head.boot, head.service, head.number, head.counter, None
    )


def pack(message: Message) -> bytes:
    """A message to travel inside another one, which need not know it."""
    return _packer.encode(message)


@functools.cache
def _unpacker(kinds: tuple[type[Message], ...]) -> msgspec.msgpack.Decoder[Message]:
    union: Any = Union[kinds]
    return msgspec.msgpack.Decoder(union, dec_hook=_decode_hook)


def unpack(data: bytes, kinds: tuple[type[Message], ...]) -> Message:
    """The message in `data`, one of `kinds`; DecodeError for anything else."""
    try:
        return _unpacker(kinds).decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        raise DecodeError(str(error) or type(error).__name__) from None
