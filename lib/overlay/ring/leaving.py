"""How a peer goes of its own will: both that point to it are told, wherever they are.

Source: the assignment's step 4. Whoever is told asks back before it believes it (`Chord.on_depart`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.kbr import Answered
from overlay.ring.events import Departed
from overlay.ring.messages import Before, Depart

if TYPE_CHECKING:
    from overlay.ring.admission import Admission

FIND_S = 6.0
"""For finding who is behind us. In a ring that is just coming together, not everybody who awaits us can be found."""
TELL_S = 5.0
WAIT_S = 0.02
WAITS = 50
"""Looks whether a newcomer that is being let in has come."""


class Leaving:
    """One departure, from its begin to `then`."""

    __slots__ = ("_admission", "_behind", "_then")

    def __init__(self, admission: Admission, then: Callable[[], None]):
        self._admission = admission
        self._then = then
        self._behind: dict[int, Contact] = {}
        """Those that point to us, as far as they were found."""

    def begin(self, waits: int = WAITS) -> None:
        """Find them, tell them, be gone for them."""
        chord, ctx = self._admission.chord, self._admission.ctx
        if self._admission.busy and waits:
            # A newcomer may have taken its place behind us this moment, and be the only one to hand anything to.
            ctx.after(WAIT_S, self.begin, waits - 1)
        elif not chord.member or not any(contact.boot for contact in chord.shown):
            # Nobody was ever heard from here, so nobody has to know.
            chord.leave()
            ctx.after(0, self._end)
        else:
            ctx.after(FIND_S, self._give_up)
            self._find(ctx.me, chord.before)

    def _find(self, contact: Contact, hint: Contact | None) -> None:
        """Look for who is behind a peer, until there are two or we have come around.

        What we think ourselves is only where the search begins: somebody may await us who has not reached us yet."""

        def found(pending: Pending[Answered]) -> None:
            if pending.error is not None:
                self._give_up()
                return
            root, answer = pending.result().root, pending.result().answer
            around = root.id == self._admission.ctx.me.id or root.id in self._behind
            self._take(root)
            if around or len(self._behind) >= self._admission.chord.config.shown:
                self._tell()
            else:
                behind = answer.neighbors.predecessors[:1] if isinstance(answer, Before) else ()
                self._find(root, behind[0] if behind else None)

        self._admission.find_before(contact, hint).when_done(found)

    def _give_up(self) -> None:
        """Those of whom we know must do."""
        self._take(*self._admission.chord.behind.contacts)
        self._tell()

    def _take(self, *contacts: Contact) -> None:
        me = self._admission.ctx.me
        self._behind.update({contact.id: contact for contact in contacts if contact.id != me.id})

    def _tell(self) -> None:
        chord = self._admission.chord
        if chord.leaving:
            return
        chord.leave()
        told = {c.id: c for c in (*self._behind.values(), *chord.shown[:1]) if c not in chord.gone}
        waiting = len(told)

        def one_less(_: object) -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                self._end()

        if not told:
            self._admission.ctx.after(0, self._end)
        for contact in told.values():
            chord.ctx.call(contact, Depart(), one_less, one_less, timeout_s=TELL_S)

    def _end(self) -> None:
        self._admission.ctx.notify(Departed())
        self._then()
