"""Pictures of a peer and of its ring; frozen, so they may be passed between threads."""

from __future__ import annotations

import msgspec

from overlay.core.message import Contact
from overlay.ring.neighborhood import RingView
from overlay.store.records import RecordsView


class TransferView(msgspec.Struct, frozen=True):
    """A record on its way to this peer."""

    name: str
    done_bytes: int
    size: int


class PeerView(msgspec.Struct, frozen=True):
    """One peer. None stands for what it does not know; a peer that has no other stands for itself."""

    id: int
    second_predecessor: int | None
    first_predecessor: int | None
    first: int | None
    second: int | None
    successors: tuple[int, ...]
    """The whole list, the hidden ones too."""
    records: tuple[str, ...]
    transfers: tuple[TransferView, ...]
    awaited: tuple[int | str, ...]
    """Successors that were named at the start and have not been heard from: ids, or addresses where no id is known."""


class Neighbors(msgspec.Struct, frozen=True):
    """A peer of the ring and its neighbors, the nearest first, as it told them itself."""

    contact: Contact
    predecessors: tuple[Contact, ...]
    successors: tuple[Contact, ...]
    leaving: bool


def picture_of(ring: RingView, records: RecordsView, unmet: tuple[str, ...]) -> PeerView:
    """The protocols' views as one."""
    me = int(ring.me.id)
    behind = [int(contact.id) for contact in ring.predecessors]
    ahead: list[int | None] = [int(contact.id) for contact in ring.shown]
    if ring.member and not ring.shown:
        behind += [me, me]
    elif len(ring.shown) == 1 and len(behind) == 1:
        behind.append(me)
    ahead += [me, me] if ring.member else [None, None]
    return PeerView(
        me,
        behind[1] if len(behind) > 1 else None,
        behind[0] if behind else None,
        ahead[0],
        ahead[1],
        tuple(int(contact.id) for contact in ring.successors),
        records.names,
        tuple(TransferView(*transfer) for transfer in records.transfers),
        (*ring.awaited, *unmet),
    )
