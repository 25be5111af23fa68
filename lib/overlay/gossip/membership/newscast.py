"""Newscast, the membership of the extreme edition: everybody exchanges whole views, and the freshest news stays.

Voulgaris, PhD thesis 2006 (VO06), section 2.8. In the framework of PS07 it is (rand, head, pushpull) with the whole view
sent. Nobody says goodbye: who leaves is forgotten, in about so many periods as it takes to fill a view with news.
"""

from __future__ import annotations

from overlay.gossip.base import name_of
from overlay.gossip.membership.peer_sampling import PeerSampling, SamplingConfig
from overlay.gossip.view import Selection


class NewscastConfig(SamplingConfig, frozen=True):
    """As UnsServ's, with the period in seconds."""

    view_size: int = 20
    """l: VO06 has 20 and 50. UnsServ has 10: with that, networks of 100 fall apart within 300 periods."""
    period_s: float = 0.2
    buffer: int = 200
    """The whole view, however large it is."""
    healer: int = 0
    view_selection: Selection = "head"


class Newscast(PeerSampling):
    """See the module."""

    def __init__(self, network: str, config: NewscastConfig | None = None):
        super().__init__(name_of("newscast", network), config or NewscastConfig())
