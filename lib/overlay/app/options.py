"""What the command lines have in common: a parser whose errors are one line, the values, and groups of options."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

import overlay
from overlay.app.commands import known_peer
from overlay.app.hosts import numeric, of_one
from overlay.app.terminal import clean, short
from overlay.errors import LocalError

MOST_VIRTUAL = 64
DEFAULT_INTERVAL_S = 3.0


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {clean(message)} (see {self.prog} --help)\n")


def convert(check: Callable[[str], Any]) -> Callable[[str], Any]:
    """A converter for argparse out of one that raises LocalError."""

    def checked(text: str) -> Any:
        try:
            return check(text)
        except LocalError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def make_parser(prog: str, description: str, examples: str) -> argparse.ArgumentParser:
    """With examples at the end of --help, and errors of one line."""
    return Parser(
        prog=prog,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


# Values -----------------------------------------------------------------------------------------------------------


def interval(text: str) -> float:
    """Seconds between pings, 0.1 to 3600."""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) or not 0.1 <= float(text) <= 3600:
        raise LocalError(f"{short(text)} is not a ping interval: seconds, from 0.1 to 3600")
    return float(text)


def seconds(text: str) -> float:
    """More than none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise LocalError(f"{short(text)} is not a number of seconds")
    return value


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise LocalError(f"{short(text)} is not a port: a whole number from 1 to 65535")
    return int(text)


def _advertised(text: str) -> str:
    try:
        return of_one("0.0.0.0" if text == "*" else text)
    except LocalError as error:
        raise LocalError(f"{error}; give --host an address of this machine") from None


def size(text: str) -> int:
    """Bytes."""
    if (match := re.fullmatch(r"([0-9]{1,15})([KMGT]?)", text)) is None:
        raise LocalError(f"{short(text)} is not a size: 500M, 2G, 4096")
    return int(match[1]) << 10 * " KMGT".index(match[2] or " ")


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise LocalError(f"{short(text)} is not a whole number")
    return int(text)


def _virtual(text: str) -> int:
    if not 1 <= _whole(text) <= MOST_VIRTUAL:
        raise LocalError(f"one peer is 1 to {MOST_VIRTUAL} members of a ring, not {int(text)}")
    return int(text)


def _bits(text: str) -> int:
    from overlay.peer.preset import check_bits

    return check_bits(_whole(text))


def _listed(text: str) -> int:
    from overlay.peer.preset import check_successors

    return check_successors(_whole(text))


def of_a_ring(text: str) -> tuple[str, int]:
    """The address of a peer that has no number of the classroom's."""
    if ":" not in text:
        raise LocalError(f"{short(text)} is not an address: host:port is wanted, such as 127.0.0.1:7001")
    return peer_address(text)


def peer_address(text: str) -> tuple[str, int]:
    """`host:port`, or the number of a classroom's peer on this machine."""
    known = known_peer(text)
    if isinstance(known, int):
        return "127.0.0.1", 12000 + known
    host, _, port = known.rpartition(":")
    return host.strip("[]"), int(port)


# Groups -----------------------------------------------------------------------------------------------------------


def common_options(parser: argparse.ArgumentParser, *, classroom: bool = True) -> None:
    """What every program with peers has."""
    parser.set_defaults(lasts=not classroom)
    address_options(parser)
    add = parser.add_argument
    if classroom:
        add("--base-port", type=convert(_port), default=12000, metavar="PORT", help="peer i listens on PORT+i (12000)")
    add("--files", default="files", metavar="DIR", help="where records are stored from and received into (files)")
    if classroom:
        add("--keep", action="store_true", help="keep the records of an earlier run")
    add("--quiet", action="store_true", help="no ping lines, no hints")
    add("--verbose", action="store_true", help="show routes, also where stdout is no terminal")
    add("--json", action="store_true", help='what happens as JSON lines, each with "v": 1')
    add("--log-file", metavar="FILE", help="append every line, with the time, to FILE")
    add("--no-color", action="store_true", help="no colors (NO_COLOR and TERM=dumb are respected too)")
    add("--version", action="version", version=overlay.__version__)


def address_options(parser: argparse.ArgumentParser) -> None:
    """What others are told, and where to listen."""
    add = parser.add_argument
    add("--host", type=convert(_advertised), default="127.0.0.1", help="the address that others are told (127.0.0.1)")
    add("--bind", type=convert(numeric), metavar="HOST", help="the address to listen on (that of --host)")


def lasting_options(parser: argparse.ArgumentParser) -> None:
    """What a ring outside the classroom is like, and a peer in it."""
    add = parser.add_argument
    add("--port", type=convert(_port), help="for TCP and UDP (that of the last time, or a free one)")
    add("--bits", type=convert(_bits), metavar="M", help="create: of an id, 8 to 32, 64, 128 or 160 (160)")
    add("--successors", type=convert(_listed), metavar="R", help="create: how many each peer lists, 2 to 32 (8)")
    add("--interval", type=convert(interval), metavar="S", help="between pings (3)")
    add("--config", type=convert(_config), metavar="FILE", help="these parameters; config/params.toml has all of them")
    add("--virtual", type=convert(_virtual), default=1, metavar="V", help="be V members of the ring, 1 to 64 (1)")
    add("--quota", type=convert(size), metavar="SIZE", help="what its records may take: 500M, 2G")


def settle(options: argparse.Namespace) -> None:
    """What no option says is said by the file of --config, where that names it."""
    options.config = options.config or _config(None)
    options.bits = options.bits or options.config.get("ring.bits")
    options.successors = options.successors or options.config.get("ring.successors")
    options.interval = options.interval or options.config.get("pings.interval_s") or DEFAULT_INTERVAL_S


def _config(path: str | None) -> Any:
    from overlay.app.parameters import load

    return load(path)
