"""Rows and a small ring for a terminal of any size. Pure: text with styles, a list of pieces a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from overlay.app.reporter import Row, width_of

Piece = tuple[str, str]
"""A style and a text."""
Picture = list[list[Piece]]

HOP_S = 0.5
"""How long a travelling record is seen at each peer of its route."""
STAYS_S = 5.0
"""How long a route stays to be read after it has arrived."""

GAP = "   "


def row_pieces(row: Row, width: int, fresh: Collection[tuple[int, int]], dead: Collection[int]) -> list[Piece]:
    """A row as in the assignment; `fresh` holds (id, place) of what changed lately."""
    cells: list[Piece] = []
    for place, id in enumerate(row.others):
        style = "class:dead" if id in dead else "class:fresh" if (row.id, place) in fresh else ""
        cells.append((style, f"{'?' if id is None else id:>{width}}"))
    arrow = ("class:dim", " > ")
    me = ("class:me", f"[{row.id:>{width}}]")
    head = ("class:dim", f"Peer {row.id:>{width}} - ")
    return [head, cells[0], arrow, cells[1], arrow, me, arrow, cells[2], arrow, cells[3]]


def row_columns(rows: Sequence[Row]) -> int:
    """How wide a row is."""
    return 6 * width_of(rows) + 22


def rows_picture(
    rows: Sequence[Row], width: int, height: int, fresh: Collection[tuple[int, int]], dead: Collection[int]
) -> Picture:
    """All rows where they fit, in columns where they are many; else those with something to see, and a count."""
    if not rows or height < 1:
        return []
    rows = sorted(rows, key=lambda row: row.id)
    id_width = width_of(rows)
    row_width = row_columns(rows)
    columns = max(1, (width + len(GAP)) // (row_width + len(GAP)))
    columns = min(columns, math.ceil(len(rows) / height))
    left_out = len(rows) - columns * height
    if left_out > 0:
        left_out = len(rows) - columns * (height - 1)
        to_see = {id for id, _ in fresh} | {row.id for row in rows if set(row.others) & set(dead)}
        first = sorted(rows, key=lambda row: row.id not in to_see)
        rows = sorted(first[: columns * (height - 1)], key=lambda row: row.id)
    deep = math.ceil(len(rows) / columns)
    lines: Picture = []
    for index in range(deep):
        line: list[Piece] = []
        for row in rows[index::deep]:
            line += [("", GAP)] * bool(line) + row_pieces(row, id_width, fresh, dead)
        lines.append(line)
    return lines + ([[("class:dim", f"... and {left_out} more")]] if left_out > 0 else [])


def travelled(path: Sequence[int], since_s: float) -> int | None:
    """How far a record has come on its way, as an index of the path; None when it is long past."""
    if not path or since_s > len(path) * HOP_S + STAYS_S:
        return None
    return min(len(path) - 1, int(since_s / HOP_S))


def ring_picture(
    ids: Sequence[int], width: int, height: int, dead: Collection[int], path: Sequence[int], reached: int | None
) -> Picture:
    """The peers around an ellipse, in ring order, clockwise from the top; the route in the middle."""
    canvas: list[list[Piece]] = [[("", " ")] * width for _ in range(height)]
    ids = sorted(ids)
    if width < 16 or height < 5 or not ids:
        return []
    at = _ellipse(width - 6, height)
    steps = 8 * (width + height)
    for step in range(steps):
        x, y = at(step / steps)
        canvas[y][x + 3] = ("class:dim", "·")
    on_way = set() if reached is None else set(path[: reached + 1])
    here = None if reached is None else path[reached]
    crowded = len(ids) > 2 * height
    for index, id in enumerate(ids):
        x, y = at(index / len(ids))
        style = (
            "class:here" if id == here else "class:way" if id in on_way else "class:dead" if id in dead else "class:me"
        )
        text = str(id) if not crowded or id == here or id in dead else "o"
        start = x + 3 - (len(text) - 1) // 2
        for offset, letter in enumerate(text):
            canvas[y][start + offset] = (style, letter)
    if reached is not None:
        _write(canvas[height // 2], [("class:way", text) for text in _route_text(path, reached, width - 14)])
    return [_merge(line) for line in canvas]


def _ellipse(width: int, height: int) -> Callable[[float], tuple[int, int]]:
    def at(turn: float) -> tuple[int, int]:
        angle = 2 * math.pi * turn
        return round((width - 1) / 2 * (1 + math.sin(angle))), round((height - 1) / 2 * (1 - math.cos(angle)))

    return at


def _route_text(path: Sequence[int], reached: int, room: int) -> str:
    text = " > ".join(map(str, path[: reached + 1]))
    return text if len(text) <= room else f"... {text[4 - room :]}" if room > 8 else ""


def _write(line: list[Piece], pieces: Sequence[Piece]) -> None:
    start = (len(line) - len(pieces)) // 2
    line[start : start + len(pieces)] = pieces


def _merge(line: Sequence[Piece]) -> list[Piece]:
    """Neighbors of one style as one piece."""
    merged: list[Piece] = []
    for style, text in line:
        if merged and merged[-1][0] == style:
            merged[-1] = (style, merged[-1][1] + text)
        else:
            merged.append((style, text))
    return merged


def beside(left: Picture, right: Picture, gap: int) -> Picture:
    """Two pictures next to each other."""
    width = gap + max((sum(len(text) for _, text in line) for line in left), default=0)
    lines: Picture = []
    for index in range(max(len(left), len(right))):
        line = list(left[index]) if index < len(left) else []
        if index < len(right):
            line.append(("", " " * (width - sum(len(text) for _, text in line))))
            line += right[index]
        lines.append(line)
    return lines


class Changes:
    """Which places changed in the last seconds. Time is an argument."""

    def __init__(self, lasts_s: float = 4.0):
        self._lasts_s = lasts_s
        self._rows: dict[int, Row] = {}
        self._changed: dict[tuple[int, int], float] = {}

    def fresh(self, rows: Sequence[Row], now: float) -> Mapping[tuple[int, int], float]:
        """Take the rows of now, and tell what is new in them."""
        for row in rows:
            before = self._rows.get(row.id)
            for place, id in enumerate(row.others):
                # A peer that only begins to know its neighbors does not stand out.
                if before is not None and before.others[place] not in (id, None):
                    self._changed[row.id, place] = now
        self._rows = {row.id: row for row in rows}
        self._changed = {what: when for what, when in self._changed.items() if now - when < self._lasts_s}
        return self._changed
