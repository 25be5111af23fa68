"""Virtual nodes: one peer that is several members of its ring.

Source: CH01, section 6.2; CFS (Dabek et al. 2001), section 4. The keys of one member are as many as chance will have it, up to
ln N times the mean; those of several together are nearer to it. Each member has an id, a port and a folder of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from overlay.core.pending import Pending
from overlay.errors import Indefinite, OverlayError
from overlay.peer.address import show_address
from overlay.peer.outcome import Outcome
from overlay.peer.peer import Peer
from overlay.peer.views import PeerView
from overlay.store.records import GIVE_UP_S

T = TypeVar("T")
COME_S = 60.0
"""For each of the other members to be let in: the first is in the ring, so it can hardly fail."""


class VirtualPeer(Peer):
    """The first member, which asks and is asked for all of them, and the others behind it."""

    def __init__(self, id: int, *, others: Sequence[Peer], **keywords: Any):
        self._others = tuple(others)
        super().__init__(id, **keywords)

    def create(self) -> Pending[bool]:
        """See `Peer`; resolved when all members are in the ring."""
        return self._followed(super().create())

    def come_back(self) -> Pending[bool]:
        """See `Peer`; resolved when all members are in the ring."""
        return self._followed(super().come_back())

    def join(self, known: int | str, timeout_s: float = 5.0) -> Pending[None]:
        """See `Peer`; resolved when all members are in the ring."""
        return self._followed(super().join(known, timeout_s))

    def view(self) -> PeerView:
        """The first member's place in the ring, and the records of all."""
        views = [super().view(), *(other.view() for other in self._others)]
        return msgspec.structs.replace(
            views[0],
            records=tuple(sorted(name for view in views for name in view.records)),
            transfers=tuple(transfer for view in views for transfer in view.transfers),
        )

    def _followed(self, entered: Pending[T]) -> Pending[T]:
        outcome: Outcome[T] = self._promise()

        def bring(_: Pending[T]) -> None:
            threading.Thread(target=self._bring, args=(entered, outcome), name=f"virtual-{self.id}").start()

        entered.when_done(bring)
        return outcome

    def _bring(self, entered: Pending[T], outcome: Outcome[T]) -> None:
        """Let the others come in through the first; on a thread of its own, for starting a peer takes a disk's time."""
        try:
            if entered.error is None:
                for other in self._others:
                    joining = other.join(show_address(self.host, self.port), COME_S)
                    assert isinstance(joining, Outcome)
                    joining.wait(COME_S)
        except OverlayError as error:
            outcome.fail(error)
        else:
            outcome.follow(entered)

    def _quit(self, timeout_s: float, left: Outcome[None]) -> None:
        """One after the other, so that a record goes to a member that stays, or once more from there."""
        failure: Exception | None = None
        for other in self._others[::-1]:
            leaving = other.quit(timeout_s)
            assert isinstance(leaving, Outcome)
            try:
                leaving.wait(timeout_s + GIVE_UP_S)
            except OverlayError as error:
                failure = error
        last: Outcome[None] = Outcome()
        super()._quit(timeout_s, last)
        failure = failure or (last.error if last.done else Indefinite("the peer did not end"))
        if failure is None:
            left.resolve(None)
        else:
            left.fail(failure)

    def _end(self) -> None:
        for other in self._others:
            other.kill()
        super()._end()
