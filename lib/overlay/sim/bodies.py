"""Bodies on their way: pulled piece by piece, at the rate of the network, and checked when they are whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from overlay.core.context import Failure, OnFailed, Reason, Transfer
from overlay.core.message import Contact
from overlay.core.storage import BlobRef
from overlay.sim.disk import Body

if TYPE_CHECKING:
    from overlay.sim.machine import Machine

PIECE_BYTES = 64 * 1024
"""A body comes in pieces of this size, or of a 64th of the whole where that is more."""

STALL_S = 10.0
"""A transfer of which nothing has come for so long fails."""

LOOK_S = 0.1
"""So often a transfer that stands still looks whether it can go on."""


def fetch(
    machine: Machine,
    peer: Contact,
    ref: BlobRef,
    start: int,
    end: int,
    on_done: Callable[[], None],
    on_failed: OnFailed,
) -> Transfer:
    """Pull a range of a body from `peer`; see `Context.fetch_blob`."""
    return Fetch(machine, Transfer(peer, ref), (start, end), on_done, on_failed).transfer


class Fetch:
    """One body, or a range of one, on its way to a machine."""

    __slots__ = (
        "claimed",
        "end",
        "machine",
        "moved_at",
        "on_done",
        "on_failed",
        "over",
        "partial",
        "source",
        "start",
        "transfer",
    )

    def __init__(
        self,
        machine: Machine,
        transfer: Transfer,
        span: tuple[int, int],
        on_done: Callable[[], None],
        on_failed: OnFailed,
    ):
        self.machine = machine
        self.transfer = transfer
        self.start, self.end = span
        self.on_done = on_done
        self.on_failed = on_failed
        self.claimed = False
        self.over = False
        self.moved_at = machine.world.agenda.now
        self.source: Body | None = None
        """What we read from, open at the other side even if it throws the body away meanwhile."""
        self.partial = machine.disk.partial(transfer.ref)
        transfer.on_cancel = self._cancel
        machine.later(0, self._begin)

    def _begin(self) -> None:
        start, end, size = self.start, self.end, self.transfer.ref.size
        if self.over:
            return
        if not 0 <= start <= end <= size:
            self._fail(Failure(Reason.LOCAL, f"no bytes {start} to {end} in {size}"))
        elif not self.partial.claim(start, end):
            self.machine.later(LOOK_S, self._begin)
        else:
            self.claimed = True
            draw = self.machine.world.network.draw
            self.machine.later(draw() + draw(), self._go)

    def _go(self) -> None:
        """Ask for the next piece, if the peer is there, answers and has it."""
        machine, world = self.machine, self.machine.world
        if self.over:
            return
        gaps = self._count()
        if not gaps:
            self._complete()
        elif (lack := machine.disk.lacks()) is not None:
            self._fail(lack)
        elif self._stalls():
            if world.agenda.now - self.moved_at >= STALL_S:
                self._fail(Failure(Reason.TIMEOUT, "the transfer stalled"))
            else:
                machine.later(LOOK_S, self._go)
        elif not world.post.lives(self.transfer.peer):
            self._fail(Failure(Reason.UNREACHABLE, "the connection was refused or reset"))
        else:
            self._ask(*gaps[0])

    def _ask(self, start: int, end: int) -> None:
        world, ref = self.machine.world, self.transfer.ref
        self.source = self.source or world.places[self.transfer.peer.address].disk.body(ref.sha256)
        if self.source is None:
            self._fail(Failure(Reason.REFUSED, "no such body"))
        else:
            end = min(end, start + max(PIECE_BYTES, ref.size // 64))
            self.machine.later((end - start) / world.network.rate, self._came, self.source, start, end)

    def _came(self, body: Body, start: int, end: int) -> None:
        """A piece has come whole, unless something happened to the peer or the way meanwhile."""
        if not self.over and not self._stalls() and self.machine.world.post.lives(self.transfer.peer):
            self.partial.put(start, end, body)
            self.moved_at = self.machine.world.agenda.now
        self._go()

    def _count(self) -> list[tuple[int, int]]:
        gaps = self.partial.gaps(self.start, self.end)
        self.transfer.done_bytes = self.end - self.start - sum(end - start for start, end in gaps)
        return gaps

    def _stalls(self) -> bool:
        """Whether nothing comes, and nothing says why."""
        world, me, peer = self.machine.world, self.machine.me, self.transfer.peer
        there = world.places.get(peer.address)
        paused = there is not None and not there.up
        return paused or not world.network.passes(me, peer) or not world.network.passes(peer, me)

    def _complete(self) -> None:
        disk = self.machine.disk
        if self.partial.gaps(0, self.transfer.ref.size):
            self._done()
        elif disk.adopt(self.partial):
            self.machine.later(self.machine.rng.uniform(*disk.write_s), self._done)
        else:
            self._fail(Failure(Reason.REFUSED, "the bytes do not have the hash that was asked for"))

    def _done(self) -> None:
        if self._ends():
            self.on_done()

    def _fail(self, failure: Failure) -> None:
        if self._ends():
            self.on_failed(failure)

    def _ends(self) -> bool:
        """The first one to ask may tell the end."""
        if self.over:
            return False
        self.over = True
        if self.claimed:
            self.partial.coming.remove((self.start, self.end))
        return True

    def _cancel(self) -> None:
        self.machine.later(0, self._fail, Failure(Reason.CANCELLED))
