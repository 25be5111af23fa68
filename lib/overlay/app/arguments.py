"""The arguments of peer.py, runner.py and overlay. A wrong one is told in one line, with status 2."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

import overlay
from overlay.app.commands import did_you_mean, known_peer, peer_id
from overlay.app.narrator import count
from overlay.app.options import (
    Parser,
    common_options,
    convert,
    interval,
    lasting_options,
    make_parser,
    of_a_ring,
    peer_address,
    seconds,
    settle,
    size,
)
from overlay.app.terminal import short
from overlay.errors import LocalError
from overlay.store.names import check_name

EXAMPLE_RING = (2, 4, 5, 8, 9, 14, 19)

PEER_EXAMPLES = """\
examples:
  peer.py init 2 4 5 3              peer 2, whose successors are 4 and 5, pings them every 3 seconds
  peer.py join 15 4 3               peer 15 joins through peer 4
  peer.py join 15 127.0.0.2:12004 3 the same, where peer 4 listens on another address

outside the classroom, with ids of 160 bits (peer.py create --help, peer.py join --at HOST:PORT --help):
  peer.py create --port 7001 --data a
  peer.py join --at 127.0.0.1:7001 --data b

commands of a running peer: store 2067, request 4103, cancel, status, files, ring, pings off, help, quit
"""

RUNNER_EXAMPLES = """\
examples:
  runner.py                         the assignment's ring: 2, 4, 5, 8, 9, 14 and 19
  runner.py -r                      the same with a live picture of it
  runner.py --peers 2,4,5 --interval 1
  runner.py --count 40 -r --for 30  forty peers, spread evenly, for half a minute
  runner.py --script lecture.txt    play the commands of a file

commands: join 15 4, quit 9, kill 14, store 8 2067, request 2 4103, ring, status, files, pings off, help, quit
"""


def _peers(text: str) -> tuple[int, ...]:
    peers = tuple(peer_id(word.strip()) for word in text.split(","))
    if len(set(peers)) < len(peers):
        raise LocalError(f"a peer is named twice in {short(text)}")
    return tuple(sorted(peers))


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 256:
        raise LocalError(f"{short(text)} is not a number of peers: 1 to 256")
    return int(text)


def peer_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """For peer.py: `mode` init or join, `id`, `first` and `second` or `known`, `interval`, and the options.

    With `lasts`, for a peer outside the classroom, `mode` is create or join."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any(word.partition("=")[0] in ("create", *LASTING_ONLY) for word in words):
        return _lasting_arguments(words)
    parser = make_parser("peer.py", "One peer of a ring.", PEER_EXAMPLES)
    parser.usage = (
        "peer.py init PEER FIRST_SUCCESSOR SECOND_SUCCESSOR PING_INTERVAL [options]\n"
        "       peer.py join PEER KNOWN_PEER PING_INTERVAL [options]"
    )
    parser.add_argument("mode", nargs="?", default="", help=argparse.SUPPRESS)
    parser.add_argument("values", nargs="*", help=argparse.SUPPRESS)
    common_options(parser)
    parser.add_argument("--data", metavar="DIR", help="where this peer's own records are (files/peer-PEER)")
    parser.add_argument("--quota", type=convert(size), metavar="SIZE", help="what its records may take: 500M, 2G")
    options = parser.parse_intermixed_args(words)
    if options.mode.lower() == "join" and not options.values:
        return _lasting_arguments(words)
    try:
        _understand(options)
    except LocalError as error:
        parser.error(str(error))
    return options


LASTING_ONLY = ("--at", "--port", "--bits", "--successors", "--interval", "--config", "--virtual")
LASTING_EXAMPLES = """\
examples:
  peer.py create --port 7001 --data a         begin a ring; or, started again, go back into it
  peer.py join --at 127.0.0.1:7001 --data b   join it
  peer.py join --data b                       started again: join it by whom the folder remembers

The id comes from a secret that is made once in the folder of --data; whoever has the folder is the peer.
"""


def _lasting_arguments(words: list[str]) -> argparse.Namespace:
    """For a peer outside the classroom: `mode` create or join, `at`, `port`, `bits`, `successors`, None where not given."""
    parser = make_parser("peer.py", "One peer of a ring outside the classroom.", LASTING_EXAMPLES)
    parser.usage = "peer.py create [options]\n       peer.py join [--at HOST:PORT] [options]"
    add = parser.add_argument
    add("mode", help=argparse.SUPPRESS)
    add("--at", type=convert(of_a_ring), metavar="HOST:PORT", help="join: any peer of the ring")
    add("--data", metavar="DIR", default="files/peer", help="what makes this peer, one folder a peer (files/peer)")
    lasting_options(parser)
    common_options(parser, classroom=False)
    options, rest = parser.parse_known_args(words)
    options.mode = options.mode.lower()
    values = [word for word in rest if not word.startswith("-")]
    if options.mode not in ("create", "join"):
        parser.error(f"{short(options.mode)} has no {', '.join(LASTING_ONLY)}: these are for create and join")
    if options.mode == "join" and values:
        parser.error(f"{' '.join(LASTING_ONLY)} are for join without PEER, KNOWN_PEER and PING_INTERVAL")
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.mode == "create" and options.at is not None:
        parser.error("create begins a ring; to come into the one of --at, join")
    settle(options)
    return options


def _understand(options: argparse.Namespace) -> None:
    wanted = {
        "init": ("PEER", "FIRST_SUCCESSOR", "SECOND_SUCCESSOR", "PING_INTERVAL"),
        "join": ("PEER", "KNOWN_PEER", "PING_INTERVAL"),
    }
    options.mode = options.mode.lower()
    if not options.mode:
        raise LocalError("init or join is wanted, such as: peer.py init 2 4 5 3")
    if options.mode not in wanted:
        raise LocalError(f"{short(options.mode)} is neither init nor join{did_you_mean(options.mode, tuple(wanted))}")
    places = wanted[options.mode]
    if len(options.values) != len(places):
        given = count(len(options.values), "value")
        raise LocalError(f"usage: peer.py {options.mode} {' '.join(places)}; {given} given")
    options.id = peer_id(options.values[0])
    options.interval = interval(options.values[-1])
    if options.mode == "join":
        options.known = known_peer(options.values[1])
        if options.known == options.id:
            raise LocalError("a peer cannot join through itself; name another peer as KNOWN_PEER")
    else:
        options.first, options.second = known_peer(options.values[1]), known_peer(options.values[2])
        check_successors(options.id, options.first, options.second)
    named = (options.known,) if options.mode == "join" else (options.first, options.second)
    check_ports(options.base_port, max([options.id, *(peer for peer in named if isinstance(peer, int))]))


def check_ports(base_port: int, highest: int) -> None:
    """LocalError where a peer's port would be none."""
    if base_port + highest > 65535:
        raise LocalError(f"peer {highest} would listen on port {base_port + highest}; choose a lower --base-port")


def check_successors(me: int, first: int | str, second: int | str) -> None:
    """LocalError where two successors are out of ring order. Addresses cannot be judged before they are asked."""
    if isinstance(first, str) or isinstance(second, str):
        return
    # Steps clockwise, less one, so that the peer itself comes last: 255.
    one, two = (first - me - 1) % 256, (second - me - 1) % 256
    if not (one < two or one == two == 255):
        order = f"{second} {first}" if one > two else f"{first} {me}"
        raise LocalError(
            f"the successors {first} and {second} of peer {me} are out of ring order; did you mean {order}?"
        )


def runner_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """For runner.py: `peers` (a tuple of ids) and the options."""
    parser = make_parser("runner.py", "A ring of peers in one process, and commands for any of them.", RUNNER_EXAMPLES)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--peers", type=convert(_peers), metavar="2,4,5", help="these peers")
    which.add_argument("--count", type=convert(_count), metavar="N", help="N peers, spread evenly over the ring")
    which.add_argument("--gossip", type=convert(_count), metavar="N", help="N nodes of an unstructured network instead")
    parser.add_argument("--stable", action="store_true", help="with --gossip: HyParView and Plumtree")
    parser.add_argument("--interval", type=convert(interval), default=3.0, metavar="S", help="between pings (3)")
    parser.add_argument("-r", "--reporter", action="store_true", help="show the ring every second")
    parser.add_argument("--all", action="store_true", help="with -r: a row for peers of other processes too")
    parser.add_argument("--for", dest="seconds", type=convert(seconds), metavar="S", help="end after S seconds")
    parser.add_argument(
        "--script", metavar="FILE", help='play a command a line; also: wait 5, expect "Peer 8" first 19'
    )
    parser.add_argument("--processes", action="store_true", help="every peer in a process of its own")
    common_options(parser)
    options = parser.parse_args(arguments)
    if options.count is not None:
        options.peers = tuple(i * 256 // options.count for i in range(options.count))
    options.peers = options.peers or EXAMPLE_RING
    _check_kind(parser, options)
    try:
        check_ports(options.base_port, max(options.peers))
    except LocalError as error:
        parser.error(str(error))
    return options


CLASSROOM_ONLY = ("interval", "all", "script", "processes", "bind", "base_port", "files", "keep", "json")


def _check_kind(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What the other kind of network has not is refused, and not passed over in silence."""
    given = [name for name in CLASSROOM_ONLY if getattr(options, name) != parser.get_default(name)]
    if options.gossip and given:
        parser.error(f"--gossip has no {', '.join('--' + name.replace('_', '-') for name in given)}")
    if options.stable and not options.gossip:
        parser.error("--stable is for --gossip")


LISTED = (
    ("up", "start a peer in the background: a ring of one, or one more peer of a ring"),
    ("down", "have it hand over what it keeps, and end"),
    ("put", "store a file in a ring"),
    ("get", "read it"),
    ("delete", "delete it"),
    ("list", "list the records of a ring"),
    ("status", "how many copies there are, and where"),
)
EXAMPLES = "examples:\n  overlay ring --at 127.0.0.1:12002 --watch\n  overlay lookup 2067 --at 127.0.0.1:12002\n"


def overlay_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """For the console script: `overlay ring --at host:port`."""
    parser = make_parser("overlay", "Look at a running overlay.", EXAMPLES)
    parser.add_argument("--version", action="version", version=overlay.__version__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    ring = actions.add_parser("ring", help="print the whole ring of a running peer", allow_abbrev=False)
    ring.add_argument(
        "--at", required=True, type=convert(peer_address), metavar="HOST:PORT", help="any peer of the ring"
    )
    ring.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")
    ring.add_argument("--json", action="store_true", help='one JSON object a ring, with "v": 1')
    ring.add_argument("--no-color", action="store_true", help="no colors")
    lookup = actions.add_parser("lookup", help="whose a record is, and the way to it", allow_abbrev=False)
    lookup.add_argument("name", type=convert(_record), metavar="NAME", help="of a record, such as 2067")
    lookup.add_argument(
        "--at", required=True, type=convert(peer_address), metavar="HOST:PORT", help="any peer of the ring"
    )
    lookup.add_argument("--json", action="store_true", help='a JSON object, with "v": 1')
    lookup.add_argument("--no-color", action="store_true", help="no colors")
    # These have modules, and --help, of their own; here they are only listed.
    actions.add_parser("lab", help="measure what the papers measured", add_help=False)
    actions.add_parser("gossip", help="join an unstructured network, with a prompt", add_help=False)
    for name, text in LISTED:
        actions.add_parser(name, help=text, add_help=False)
    text = "print config/params.toml: every parameter, its default, and why"
    actions.add_parser("params", help=text, description=text, allow_abbrev=False).set_defaults(no_color=True)
    return parser.parse_args(arguments)


def _record(text: str) -> str:
    check_name(text)
    return text
