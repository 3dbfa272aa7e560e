"""What a shadow has to tell: frozen values, for metrics and for people. Totals are since its start."""

from __future__ import annotations

from typing import NamedTuple


class BandRegret(NamedTuple):
    """One priority: the requests that were decided on both sides, and how. Totals since the start."""

    priority: int
    dispatched_by_both: int
    wait_difference_s: float
    """Sum over those of the shadow's wait less the live one's. A policy that refuses more sends the rest sooner."""
    refused_by_shadow: int
    """That the live one sent."""
    refused_by_live: int
    """That the shadow would have sent."""
    refused_by_both: int


class FlowDifference(NamedTuple):
    """One tenant in one priority."""

    fairness_id: str
    priority: int
    tokens: int
    """What the shadow would have sent of it by now, less what was sent."""


class ShadowStatistics(NamedTuple):
    """A shadow at one moment."""

    name: str
    events: int
    queued_requests: int
    running_requests: int
    bands: tuple[BandRegret, ...]
    """Highest priority first."""
    flows: tuple[FlowDifference, ...]
    """The largest differences, either way, the largest first."""
    dropped_because: str | None
    """Why it has ended; None while it goes on."""
