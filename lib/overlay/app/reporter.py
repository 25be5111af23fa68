"""The ring as rows: what each peer sees of its neighbors. Pure: lines in, nothing printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from overlay.app import jsonlines
from overlay.app.narrator import size_text
from overlay.ids import label

if TYPE_CHECKING:
    from overlay.peer import PeerView

RULE = "=" * 34


class Row(msgspec.Struct, frozen=True):
    """A peer between its neighbors; None is what it does not know."""

    id: int
    second_predecessor: int | None = None
    first_predecessor: int | None = None
    first: int | None = None
    second: int | None = None

    @property
    def others(self) -> tuple[int | None, ...]:
        """Whom it refers to."""
        return self.second_predecessor, self.first_predecessor, self.first, self.second


def row_of(view: PeerView) -> Row:
    """A peer of this process."""
    return Row(view.id, view.second_predecessor, view.first_predecessor, view.first, view.second)


def rows_of_ring(ring: Iterable[Any]) -> list[Row]:
    """Peers that were asked over TCP."""
    return [row_of_member(member) for member in ring]


def row_of_member(member: Any) -> Row:
    """One asked peer: its `contact`, `predecessors` and `successors`, the nearest first, itself where it has none."""
    me = int(member.contact.id)
    behind = [int(c.id) for c in member.predecessors]
    ahead = [int(c.id) for c in member.successors]
    if len(ahead) < 2 and behind == ahead:
        # Nobody else, or the same one on both sides: the circle closes at the peer itself, as in its own picture.
        behind = [*behind, me, me]
    ahead += [me, me]
    return Row(me, behind[1] if len(behind) > 1 else None, behind[0] if behind else None, ahead[0], ahead[1])


def width_of(rows: Iterable[Row]) -> int:
    """Columns of an id: two, and three once one of 100 or more is there; as many as it takes outside the classroom."""
    return max([2, *(len(label(id)) for row in rows for id in (row.id, *row.others) if id is not None)])


def row_text(row: Row, width: int) -> str:
    """`Peer  2 - 15 > 19 > [ 2] >  4 >  5`."""
    me, *cell = [f"{'?' if id is None else label(id):>{width}}" for id in (row.id, *row.others)]
    return f"Peer {me} - {cell[0]} > {cell[1]} > [{me}] > {cell[2]} > {cell[3]}"


def unmonitored(rows: Sequence[Row]) -> list[int]:
    """Those that somebody refers to and that have no row."""
    return sorted({id for row in rows for id in row.others if id is not None} - {row.id for row in rows})


def block(rows: Sequence[Row]) -> list[str]:
    """The assignment's block, rows in order of the ids."""
    rows = sorted(rows, key=lambda row: row.id)
    width = width_of(rows)
    strangers = unmonitored(rows)
    tail = ["", f"Unmonitored Peers ({len(strangers)}): {', '.join(map(label, strangers))}"] if strangers else []
    lines = [row_text(row, width) for row in rows]
    rule = RULE if width < 4 else "=" * len(lines[0])
    return [rule, *lines, *tail, rule]


def around(row: Row) -> str:
    """The ring from here: `19 > 2 > [4] > 5 > 8`."""
    names = ["?" if id is None else label(id) for id in row.others]
    return f"{names[0]} > {names[1]} > [{label(row.id)}] > {names[2]} > {names[3]}"


def ring_object(ring: Iterable[Any]) -> dict[str, Any]:
    """A walked ring for programs."""
    return rows_object([row_of_member(member) for member in ring])


def rows_object(rows: Sequence[Row], **more: Any) -> dict[str, Any]:
    """Rows for programs."""
    rows = sorted(rows, key=lambda row: row.id)
    return jsonlines.make("Ring", peers=jsonlines.plain(rows), unmonitored=unmonitored(rows), **more)


def view_object(view: PeerView, ready: bool) -> dict[str, Any]:
    """One peer for programs."""
    return jsonlines.make("View", me=view.id, ready=ready, **jsonlines.plain(view))


def files_object(view: PeerView) -> dict[str, Any]:
    """The records of one peer for programs."""
    return jsonlines.make("Files", me=view.id, records=list(view.records))


def status(view: PeerView) -> list[str]:
    """A peer for its user: place, records, transfers, whom it waits for."""
    lines = [around(row_of(view)), f"records: {' '.join(view.records) or 'none'}"]
    lines += [transfer_text(transfer) for transfer in view.transfers]
    if view.awaited:
        lines.append(f"waiting for {', '.join(map(str, view.awaited))}")
    return lines


def transfer_text(transfer: Any) -> str:
    """`4103: 1.0 MiB of 4.0 MiB`."""
    return f"{transfer.name}: {size_text(transfer.done_bytes)} of {size_text(transfer.size)}"
