"""What is done now and then on one peer's own disk: forgetting what ended long ago, and looking for bits that rot."""

from __future__ import annotations

from overlay.core.pending import ignore
from overlay.core.storage import BlobRef
from overlay.store.replicated.grants import Grants
from overlay.store.replicated.shelf import FIRST, LAST, PREFIX
from overlay.store.replicated.site import Site


class Upkeep:
    """Two timers."""

    __slots__ = ("_grants", "_scrubbing", "_site")

    def __init__(self, site: Site, grants: Grants):
        self._site = site
        self._grants = grants
        self._scrubbing = False

    def begin(self) -> None:
        """From now on."""
        config, ctx = self._site.config, self._site.ctx
        ctx.after(config.forget_s * ctx.rng.random(), self._forget)
        ctx.after(config.scrub_s * ctx.rng.random(), self._scrub)

    def _forget(self) -> None:
        """Tombstones, and what is past its time, after `tombstone_s`: nobody is left who could bring back what was before."""
        site = self._site
        site.ctx.after(site.config.forget_s, self._forget)
        for tag in site.shelf.tags((FIRST, LAST)):
            item = site.shelf.get(tag)
            if item is not None and site.is_forgotten(item):
                self._grants.forget(tag)
                site.shelf.drop(tag, ignore)

    def _scrub(self) -> None:
        self._site.ctx.after(self._site.config.scrub_s, self._scrub)
        self.scrub()

    def scrub(self) -> None:
        """Look now: a body was not what it should be."""
        if not self._scrubbing:
            self._scrubbing = True
            self._site.ctx.scrub(self._rotten, self._scrubbed, bytes_per_s=self._site.config.scrub_bytes_per_s)

    def _scrubbed(self) -> None:
        self._scrubbing = False

    def _rotten(self, key: str, body: BlobRef | None) -> None:
        """A damaged entry is written again; a body is fetched again from those who keep it too."""
        if not key.startswith(PREFIX):
            return
        tag = bytes.fromhex(key.removeprefix(PREFIX))
        if body is None:
            self._site.shelf.rewrite(tag)
            return
        self._site.shelf.lose(tag)
        self._grants.forget(tag)
        if self._site.owns(tag):
            self._site.disturb()
