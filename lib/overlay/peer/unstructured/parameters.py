"""Which protocol is behind a service, and what its parameters are called: by us, and by UnsServ."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from overlay.core.protocol import Protocol
from overlay.errors import LocalError
from overlay.gossip.base import MembershipService, check_id
from overlay.gossip.dissemination.base import Disseminator
from overlay.gossip.dissemination.brisa import Brisa, BrisaConfig
from overlay.gossip.dissemination.lpbcast import Lpbcast, LpbcastConfig
from overlay.gossip.dissemination.mon import Mon, MonConfig
from overlay.gossip.dissemination.plumtree import Plumtree, PlumtreeConfig
from overlay.gossip.membership.hyparview import HyParView, HyParViewConfig
from overlay.gossip.membership.newscast import Newscast, NewscastConfig

C = TypeVar("C", bound=msgspec.Struct)

PROTOCOLS: tuple[type[Protocol], ...] = (Newscast, HyParView, Lpbcast, Mon, Plumtree, Brisa)
"""Whatever may be added to a running node."""

NAMES: dict[type[msgspec.Struct], dict[str, str]] = {
    NewscastConfig: {
        "local_view_size": "view_size",
        "gossiping_frequency": "period_s",
        "view_propagation": "propagation",
        "rpc_timeout": "timeout_s",
    },
    HyParViewConfig: {
        "local_view_size": "passive_size",
        "active_view_size": "active_size",
        "gossiping_frequency": "period_s",
        "rpc_timeout": "timeout_s",
        "ttl": "arwl",
    },
    LpbcastConfig: {},
    MonConfig: {"timeout": "timeout_s", "tree_life": "tree_life_s"},
    PlumtreeConfig: {"retrieve_timeout": "announced_s"},
    BrisaConfig: {"maintenance_sleep": "retry_s"},
}
"""What UnsServ calls something else."""

POLLED = "a broken connection is noticed at once here, so nothing is polled: leave it out"
WITHOUT = {
    (HyParViewConfig, "maintenance_sleep"): POLLED,
    (PlumtreeConfig, "maintenance_sleep"): POLLED,
    (HyParViewConfig, "peer_selection"): "HyParView's views are kept by random walks: leave it out",
    (HyParViewConfig, "view_selection"): "HyParView's views are kept by random walks: leave it out",
    (HyParViewConfig, "view_propagation"): "HyParView's views are kept by random walks: leave it out",
    (BrisaConfig, "fanout"): "a stream goes to all neighbors: give the membership another active_size",
}
"""What UnsServ has and we have not, with the reason."""


class Vocabulary(Protocol):
    """Says from the start what services may speak that come later; it does nothing."""

    service = "gossip"
    answers = tuple(
        dict.fromkeys(message for protocol in PROTOCOLS for message in (*protocol.handlers, *protocol.answers))
    )


def membership(network: str, parameters: Mapping[str, Any], *, is_extreme: bool) -> MembershipService:
    """The protocol of a network, not started. LocalError for a parameter that is none, or out of range."""
    check_id(network)
    if is_extreme:
        return Newscast(network, config_of(NewscastConfig, parameters))
    if "ttl" in parameters and "prwl" not in parameters:
        parameters = {**parameters, "prwl": min(HyParViewConfig().prwl, _half(parameters["ttl"]))}
    return HyParView(network, config_of(HyParViewConfig, parameters))


def _half(ttl: Any) -> int:
    return ttl // 2 if isinstance(ttl, int) else 0


def dissemination(
    instance: str, below: MembershipService, parameters: Mapping[str, Any], *, is_extreme: bool, many_to_many: bool
) -> Disseminator:
    """The protocol of a dissemination service, not started."""
    match is_extreme, many_to_many:
        case True, True:
            return Lpbcast(instance, below, config_of(LpbcastConfig, parameters))
        case True, False:
            return Mon(instance, below, config_of(MonConfig, parameters))
        case False, True:
            return Plumtree(instance, below, config_of(PlumtreeConfig, parameters))
        case _:
            return Brisa(instance, below, config_of(BrisaConfig, parameters))


def config_of(kind: type[C], parameters: Mapping[str, Any]) -> C:
    """A protocol's config out of parameters by our names or by UnsServ's."""
    values, names = {}, NAMES[kind]
    for name, value in parameters.items():
        field = names.get(name, name)
        if (kind, name) in WITHOUT:
            raise LocalError(f"{name}: {WITHOUT[kind, name]}")
        if field not in kind.__struct_fields__:
            known = (*kind.__struct_fields__, *names)
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise LocalError(f"there is no parameter {name}; {hint}")
        if field in values:
            raise LocalError(f"the parameter {field} is given by two of its names: one is enough")
        values[field] = value
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise LocalError(f"a parameter is wrong: {error}") from None
