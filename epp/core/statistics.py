"""What the core tells about itself: frozen snapshots, taken when somebody asks.

Metrics, the status page and tests read these and never the live structures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.core.endpoint import EndpointView


class WaitReason(Enum):
    """What a queued request waits for; every queued second is counted under exactly one."""

    HIGHER_PRIORITY = "higher_priority"
    """Requests of a higher band that want the same endpoints go first."""
    SAME_BAND = "same_band"
    """It isn't its turn within its band."""
    NO_ROOM = "no_room"
    """It is next, and no endpoint that it may use has room."""
    NO_ENDPOINT = "no_endpoint"
    """The pool has no endpoint."""
    INELIGIBLE = "ineligible"
    """The pool has endpoints, and it may use none of them."""
    CEILING = "ceiling"
    """It is next and there is room, which its band's ceiling keeps for higher bands."""


@dataclass(frozen=True, slots=True)
class FlowStatistics:
    """One flow with requests queued."""

    fairness_id: str
    priority: int
    queued_requests: int
    queued_bytes: int


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """One priority."""

    priority: int
    queued_requests: int
    queued_bytes: int
    max_requests: int
    max_bytes: int
    ceiling: float
    oldest_wait_s: float
    """How long its oldest queued request has waited; 0 when none is queued."""
    drain_rate: float
    """Requests per second that left it for an endpoint, lately."""
    wait_s: Mapping[WaitReason, float]
    """Queued seconds by reason, since the priority was first seen; never decreasing."""
    flows: tuple[FlowStatistics, ...]


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """One endpoint of the pool."""

    view: EndpointView
    has_room: bool
    saturation: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """The whole core at one moment."""

    bands: tuple[BandStatistics, ...]
    """Highest priority first."""
    endpoints: tuple[EndpointStatistics, ...]
    queued_requests: int
    queued_bytes: int
    max_requests: int | None
    max_bytes: int | None
    running_requests: int
    lanes: int
    """Different subsets among the queued requests, counted in each band."""
    overflowed_flows: int
    """Tenants that share an overflow flow at the moment."""
    idle_eligible_slot_s: float
    """Endpoint-seconds with room while work that may use it was queued: 0 is the promise."""
    ceiling_slot_s: float
    """Endpoint-seconds with room that a ceiling kept from queued work."""
    policy_faults: Mapping[tuple[str, str], int]
    """Decisions in which a policy was replaced, by (policy's type name, what it did wrong)."""
    retired_wait_s: Mapping[int, Mapping[WaitReason, float]]
    """Queued seconds by reason of the priorities that have no band now, and had one."""
