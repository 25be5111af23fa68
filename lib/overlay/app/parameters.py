"""Every parameter of a peer outside the classroom, as a file of sections: config/params.toml, and what --config reads.

The structs are the one source: name, type, default and reason come from there, and a test compares the file with them.
"""

from __future__ import annotations

import ast
import inspect
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, wrap
from typing import Any

import msgspec

from overlay.app.commands import did_you_mean
from overlay.app.terminal import short
from overlay.errors import LocalError
from overlay.gossip.detection.messages import SwimConfig
from overlay.ids import CHORD_BITS
from overlay.peer.preset import SUCCESSORS, Preset, agreed_of, check_bits, check_successors, chord, of_shape
from overlay.ring.fingers import FingerConfig
from overlay.ring.messages import Shape
from overlay.ring.routing import RoutingConfig
from overlay.ring.watching import PingConfig
from overlay.store.replicated.config import ReplicasConfig

SECTIONS: dict[str, msgspec.Struct] = {
    "ring": chord().ring,
    "pings": PingConfig(),
    "routing": RoutingConfig(),
    "fingers": FingerConfig(),
    "store": ReplicasConfig(),
    "swim": SwimConfig(),
}
"""What they are where nobody says anything."""

ABOUT = {
    "ring": "The ring. bits and successors are the same at every peer.",
    "pings": "Who is alive.",
    "routing": "How a message finds its way.",
    "fingers": "The shortcuts.",
    "store": "The replicated store. copies, durable and tombstone_s are the same at every peer.",
    "swim": "With this section, SWIM says who is dead, and not the pings; then it is there at every peer of the ring.",
}
OPTIONAL = ("swim",)
"""Not there unless somebody gives them."""

UNITS = {"s": "seconds", "bytes": "bytes", "bits": "bits"}
LONGEST_S = 100 * 365 * 86400.0
MOST = 1 << 20
MAX_FILE_BYTES = 1 << 20
WIDE = 112


class Parameters(msgspec.Struct, frozen=True):
    """What a file said: the sections, and which of their parameters it named."""

    sections: dict[str, msgspec.Struct]
    named: frozenset[str]
    """Such as "ring.bits"."""

    def get(self, name: str) -> Any:
        """The value of "ring.bits" if the file named it, else None."""
        section, _, parameter = name.partition(".")
        return getattr(self.sections[section], parameter) if name in self.named else None


def load(path: str | None) -> Parameters:
    """The parameters of a file, or the defaults. LocalError, of one line, for what is unknown or cannot be."""
    text = ""
    if path is not None:
        try:
            with Path(path).open("rb") as file:
                text = file.read(MAX_FILE_BYTES).decode()
        except OSError as error:
            raise LocalError(f"cannot read {short(path)}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise LocalError(f"{short(path)} is not UTF-8") from None
    try:
        return read(text)
    except LocalError as error:
        raise LocalError(f"{short(str(path))}: {error}") from None


def read(text: str) -> Parameters:
    """See `load`."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LocalError(str(error)) from None
    sections = {name: default for name, default in SECTIONS.items() if name not in OPTIONAL}
    named: list[str] = []
    for name, table in tables.items():
        if name not in SECTIONS or not isinstance(table, dict):
            raise LocalError(f"there is no section {short(name)}{did_you_mean(name, SECTIONS)}")
        sections[name] = _section(name, table)
        named += [f"{name}.{parameter}" for parameter in table]
    return Parameters(sections, frozenset(named))


def _section(name: str, table: Mapping[str, Any]) -> msgspec.Struct:
    default = SECTIONS[name]
    known = {field.name: field.type for field in msgspec.structs.fields(default)}
    for parameter, value in table.items():
        if parameter not in known:
            raise LocalError(f"there is no {name}.{short(parameter)[1:-1]}{did_you_mean(parameter, known)}")
        _check(f"{name}.{parameter}", value, known[parameter], getattr(default, parameter))
    typed = {parameter: known[parameter](value) for parameter, value in table.items()}
    section = msgspec.structs.replace(default, **typed)
    try:
        if name == "ring":
            check_bits(section.bits)  # type: ignore[attr-defined]
            check_successors(section.successors)  # type: ignore[attr-defined]
        elif isinstance(section, SwimConfig | ReplicasConfig):
            section.check()
    except LocalError as error:
        raise LocalError(f"{name}: {error}") from None
    return section


def _check(name: str, value: Any, wanted: type, default: Any) -> None:
    if wanted is bool:
        if not isinstance(value, bool):
            raise LocalError(f"{name} is true or false, not {short(str(value))}")
        return
    what = "a number of seconds" if wanted is float and name.endswith("_s") else "a number"
    what = "a whole number" if wanted is int else what
    most = LONGEST_S if name.endswith("_s") else MOST
    # Nothing else can be zero than what is so at first, or says by it that there is none.
    least = 0 if default == 0 or (wanted is float and name.startswith("swim.")) else 1 if wanted is int else 1e-3
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or (wanted is int and not isinstance(value, int)) or not math.isfinite(value):
        raise LocalError(f"{name} is {what}, not {short(str(value))}")
    if not least <= value <= most:
        raise LocalError(f"{name} is {what} from {least} to {most:.0f}, not {value}")


def preset_of(shape: Shape, parameters: Parameters) -> Preset:
    """What a peer of a ring of this shape is made with."""
    preset, sections = of_shape(shape), parameters.sections
    ring = msgspec.structs.replace(sections["ring"], bits=shape.bits, successors=shape.successors)
    swim = None if preset.swim is None else sections.get("swim", preset.swim)
    return Preset(ring, sections["fingers"], swim, sections["pings"], sections["routing"])  # type: ignore[arg-type]


def store_of(shape: Shape, parameters: Parameters) -> ReplicasConfig:
    """And its store: what the ring has agreed in is so, the rest is as the parameters say."""
    agreed = {name.partition(".")[2]: value for name, value in shape.agreed if name.startswith("store.")}
    store = parameters.sections["store"]
    assert isinstance(store, ReplicasConfig)
    known = {field.name: field.type for field in msgspec.structs.fields(store)}
    store = msgspec.structs.replace(store, **{n: known[n](value) for n, value in agreed.items() if n in known})
    store.check()
    return store


def shape_wanted(shape: Shape, parameters: Parameters, bits: int | None, successors: int | None) -> Shape:
    """The shape of a ring, but for what somebody said that it is to be: on the command line, or in a file."""
    agreed = [(name, float(parameters.get(name) or value)) for name, value in shape.agreed]
    swim = shape.swim or "swim" in parameters.sections
    return Shape(bits or shape.bits, successors or shape.successors, shape.fingers, swim, tuple(agreed))


def shape_of_new(parameters: Parameters, bits: int | None, successors: int | None) -> Shape:
    """Of a ring that begins."""
    store = parameters.sections["store"]
    assert isinstance(store, ReplicasConfig)
    return shape_wanted(Shape(CHORD_BITS, SUCCESSORS, True, False, agreed_of(store)), parameters, bits, successors)


def text() -> str:
    """config/params.toml as it is to be."""
    lines = [
        "# Every parameter of a peer outside the classroom: its unit, its default, and why.",
        "# Give a file with some of them to peer.py create, peer.py join --at or overlay up by --config FILE.",
        "# This one was written by: overlay params > config/params.toml",
    ]
    for name, default in SECTIONS.items():
        off = "# " if name in OPTIONAL else ""
        lines += ["", *_comment(ABOUT[name]), f"{off}[{name}]"]
        reasons = reasons_of(type(default))
        for field in msgspec.structs.fields(default):
            lines += ["", *_comment(f"{_unit(field.name, field.type)}. {reasons[field.name]}")]
            lines.append(f"{off}{field.name} = {_value(getattr(default, field.name))}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, WIDE)]


def _unit(name: str, kind: type) -> str:
    unit = UNITS.get(name.rpartition("_")[2])
    return (unit or {bool: "true or false", int: "a number", float: "a number"}[kind]).capitalize()


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def reasons_of(kind: type) -> dict[str, str]:
    """What the source says below each field; of several fields above one sentence, each has it."""
    (definition,) = ast.parse(dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    reasons: dict[str, str] = {}
    waiting: list[str] = []
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            waiting.append(node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for name in waiting:
                reasons[name] = " ".join(str(node.value.value).split())
            waiting.clear()
    return reasons
