"""The house (ARCHITECTURE.md): who imports whom, who may touch the world, and how large a room is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LIB = Path(__file__).parent.parent / "lib"
FILES = {path.relative_to(LIB).with_suffix("").as_posix().replace("/", "."): path for path in LIB.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}

DISK = ("store.disk",)
LAYERS = (
    ("ids", "errors"),
    ("core",),
    ("kbr", "sim", "live", "gossip.services", *DISK),
    ("ring", "pastry", "gossip", "store"),
    ("peer",),
    ("lab",),
    ("app",),
)
"""Bottom to top; a room knows those below it, and its own."""

DRIVERS, PROTOCOLS = ("sim", "live"), ("ring", "pastry", "gossip", "store")
WORLD = {"time", "socket", "threading", "asyncio", "select", "selectors", "subprocess", "secrets"}
MAY_TOUCH_THE_WORLD = ("live", "peer", "lab", "app", *DISK)
MOST_LINES = 400
PACKAGE = {"overlay", "overlay.__main__"}


def belongs(module: str, rooms: tuple[str, ...]) -> bool:
    """Whether a module is one of these rooms or in one of them."""
    inside = module.removeprefix("overlay.")
    return any(inside == room or inside.startswith(room + ".") for room in rooms)


def layer(module: str) -> int:
    """The highest number of the most exact room that it belongs to."""
    rooms = [(len(room), number) for number, layer in enumerate(LAYERS) for room in layer if belongs(module, (room,))]
    assert rooms, f"{module} is in no room of the house; say in LAYERS where it belongs"
    return max(rooms)[1]


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """The modules that a file imports, not those it names for the type checker alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree) if lazy else tree.body:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


@pytest.mark.parametrize("module", sorted(MODULES.keys() - PACKAGE))
def test_a_room_knows_only_what_is_below_it(module: str) -> None:
    for other in imports(MODULES[module]):
        if not other.startswith("overlay.") or other in PACKAGE:
            continue
        assert layer(other) <= layer(module), f"{module} imports {other}, which is above it"
        for one, another in ((DRIVERS, PROTOCOLS), (PROTOCOLS, DRIVERS), (("sim",), ("live",)), (("live",), ("sim",))):
            if not belongs(module, DISK) and not belongs(other, DISK):
                assert not (belongs(module, one) and belongs(other, another)), f"{module} imports {other}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if not belongs(name, MAY_TOUCH_THE_WORLD)))
def test_nobody_else_touches_the_world(module: str) -> None:
    assert not WORLD & {name.partition(".")[0] for name in imports(MODULES[module])}
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Attribute):
            called = ast.unparse(node)
            assert called != "os.urandom", f"{module} calls {called}"
            assert not called.startswith("random.") or called.startswith("random.Random"), f"{module} calls {called}"


def test_there_are_no_circles() -> None:
    known = {
        module: {other for other in imports(path, lazy=False) if other in MODULES} for module, path in MODULES.items()
    }
    while known:
        free = [module for module, others in known.items() if not others & known.keys() - {module}]
        assert free, f"these import each other: {sorted(known)}"
        for module in free:
            del known[module]


def test_rooms_and_functions_stay_readable() -> None:
    lengths: list[int] = []
    for module, path in MODULES.items():
        text = path.read_text()
        assert text.count("\n") <= MOST_LINES, f"{module} has {text.count(chr(10))} lines: split it along a seam"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append((node.end_lineno or 0) - node.lineno + 1)
                assert lengths[-1] <= 60, f"{module}.{node.name} has {lengths[-1]} lines"
    assert sorted(lengths)[len(lengths) // 2] <= 8
