"""Push at first receipt: to all neighbors it is flooding, to a few of them RandCast. The baselines.

Flooding: HP07, section 5, over a symmetric active view. RandCast: VO06, section 6.2, over random links.
"""

from __future__ import annotations

import msgspec

from overlay.core.message import Command, Contact
from overlay.core.protocol import on
from overlay.gossip.base import check, name_of
from overlay.gossip.dissemination.base import ID_BYTES, Content, Disseminator
from overlay.gossip.services import Membership


class Push(Command, frozen=True):
    """A broadcast."""

    id: bytes
    hops: int
    content: Content


class PushConfig(msgspec.Struct, frozen=True):
    """What there is to choose."""

    fanout: int = 0
    """F: of neighbors that are sent to, the sender never among them; 0: all of them."""
    buffer_limit: int = 100

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(0 <= self.fanout <= 200, f"a fanout of {self.fanout}")
        check(1 <= self.buffer_limit <= 100_000, f"a buffer of {self.buffer_limit} broadcasts")


class Pusher(Disseminator):
    """See the module."""

    def __init__(self, instance: str, membership: Membership, config: PushConfig | None = None):
        self.config = config or PushConfig()
        self.config.check()
        super().__init__(name_of("push", instance), membership, self.config.buffer_limit)
        self.max_hops = 0
        """Of the broadcasts that came."""

    def spread(self, id: bytes) -> None:
        self._forward(id, 0, None)

    @on(Push)
    def on_push(self, sender: Contact, message: Push) -> None:
        if self.has(message.id) or self.coming(message.id):
            self.duplicates += 1
        if not self.has(message.id) and len(message.id) == ID_BYTES:
            self.obtain(sender, message.id, message.content, lambda source, data: self._heard(source, message, data))

    def _heard(self, source: Contact, message: Push, data: bytes) -> None:
        self.accept(message.id, data)
        self.max_hops = max(self.max_hops, message.hops + 1)
        self._forward(message.id, message.hops + 1, source)

    def _forward(self, id: bytes, hops: int, source: Contact | None) -> None:
        content = self.content(id)
        if content is None:
            return
        exclude = () if source is None else (source.id,)
        fanout = self.config.fanout
        if fanout:
            targets = self.membership.sample(fanout, exclude)
        else:
            targets = [peer for peer in self.membership.neighbors() if peer.id not in exclude]
        push = Push(id, hops, content)
        for peer in targets:
            self.ctx.send(peer, push)
