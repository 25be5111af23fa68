"""The Context: a protocol's whole world. Each driver gives every protocol one of its own."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from overlay.core.message import Contact, Message
from overlay.core.storage import Batch, BlobRef, Entry
from overlay.errors import Indefinite, LocalError, NoSpace, NotThere, OverlayError, RemoteError

if TYPE_CHECKING:
    from overlay.core.node import Node


class Reason(enum.Enum):
    """Why something that was asked for did not come."""

    TIMEOUT = "timed out"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    OVERLOADED = "overloaded"
    CANCELLED = "cancelled"
    LOCAL = "failed here"
    NOT_THERE = "not there"
    """Of `find_blob` alone: no such file, while one that cannot be read is LOCAL."""
    NO_SPACE = "no space"
    """On this machine's disk, or within the quota of it."""


class Failure(msgspec.Struct, frozen=True):
    """What `on_failed` is told."""

    reason: Reason
    detail: str = ""
    unsent: bool = False
    """Of a call: whether it certainly never left, so that nothing was done."""

    def as_error(self) -> OverlayError:
        """The same as an exception, by whose fault it was."""
        text = self.detail or self.reason.value
        match self.reason:
            case Reason.REFUSED:
                return RemoteError(text)
            case Reason.NO_SPACE:
                return NoSpace(text)
            case Reason.LOCAL | Reason.NOT_THERE | Reason.CANCELLED:
                return LocalError(text)
            case _:
                return Indefinite(text)


def failure_of(error: Exception) -> Failure:
    """What this machine would not do."""
    match error:
        case NotThere():
            return Failure(Reason.NOT_THERE, str(error))
        case NoSpace():
            return Failure(Reason.NO_SPACE, str(error))
    return Failure(Reason.LOCAL, str(error))


OnFailed = Callable[[Failure], None]


class Timer(msgspec.Struct, eq=False):
    """A callback to come. Cancelling twice, or too late, does nothing."""

    callback: Callable[..., None] | None
    args: tuple[Any, ...]

    def cancel(self) -> None:
        """See to it that the callback is not called."""
        self.callback = None
        self.args = ()

    def fire(self) -> None:
        """Call back now, unless it was cancelled."""
        callback, args = self.callback, self.args
        if callback is not None:
            self.cancel()
            callback(*args)

    @property
    def active(self) -> bool:
        """Whether the callback is still to come."""
        return self.callback is not None


class Transfer:
    """A body on its way to us."""

    __slots__ = ("cancelled", "done_bytes", "on_cancel", "peer", "ref")

    def __init__(self, peer: Contact, ref: BlobRef):
        self.peer = peer
        self.ref = ref
        self.done_bytes = 0
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Stop it; `on_failed` then hears CANCELLED, unless it was done before."""
        if not self.cancelled:
            self.cancelled = True
            if self.on_cancel is not None:
                self.on_cancel()


class Context:
    """Everything a protocol may do. An effect never runs a handler before the current handler has returned.

    A driver subclasses this; a protocol holds one as `self.ctx` and imports nothing of any driver.
    """

    __slots__ = ("_rng", "me", "node", "seed", "service")

    heard: bool = True
    """Whether anybody hears what is notified; asked before that which is told with every message."""

    def __init__(self, node: Node, service: str, seed: object):
        self.node = node
        self.me: Contact = node.me
        self.service = service
        self.seed = seed
        self._rng: random.Random | None = None

    @property
    def rng(self) -> random.Random:
        """This protocol's own stream of chance, made on first use: adding a node does not disturb the others."""
        if self._rng is None:
            self._rng = random.Random(f"{self.seed}/{self.me.id}/{self.me.boot}/{self.service}")
        return self._rng

    @property
    def now(self) -> float:
        """Seconds that only grow; virtual in the simulator."""
        raise NotImplementedError

    @property
    def wall(self) -> float:
        """Seconds since 1970, for expiry across restarts only and never for order."""
        raise NotImplementedError

    def send(self, peer: Contact, message: Message) -> None:
        """One way. A Datagram may vanish; a Command arrives in order or is lost with its connection."""
        raise NotImplementedError

    def call(
        self,
        peer: Contact,
        request: Message,
        on_reply: Callable[[Any], None],
        on_failed: OnFailed,
        *,
        timeout_s: float,
    ) -> None:
        """Ask, and hear exactly once: `on_reply(message)` or `on_failed(Failure)`.

        After TIMEOUT, and after UNREACHABLE when it was on its way, the work may have been done all the same:
        requests are idempotent.
        """
        self.node.open_call(self.service, peer, request, on_reply, on_failed, timeout_s)

    def meet(
        self, host: str, port: int, on_contact: Callable[[Contact], None], on_failed: OnFailed, *, timeout_s: float
    ) -> None:
        """Say Hello at an address, to learn who lives there and in which incarnation."""
        raise NotImplementedError

    def after(self, delay_s: float, callback: Callable[..., None], *args: Any) -> Timer:
        """Call back in `delay_s` seconds, in this node, like a handler."""
        raise NotImplementedError

    def watch(self, peer: Contact, on_down: Callable[[Contact], None]) -> None:
        """Keep a connection to `peer` and hear, once, when it is reset or refused.

        A second watch of a peer takes the first one's place."""
        raise NotImplementedError

    def unwatch(self, peer: Contact) -> None:
        """No longer."""
        raise NotImplementedError

    def close(self) -> None:
        """The protocol was taken out of its node: nothing watches for it any more. Only the node calls this."""
        raise NotImplementedError

    def stored(self) -> Mapping[str, Entry]:
        """What this service had made durable when this incarnation began."""
        raise NotImplementedError

    def persist(self, batch: Batch, on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        """Write durably, this service's keys only: the one way to. A crash before `on_durable` may lose it."""
        raise NotImplementedError

    def find_blob(self, name: str, on_found: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        """The reference of a file in the shared folder, which from then on can be fetched from here.

        NOT_THERE where there is no such file, LOCAL where there is something that cannot be read."""
        raise NotImplementedError

    def make_blob(self, data: bytes, on_made: Callable[[BlobRef], None], on_failed: OnFailed) -> None:
        """Have these bytes as a body, which from then on can be fetched from here.

        As one that was fetched it stays until an entry that was made of it is gone, or until the end.
        """
        raise NotImplementedError

    def read_blob(self, ref: BlobRef, on_read: Callable[[bytes], None], on_failed: OnFailed) -> None:
        """The bytes of a body that is here. They come as a whole: not for large ones."""
        raise NotImplementedError

    def fetch_blob(
        self,
        peer: Contact,
        ref: BlobRef,
        start: int,
        end: int,
        on_done: Callable[[], None],
        on_failed: OnFailed,
    ) -> Transfer:
        """Pull the bytes [start, end) of a body from `peer` into this node's blob store.

        While another transfer fetches some of these bytes, this one waits for it.
        What has come before a cut stays and is not asked for again. A whole body is checked against its
        hash and is on disk before `on_done`; wrong bytes are REFUSED, a lack of space here is NO_SPACE.
        """
        raise NotImplementedError

    def scrub(
        self,
        on_rotten: Callable[[str, BlobRef | None], None],
        on_done: Callable[[], None],
        *,
        bytes_per_s: float,
    ) -> Callable[[], None]:
        """Read and hash again all that is kept here, no faster than that; what comes back cancels it.

        Told of this service's keys whose body is not what it was, and is here no more, or, with None, that are damaged
        themselves: either is mended by fetching and persisting again. `on_done` is not called when it was cancelled.
        """
        raise NotImplementedError

    def notify(self, event: msgspec.Struct) -> None:
        """Tell the layer above; it hears after the current handler has returned."""
        raise NotImplementedError

    def record(self, what: str, **fields: Any) -> None:
        """Tell observers; free when nobody watches."""
        raise NotImplementedError
