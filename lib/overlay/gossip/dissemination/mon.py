"""MON, one-to-many in the extreme edition: a tree, or a DAG, on demand, used for a short while and forgotten.

Liang, Ko, Gupta, Nahrstedt, MON: On-demand Overlays for Distributed System Management, WORLDS 2005. A Session goes to k
random neighbors and from each that hears it first to k of its own; links that are accepted carry the bodies. Nothing
is repaired: the next session is a new one.

Deviation: a body follows a Session as soon as that is accepted, instead of when the whole tree is there: a tree that
is built to be used once is used at once. Deviation: bodies go down; answers that are summed up on the way back are not here.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from overlay.core.context import Failure, Timer
from overlay.core.message import Command, Contact
from overlay.core.protocol import on
from overlay.gossip.base import check, name_of
from overlay.gossip.dissemination.base import ID_BYTES, Content, Disseminator
from overlay.gossip.services import Membership
from overlay.ids import Key

MAX_SESSIONS = 64
MAX_LEVEL = 1000


class Session(Command, frozen=True):
    """A call: be my child in this session; I am so far from its root."""

    session: bytes
    level: int


class SessionAnswer(Command, frozen=True):
    """SESSION_OK or PRUNE."""

    accepted: bool


class Downward(Command, frozen=True):
    """A broadcast of a session."""

    session: bytes
    id: bytes
    content: Content


class MonConfig(msgspec.Struct, frozen=True):
    """UnsServ's names, where it has them."""

    fanout: int = 10
    """k: of neighbors that are asked; not one more."""
    dag: bool = False
    """Accept more than one parent."""
    tree_life_s: float = 10.0
    """For so long a session is used, and then forgotten."""
    timeout_s: float = 5.0
    """For the answer to a Session."""
    buffer_limit: int = 100

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(1 <= self.fanout <= 200, f"a fanout of {self.fanout}")
        check(0 < self.timeout_s <= 600, f"a timeout of {self.timeout_s} s")
        check(0.1 <= self.tree_life_s <= 3600, f"a tree that lives for {self.tree_life_s} s")
        check(1 <= self.buffer_limit <= 100_000, f"a buffer of {self.buffer_limit} broadcasts")


class Branch:
    """A node's place in one session."""

    __slots__ = ("bodies", "children", "level", "parents", "timer")

    def __init__(self, level: int, timer: Timer):
        self.level = level
        self.timer = timer
        self.parents: dict[Key, Contact] = {}
        self.children: dict[Key, Contact] = {}
        self.bodies: list[bytes] = []
        """The ids of its broadcasts, for children that come later."""


class Mon(Disseminator):
    """See the module."""

    answers = (*Disseminator.answers, SessionAnswer)

    def __init__(self, instance: str, membership: Membership, config: MonConfig | None = None):
        self.config = config or MonConfig()
        self.config.check()
        super().__init__(name_of("mon", instance), membership, self.config.buffer_limit)
        self.sessions: OrderedDict[bytes, Branch] = OrderedDict()
        self.invitations = 0
        """Sessions sent."""
        self._own: bytes | None = None

    def stop(self) -> None:
        for branch in self.sessions.values():
            branch.timer.cancel()
        super().stop()

    def spread(self, id: bytes) -> None:
        if self._own is None or self._own not in self.sessions:
            self._own = self.ctx.rng.randbytes(ID_BYTES)
            self._open(self._own, 0, None)
        self._down(self._own, id)

    def _open(self, session: bytes, level: int, parent: Contact | None) -> Branch:
        timer = self.ctx.after(self.config.tree_life_s, self._forget, session)
        branch = self.sessions[session] = Branch(level, timer)
        if len(self.sessions) > MAX_SESSIONS:
            self.sessions.popitem(last=False)[1].timer.cancel()
        for peer in self.membership.sample(self.config.fanout, () if parent is None else (parent.id,)):
            self._invite(session, branch, peer)
        return branch

    def _invite(self, session: bytes, branch: Branch, peer: Contact) -> None:
        def answered(answer: SessionAnswer) -> None:
            if answer.accepted and session in self.sessions:
                branch.children[peer.id] = peer
                for id in branch.bodies:
                    self._send(session, id, peer)

        def failed(failure: Failure) -> None:
            """It is nobody's child by us."""

        self.invitations += 1
        self.ask(peer, Session(session, branch.level), SessionAnswer, answered, failed, timeout_s=self.config.timeout_s)

    def _forget(self, session: bytes) -> None:
        self.sessions.pop(session, None)

    @on(Session)
    def on_session(self, sender: Contact, message: Session) -> SessionAnswer:
        if len(message.session) != ID_BYTES or not 0 <= message.level <= MAX_LEVEL:
            return SessionAnswer(False)
        branch = self.sessions.get(message.session)
        if branch is None:
            branch = self._open(message.session, message.level + 1, sender)
        elif not self.config.dag or branch.level <= message.level:
            return SessionAnswer(False)
        branch.parents[sender.id] = sender
        return SessionAnswer(True)

    @on(Downward)
    def on_downward(self, sender: Contact, message: Downward) -> None:
        branch = self.sessions.get(message.session)
        if branch is None or sender.id not in branch.parents:
            return
        if self.has(message.id) or self.coming(message.id):
            self.duplicates += 1
        if not self.has(message.id):
            self.obtain(sender, message.id, message.content, lambda _, data: self._heard(message, data))

    def _heard(self, message: Downward, data: bytes) -> None:
        if not self.has(message.id):
            self.accept(message.id, data)
            self._down(message.session, message.id)

    def _down(self, session: bytes, id: bytes) -> None:
        branch = self.sessions.get(session)
        if branch is not None:
            branch.bodies = [*branch.bodies, id][-self.config.buffer_limit :]
            for peer in branch.children.values():
                self._send(session, id, peer)

    def _send(self, session: bytes, id: bytes, peer: Contact) -> None:
        content = self.content(id)
        if content is not None:
            self.ctx.send(peer, Downward(session, id, content))
