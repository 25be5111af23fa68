"""Long values on their way between a client and the desk, in parts that fit into frames. In memory, and for a minute."""

from __future__ import annotations

from overlay.core.context import Context, Timer
from overlay.core.message import Contact
from overlay.store.desk.messages import MAX_VALUE, PART_BYTES

MOST_BYTES = 64 << 20
"""Of all values that are on their way; more are told to come again."""

IDLE_S = 60.0
"""A value of which no part came or went for so long is nobody's any more."""

Owner = tuple[int, int]


class _Value:
    """One value, as far as it is here."""

    __slots__ = ("data", "used")

    def __init__(self, data: bytearray, used: float):
        self.data = data
        self.used = used


class Parts:
    """Those of one desk. Whoever sent a value, or asked for it, is known by its id and incarnation."""

    __slots__ = ("_bytes", "_ctx", "_numbers", "_timer", "_values")

    def __init__(self, ctx: Context):
        self._ctx = ctx
        self._values: dict[tuple[Owner, int], _Value] = {}
        """The one that was used last is the last."""
        self._bytes = 0
        self._numbers = 0
        self._timer: Timer | None = None

    # From a client -------------------------------------------------------------------------------------------

    def add(self, sender: Contact, ticket: int, offset: int, data: bytes) -> str:
        """One more part; why not, or nothing."""
        key = (_owner(sender), ticket)
        value = self._values.pop(key, None) or _Value(bytearray(), self._ctx.now)
        if offset == 0:
            # The client begins anew: what it was told of an earlier attempt was lost.
            self._bytes -= len(value.data)
            value.data = bytearray()
        if self._bytes + len(data) > MOST_BYTES:
            self._bytes -= len(value.data)
            return "too much is on its way through this peer"
        if offset != len(value.data) or offset + len(data) > MAX_VALUE:
            self._bytes -= len(value.data)
            return "this is not the next part of the value"
        value.data += data
        self._bytes += len(data)
        self._put(key, value)
        return ""

    def take(self, sender: Contact, ticket: int) -> bytes | None:
        """The value that has come under a ticket; None if there is none."""
        value = self._values.pop((_owner(sender), ticket), None)
        if value is None:
            return None
        self._bytes -= len(value.data)
        return bytes(value.data)

    # To a client ---------------------------------------------------------------------------------------------

    def keep(self, asker: Contact, data: bytes) -> int:
        """Have it fetched by parts under the ticket that is returned; 0 where there is no room for it."""
        if self._bytes + len(data) > MOST_BYTES:
            return 0
        # Ours are negative, so they never meet a client's.
        self._numbers -= 1
        self._bytes += len(data)
        self._put((_owner(asker), self._numbers), _Value(bytearray(data), self._ctx.now))
        return self._numbers

    def part(self, asker: Contact, ticket: int, offset: int) -> bytes | None:
        """One part; with the last one the value is forgotten."""
        key = (_owner(asker), ticket)
        value = self._values.get(key)
        if value is None or not 0 <= offset < len(value.data):
            return None
        data = bytes(value.data[offset : offset + PART_BYTES])
        del self._values[key]
        if offset + len(data) == len(value.data):
            self._bytes -= len(value.data)
        else:
            self._put(key, value)
        return data

    def _put(self, key: tuple[Owner, int], value: _Value) -> None:
        value.used = self._ctx.now
        self._values[key] = value
        if self._timer is None:
            self._timer = self._ctx.after(IDLE_S, self._forget)

    def _forget(self) -> None:
        self._timer = None
        old = [key for key, value in self._values.items() if value.used + IDLE_S <= self._ctx.now]
        for key in old:
            self._bytes -= len(self._values.pop(key).data)
        if self._values:
            self._timer = self._ctx.after(IDLE_S, self._forget)


def _owner(contact: Contact) -> Owner:
    return int(contact.id), contact.boot
