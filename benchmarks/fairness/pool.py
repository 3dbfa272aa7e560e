"""The picker's core and the servers behind it, as the simulation uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.fairness.world import Server
from epp.core import Controller
from epp.core.capacity import ConcurrencyDetector
from epp.core.ceilings import StaticCeiling
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy, FlowControlPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epp.core.endpoint import EndpointView
    from epp.core.policy import FairnessPolicy

_NO_CAP = 1_000_000_000


class LeastLoaded:
    """The endpoint with the least on it, the first of equals."""

    def choose(self, candidates: Sequence[EndpointView], facts: object, /) -> EndpointView:
        """Its view."""
        del facts
        return min(candidates, key=lambda view: view.load)


def policy(fairness: FairnessPolicy, *, max_requests: int = _NO_CAP, ttl_s: float = 0.0) -> FlowControlPolicy:
    """Flow control that refuses nobody unless told to. Servers say themselves how many requests they take."""
    return FlowControlPolicy(
        capacity=ConcurrencyDetector(max_concurrency=1),
        ceiling=StaticCeiling(),
        choice=LeastLoaded(),
        default_band=BandPolicy(fairness, FcfsOrdering(), max_requests=max_requests, max_bytes=_NO_CAP),
        ttl_s=ttl_s,
        hold_s=0.0,
    )


def controller(fairness: FairnessPolicy, *, max_requests: int = _NO_CAP, ttl_s: float = 0.0) -> Controller:
    """The core, with the same policy for every band."""
    return Controller(policy(fairness, max_requests=max_requests, ttl_s=ttl_s), now=0.0)


def servers(slots: int, *tokens_per_s: float) -> list[Server]:
    """One for each speed, with so many slots each."""
    return [
        Server(number=number, slots=slots, tokens_per_s=speed)
        for number, speed in enumerate(tokens_per_s, start=1)
    ]
