"""The successors beyond the shown ones: hearsay of the last one that is shown.

Source: Zave, How to Make Chord Correct (ZV15): succList = [head] + butLast(head's list).
Deviation: a Pong has room for MAX_LISTED successors. Of a longer list it has the beginning, and a sum of the rest, which says
when that has changed; then the whole list is asked for over TCP.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec

from overlay.core.codec import pack
from overlay.core.context import Failure
from overlay.core.message import Contact
from overlay.ids import distance
from overlay.ring.messages import MAX_LISTED, Ask, Neighbors, shared_picture
from overlay.ring.neighborhood import until

if TYPE_CHECKING:
    from overlay.ring.chord import Chord

AGAIN_S = 5.0
"""After a question for a whole list that was not answered."""


def for_a_datagram(picture: Neighbors) -> Neighbors:
    """As much of a picture as a datagram has room for."""
    if len(picture.successors) <= MAX_LISTED:
        return picture
    rest = zlib.crc32(pack(picture)) | 1
    return msgspec.structs.replace(picture, successors=picture.successors[:MAX_LISTED], rest=rest)


class Tail:
    """Keeps the tail of one peer's list."""

    __slots__ = ("_asking", "_chord")

    def __init__(self, chord: Chord):
        self._chord = chord
        self._asking = False

    def refresh(self) -> None:
        """Take what was told since."""
        chord = self._chord
        me, bits = chord.ctx.me, chord.config.bits
        reach = distance(me.id, chord.shown[-1].id if chord.shown else me.id, bits)
        told = [other for other in self._told() if distance(me.id, other.id, bits) > reach]
        tail = until(me, told, chord.gone, bits)[: chord.config.successors - chord.config.shown]
        if tail != chord.tail:
            chord.tail = tail
            chord.picture()

    def _told(self) -> list[Contact]:
        chord = self._chord
        pictures = [(contact, seen) for contact in chord.shown if (seen := chord.picture_of(contact)) is not None]
        if not pictures:
            # Better a list of old than none: it is what we live on if those that are shown die together.
            return chord.tail
        teller, picture = pictures[-1]
        told = list(picture.successors)
        if picture.rest and len(told) < chord.config.successors - chord.config.shown:
            self._ask_whole(teller)
            # Until that is answered, what was told before will do for the rest.
            me, bits = chord.ctx.me.id, chord.config.bits
            last = max([distance(me, other.id, bits) for other in told], default=0)
            told += [other for other in chord.tail if distance(me, other.id, bits) > last]
        return told

    def _ask_whole(self, teller: Contact) -> None:
        chord = self._chord
        if self._asking:
            return
        self._asking = True

        def answered(picture: Neighbors) -> None:
            self._asking = False
            if picture.member and not picture.leaving and chord.picture_of(teller) is not None:
                chord.acquaintances.pictures[teller.id] = shared_picture(picture)
            self.refresh()

        def silent(failure: Failure) -> None:
            chord.pings.doubt(teller)
            chord.ctx.after(AGAIN_S, again)

        def again() -> None:
            self._asking = False
            self.refresh()

        chord.ctx.call(teller, Ask(), answered, silent, timeout_s=chord.config.ask_s)
