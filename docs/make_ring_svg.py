"""`python -m docs.make_ring_svg` makes docs/ring.svg anew: a real run on a terminal of 80 by 24, in the moment after a death."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, "lib")

from tests.end_to_end.processes import EXAMPLE, ROOT, free_base_port
from tests.end_to_end.terminals import CTRL_C, ENTER, Cell, Terminal

CELL_X, CELL_Y, MARGIN = 8.4, 17, 10
PLAIN, PAPER = "#d7dae0", "#1e2127"
COLORS = {"default": PLAIN, "brightblack": "#7f848e", "red": "#e06c75", "green": "#98c379", "cyan": "#56b6c2"}
COLORS |= {"blue": "#61afef", "brown": "#d19a66"}


def run() -> list[list[Cell]]:
    """What is seen when 14 has just died while a request travels."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "files", Path(folder) / "files", ignore=shutil.ignore_patterns("peer-*"))
        words = ["runner.py", "-r", "--base-port", str(free_base_port(EXAMPLE))]
        terminal = Terminal([str(ROOT / words[0]), *words[1:]], Path(folder))
        try:
            terminal.shows("Peer 19 -  9 > 14 > [19] >  2 >  4")
            terminal.shows("Peer  2 - 14 > 19 > [ 2] >  4 >  5")
            terminal.type(f"store 8 2067{ENTER}")
            terminal.shows("1 record")
            terminal.type(f"request 2 4103{ENTER}")
            terminal.until(
                lambda rows: any("2 > 4 > 5" in row and "route" not in row for row in rows), "a travelling record"
            )
            terminal.type(f"kill 14{ENTER}")
            terminal.shows("[9] > My new first successor is Peer 19")
            terminal.until(lambda _: any(cell.fg == "red" for row in terminal.cells()[:9] for cell in row), "red")
            cells = terminal.cells()
            terminal.type(CTRL_C)
            terminal.ended()
        finally:
            terminal.close()
    first = next(index for index, row in enumerate(cells) if "Peer  2" in _text(row))
    last = max(index for index, row in enumerate(cells) if _text(row))
    return cells[first : last + 1]


def _text(row: list[Cell]) -> str:
    return "".join(cell.data for cell in row).rstrip()


def _piece(column: int, line: int, cells: list[Cell]) -> str:
    """Neighboring cells that look the same."""
    look, text = cells[0], "".join(cell.data for cell in cells)
    x, y, wide = MARGIN + column * CELL_X, MARGIN + line * CELL_Y, len(cells) * CELL_X
    ink, paper = COLORS.get(look.fg, PLAIN), ""
    if look.reverse:
        paper = f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{CELL_Y}" fill="{ink}"/>\n'
        ink = PAPER
    if not text.strip():
        return paper
    weight = ' font-weight="bold"' if look.bold else ""
    return (
        f'{paper}<text x="{x:.1f}" y="{y + 13}" fill="{ink}" textLength="{wide:.1f}"{weight} xml:space="preserve">'
        f"{escape(text)}</text>\n"
    )


def svg(rows: list[list[Cell]]) -> str:
    """The rows as a picture."""
    width, height = 2 * MARGIN + 80 * CELL_X, 2 * MARGIN + len(rows) * CELL_Y
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">\n',
        f'<rect width="100%" height="100%" rx="6" fill="{PAPER}"/>\n',
    ]
    for line, row in enumerate(rows):
        start = 0
        for column in range(1, len(row) + 1):
            if column == len(row) or row[column]._replace(data="") != row[start]._replace(data=""):
                parts.append(_piece(start, line, row[start:column]))
                start = column
    return "".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    (ROOT / "docs" / "ring.svg").write_text(svg(run()))
