"""Events into lines: the assignment's, word for word, and ours where it is silent. A table, an event a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from overlay.app.terminal import ERROR, HINT, PING, ROUTE, Line
from overlay.ids import CLASSROOM_BITS, label
from overlay.ring import events as ring
from overlay.store import events as store


def _joined_ids(peers: Sequence[int]) -> str:
    return f"Peer{'s' if len(peers) > 1 else ''} {' and '.join(map(label, peers))}"


def _ping(text: str) -> tuple[Line, ...]:
    return (Line(text, PING),)


def _say(*texts: str) -> tuple[Line, ...]:
    return tuple(Line(text) for text in texts)


def _hint(text: str) -> tuple[Line, ...]:
    return (Line(text, HINT),)


def route(path: Sequence[int]) -> tuple[Line, ...]:
    """The way that a message took; a way of one peer is none."""
    return (Line(f"route: {' > '.join(map(label, path))}", ROUTE),) if len(path) > 1 else ()


def count(number: int, thing: str, things: str = "") -> str:
    """`1 record`, `2 records`; `2 copies` where the second form is told."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def size_text(size: int) -> str:
    """Bytes as people say them."""
    if size < 1024:
        return count(size, "byte")
    amount = size / 1024
    for unit in ("KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _forwarded(event: ring.Forwarded) -> tuple[Line, ...]:
    words = _FORWARDED.get((type(event.message).__name__, event.first_hop))
    return () if words is None else _say(words(event.message))


_FORWARDED: dict[tuple[str, bool], Callable[[Any], str]] = {
    ("Join", True): lambda m: f"Peer {label(m.newcomer.id)} Join request forwarded to my successor",
    ("Join", False): lambda m: f"Peer {label(m.newcomer.id)} Join request forwarded to my successor",
    ("Store", True): lambda m: f"Store {m.name} request forwarded to my successor",
    ("Store", False): lambda m: f"Store {m.name} request forwarded to my successor",
    ("Request", True): lambda m: f"File request for {m.name} has been sent to my successor",
    ("Request", False): lambda m: f"Request for File {m.name} has been received, but the file is not stored here",
}

NAMED = 10
"""So many records that a leaver keeps are named."""


def _left_behind(event: store.LeftBehind) -> tuple[Line, ...]:
    names = ", ".join(event.names[:NAMED]) + (" and others" if len(event.names) > NAMED else "")
    stay, them = ("stays", "it") if len(event.names) == 1 else ("stay", "them")
    why = f"nobody took {them} ({event.why})" if event.why else f"there is nobody to take {them}"
    again = "with --keep" if event.peer < 1 << CLASSROOM_BITS else "from there"
    return _hint(f"{names} {stay} in {event.folder}: {why}; start Peer {label(event.peer)} again {again}")


_TABLE: dict[type[ring.Event], Callable[[Any], tuple[Line, ...]]] = {
    ring.PingsSent: lambda e: _ping(f"Ping requests sent to {_joined_ids(e.peers)}"),
    ring.PingReceived: lambda e: _ping(f"Ping request message received from Peer {label(e.peer)}"),
    ring.PingAnswered: lambda e: _ping(f"Ping response received from Peer {label(e.peer)}"),
    ring.Waiting: lambda e: _hint(f"waiting for Peer {label(e.peer.id)} at {address(e.peer.host, e.peer.port)}"),
    ring.IdTaken: lambda e: (
        Line(
            f"Peer {label(e.holder.id)} is in the ring already, at {address(e.holder.host, e.holder.port)}; "
            "quit here and choose another id",
            ERROR,
        ),
    ),
    ring.Forwarded: _forwarded,
    ring.JoinReceived: lambda e: _say(f"Peer {label(e.newcomer)} Join request received"),
    ring.SuccessorsChanged: lambda e: _say(
        f"My new first successor is Peer {label(e.first)}", f"My new second successor is Peer {label(e.second)}"
    ),
    ring.SuccessorChangeReceived: lambda e: _say("Successor Change request received"),
    ring.JoinAccepted: lambda e: _say(
        "Join request has been accepted",
        f"My first successor is Peer {label(e.first)}",
        f"My second successor is Peer {label(e.second)}",
    ),
    ring.DepartureReceived: lambda e: _say(f"Peer {label(e.peer)} will depart from the network"),
    ring.PeerDied: lambda e: _say(f"Peer {label(e.peer)} is no longer alive"),
    store.StoreAccepted: lambda e: _say(f"Store {e.name} request accepted"),
    store.StorePlaced: lambda e: route(e.path),
    store.Stored: lambda e: _hint(f"{e.name} is stored durably at Peer {label(e.peer)} ({size_text(e.size)})"),
    store.PlaceholderMade: lambda e: _hint(f"there is no file {e.name}.pdf here: an empty placeholder is stored"),
    store.StoreFailed: lambda e: (Line(f"Store {e.name} failed: {e.why}", ERROR),),
    store.FileHere: lambda e: _say(f"File {e.name} is stored here"),
    store.Sending: lambda e: _say(f"Sending file {e.name} to Peer {label(e.peer)}"),
    store.Sent: lambda e: _say("The file has been sent"),
    store.Awaited: lambda e: _hint(f"Peer {label(e.peer)} is looking for {e.name}, which takes a while"),
    store.FileFound: lambda e: (*_say(f"Peer {label(e.peer)} had File {e.name}"), *route(e.path)),
    store.Receiving: lambda e: _say(f"Receiving File {e.name} from Peer {label(e.peer)}"),
    store.Received: lambda e: _say(f"File {e.name} received"),
    store.NotStored: lambda e: _say(f"File {e.name} is not stored in the network"),
    store.RequestFailed: lambda e: (Line(f"Request {e.name} failed: {e.why}", ERROR),),
    store.TookOver: lambda e: _hint(f"took over {e.name} from Peer {label(e.peer)}"),
    store.LeftBehind: _left_behind,
    store.HandedOver: lambda e: _hint(f"handed {e.name} over to Peer {label(e.peer)}"),
}


def address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def narrate(event: msgspec.Struct) -> tuple[Line, ...]:
    """The lines of an event; none for one that people need not see."""
    words = _TABLE.get(type(event))  # type: ignore[arg-type]
    return () if words is None else words(event)
