"""MON, one-to-many in the extreme edition: a tree, or a DAG, on demand, used for a short while and forgotten.

Liang, Ko, Gupta, Nahrstedt, MON: On-demand Overlays for Distributed System Management, WORLDS 2005. A Session goes to k
random neighbors and from each that hears it first to k of its own; links that are accepted carry the bodies.

Deviation: a body follows a Session as soon as that is accepted, instead of when the whole tree is there: a tree that
is built to be used once is used at once. Deviation: bodies go down; answers that are summed up on the way back are not here.
Deviation: who is not to be a child says nothing, where MON says PRUNE: silence is as clear and costs less.
Deviation: MON repairs nothing, so whom no Session finds, or whose parent dies, hears nothing. Here everybody who has a
body offers it a few times more, to neighbors at random, and whoever lacks it takes that one for a parent too; and who
has accepted and heard nothing says so again, for a datagram may vanish.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from overlay.core.context import Timer
from overlay.core.message import Command, Contact, Datagram
from overlay.core.protocol import on
from overlay.gossip.base import check, name_of
from overlay.gossip.dissemination.base import ID_BYTES, Content, Disseminator
from overlay.gossip.services import Membership
from overlay.ids import Key

MAX_SESSIONS = 64
MAX_LEVEL = 1000
MAX_NAMED = 40
"""Bodies named in one Session; it fits a datagram."""

MAX_ASKED = 1000
"""Neighbors that are asked in one session, all together."""

MAX_PARENTS = 8
OFFERED_TO = 2
"""Neighbors that a body is offered to at a time."""


class Session(Datagram, frozen=True):
    """Be my child in this session; I am so far from its root."""

    session: bytes
    level: int
    bodies: tuple[bytes, ...] = ()
    """The first time none; later those that the sender has, the latest last."""


class SessionOk(Datagram, frozen=True):
    """I am. No longer than the Session, whose sender can be forged."""

    session: bytes
    has: tuple[bytes, ...]
    """Of the bodies that were named, those that are not wanted."""


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
    """For so long a Session can be accepted."""
    repeat_s: float = 0.2
    """After a body has come, until it is offered again, and then twice as long, and so on; 0: never, as in the paper."""
    repeats: int = 5
    """So many times, to two neighbors each. Over uniform views, that leaves out e**-10 of those whom nobody had asked."""
    buffer_limit: int = 1000
    """Bodies that are kept for those who become children later."""

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(1 <= self.fanout <= 200, f"a fanout of {self.fanout}")
        check(0 < self.timeout_s <= 600, f"a timeout of {self.timeout_s} s")
        check(0.1 <= self.tree_life_s <= 3600, f"a tree that lives for {self.tree_life_s} s")
        check(self.repeat_s == 0 or 0.01 <= self.repeat_s <= 60, f"offers every {self.repeat_s} s")
        check(0 <= self.repeats <= 16, f"{self.repeats} offers")
        check(1 <= self.buffer_limit <= 100_000, f"a buffer of {self.buffer_limit} broadcasts")


class Branch:
    """A node's place in one session."""

    __slots__ = ("asked", "bodies", "children", "level", "offered", "offering", "parents", "timer")

    def __init__(self, level: int, timer: Timer):
        self.level = level
        self.timer = timer
        self.parents: dict[Key, Contact] = {}
        self.children: dict[Key, Contact] = {}
        self.asked: dict[Key, float] = {}
        """When others were asked last to become a child; those who asked us are inside, and never are one for that."""
        self.bodies: list[bytes] = []
        """The ids of its broadcasts, for children that come later."""
        self.offering: Timer | None = None
        self.offered = 0
        """How often, since the last of them came."""


class Mon(Disseminator):
    """See the module."""

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

    def _readers(self) -> Iterable[Contact]:
        branch = self.sessions.get(self._own) if self._own is not None else None
        return branch.children.values() if branch is not None else ()

    # The tree ------------------------------------------------------------------------------------------------

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
        others = self.membership.sample(self.config.fanout, () if parent is None else (parent.id,))
        self._invite(others, Session(session, level), branch)
        return branch

    def _invite(self, peers: list[Contact], invitation: Session, branch: Branch) -> None:
        for peer in peers:
            if len(branch.asked) < MAX_ASKED or peer.id in branch.asked:
                branch.asked[peer.id] = self.ctx.now
                self.invitations += 1
                self.ctx.send(peer, invitation)

    def _forget(self, session: bytes) -> None:
        self.sessions.pop(session, None)

    @on(Session)
    def on_session(self, sender: Contact, message: Session) -> None:
        if len(message.session) != ID_BYTES or not 0 <= message.level <= MAX_LEVEL:
            return
        named = message.bodies[:MAX_NAMED]
        has = tuple(id for id in named if self.has(id) or self.coming(id))
        branch = self.sessions.get(message.session)
        if branch is not None and len(branch.asked) < MAX_ASKED:
            branch.asked.setdefault(sender.id, -math.inf)
        if branch is None:
            branch = self._open(message.session, message.level + 1, sender)
            self._remind_later(message.session, branch, 0)
        elif len(has) < len(named):
            # The parent that we have is dead, or slow: this one is another.
            for old in list(branch.parents)[: 1 - MAX_PARENTS]:
                del branch.parents[old]
        elif named or not self.config.dag or branch.level <= message.level:
            return
        branch.parents[sender.id] = sender
        self.ctx.send(sender, SessionOk(message.session, has))

    def _remind_later(self, session: bytes, branch: Branch, times: int) -> None:
        if self.config.repeat_s and times < self.config.repeats:
            again_s = self.config.repeat_s * 2**times
            self.ctx.after(again_s, self._remind, session, branch, times + 1)

    def _remind(self, session: bytes, branch: Branch, times: int) -> None:
        """Nothing has come from the parent: it may not have heard that it is one."""
        if self.running and not branch.bodies and self.sessions.get(session) is branch:
            for parent in branch.parents.values():
                self.ctx.send(parent, SessionOk(session, ()))
            self._remind_later(session, branch, times)

    @on(SessionOk)
    def on_session_ok(self, sender: Contact, message: SessionOk) -> None:
        branch = self.sessions.get(message.session)
        asked_at = branch.asked.get(sender.id) if branch is not None else None
        if branch is not None and asked_at is not None and self.ctx.now - asked_at <= self.config.timeout_s:
            branch.children[sender.id] = sender
            # Who has none of those that were named has none at all.
            for id in branch.bodies[-MAX_NAMED:] if message.has else branch.bodies:
                if id not in message.has:
                    self._send(message.session, id, sender)

    # What it carries -----------------------------------------------------------------------------------------

    @on(Downward)
    def on_downward(self, sender: Contact, message: Downward) -> None:
        branch = self.sessions.get(message.session)
        if branch is None or sender.id not in branch.parents:
            return
        if self.has(message.id) or self.coming(message.id):
            self.duplicates += 1
        if not self.has(message.id) and len(message.id) == ID_BYTES:
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
            if branch.offering is None or branch.offered:
                self._offer_later(session, branch)

    def _offer_later(self, session: bytes, branch: Branch) -> None:
        if branch.offering is not None:
            branch.offering.cancel()
        branch.offering, branch.offered = None, 0
        if self.config.repeat_s and self.config.repeats:
            branch.offering = self.ctx.after(self.config.repeat_s, self._offer, session, branch)

    def _offer(self, session: bytes, branch: Branch) -> None:
        """Once more, for those whom nobody has asked, and those whose parent is gone."""
        branch.offering = None
        if not self.running or self.sessions.get(session) is not branch:
            return
        peers = self.membership.sample(OFFERED_TO, branch.asked)
        peers += self.membership.sample(OFFERED_TO - len(peers), [peer.id for peer in peers])
        self._invite(peers, Session(session, branch.level, tuple(branch.bodies[-MAX_NAMED:])), branch)
        branch.offered += 1
        if branch.offered < self.config.repeats:
            again_s = self.config.repeat_s * 2**branch.offered
            branch.offering = self.ctx.after(again_s, self._offer, session, branch)

    def _send(self, session: bytes, id: bytes, peer: Contact) -> None:
        content = self.content(id)
        if content is not None:
            self.ctx.send(peer, Downward(session, id, content))
