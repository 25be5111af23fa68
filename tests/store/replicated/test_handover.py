"""A copy is let go only if nobody came to rely on it since the hand-over began (docs/store.md: why it holds)."""

from __future__ import annotations

from overlay.core.message import Contact, Message
from overlay.core.pending import Pending
from overlay.ids import Key
from overlay.kbr import Answered, Application
from overlay.store.replicated.config import ReplicasConfig
from overlay.store.replicated.grants import Grants
from overlay.store.replicated.handover import Giver
from overlay.store.replicated.messages import Item, Offered, Row, Version, tag_of
from overlay.store.replicated.site import Site
from tests.fakes import FakeContext, contact

NAME = b"name"
ITEM = Item(NAME, Version(1, Key(7), 1), b"value")
ROW = Row(tag_of(NAME), ITEM.version)


class Nowhere:
    """A router of a peer that is the root of no key but one; what is routed waits for the test to answer it."""

    def __init__(self) -> None:
        self.routed: list[Pending[Answered]] = []

    def register(self, application: Application) -> None:
        pass

    def route(self, application: str, key: int, message: Message, *, hint: Contact | None = None) -> Pending[Answered]:
        self.routed.append(Pending())
        return self.routed[-1]

    def local_lookup(self, key: int, count: int) -> tuple[Contact, ...]:
        return ()

    def neighbor_set(self) -> tuple[Contact, ...]:
        return ()

    def missing_s(self) -> float:
        return 0.0

    def replica_set(self, key: int, count: int) -> tuple[Contact, ...]:
        return ()

    def range(self) -> tuple[int, int]:
        return 6, 7

    def confirm(self) -> None:
        """The root says that all the right peers have it."""
        offered = Offered((ROW.tag,), False, Key(0), Key(0))
        self.routed.pop().resolve(Answered(offered, contact(9), ()))


def holding() -> tuple[FakeContext, Nowhere, Site]:
    """A peer with one copy that is not its own to keep, and that has just been offered."""
    ctx, router = FakeContext(contact(7)), Nowhere()
    site = Site(ctx, router, ReplicasConfig(), 16)
    site.shelf.put(ITEM, lambda: None, lambda failure: None)
    ctx.batches.pop()[1]()
    Giver(site, Grants(site)).begin()
    ctx.advance(1.0)
    assert len(router.routed) == 1
    return ctx, router, site


def test_what_is_confirmed_is_let_go() -> None:
    ctx, router, site = holding()
    router.confirm()
    assert site.shelf.get(ROW.tag) is None
    assert [step.entry for step in ctx.batches.pop()[0]] == [None]  # type: ignore[union-attr]


def test_of_two_that_confirm_each_other_only_one_lets_go() -> None:
    ctx, router, site = holding()
    assert site.shelf.hold(ROW)
    router.confirm()
    assert site.shelf.get(ROW.tag) == ITEM
    assert not ctx.batches


def test_a_newer_version_that_came_meanwhile_stays() -> None:
    ctx, router, site = holding()
    newer = Item(NAME, Version(2, Key(7), 1), b"newer")
    site.shelf.put(newer, lambda: None, lambda failure: None)
    router.confirm()
    assert site.shelf.get(ROW.tag) == ITEM
    ctx.batches.pop()[1]()
    assert site.shelf.get(ROW.tag) == newer
    ctx.advance(1.0)
    assert len(router.routed) == 1
