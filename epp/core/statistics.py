"""What the core tells about itself: frozen snapshots, taken when somebody asks.

Metrics, the status page and tests read these and never the live structures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    FLOW_CAP = "flow_cap"
    """As many requests of its flow run as may."""


@dataclass(frozen=True, slots=True)
class FlowStatistics:
    """One flow with requests queued."""

    fairness_id: str
    priority: int
    queued_requests: int
    queued_bytes: int
    running_requests: int = 0
    tag_lead: float = 0.0
    """How far its tag is ahead of virtual time where it was served last, in cost units: what it has had in advance."""
    at_cap: bool = False
    """Whether its own cap on requests in flight keeps it from being dispatched."""


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
    running_requests: int = 0
    flows_created: int = 0
    """Flows that ever came to be here; never decreasing. A tenant who comes back to an empty band has a new one."""
    overflowed_requests: int = 0
    """Requests that went to the overflow flow, since there were too many flows; never decreasing."""
    in_use: bool = True
    """Whether ceilings count it: it has requests queued or running, or had a few seconds ago."""
    expected_wait_s: float | None = None
    """What a request of a new tenant would wait if it came now; None if nobody can say."""
    retry_floor_s: float = 1.0
    """The least that a refused client is told to wait: it grows while estimates are poor."""
    charged_tokens: float = 0.0
    """What dispatched requests were charged by estimate; never decreasing."""
    settled_tokens: float = 0.0
    """What requests that ended were found to have cost; never decreasing."""


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """One endpoint of the pool."""

    view: EndpointView
    has_room: bool
    saturation: float
    stated_limit: int | None = None
    """Requests at once, as its pod's annotation or the configuration says; None if neither does."""
    learned_limit: float | None = None
    """Requests at once, as its own times to first token suggest; None while nothing was learned."""


@dataclass(frozen=True, slots=True)
class EstimateErrors:
    """How good estimates of size were: counts of actual size / estimate, one more than there are bounds."""

    bounds: tuple[float, ...] = ()
    """Upper bounds of the ratios, rising; what is above the last is counted last."""
    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EvictionStatistics:
    """Running requests that were asked to give way."""

    issued: Mapping[int, int] = field(default_factory=dict)
    """By the priority of the demand."""
    confirmed: int = 0
    """Their streams ended."""
    timed_out: int = 0
    """Their streams did not end in time, and the next eviction waits for them no longer."""
    outstanding: int = 0


class DisplacedBy(Enum):
    """What a queued request made room for."""

    HIGHER_PRIORITY = "higher_priority"
    """A request of a higher band, at a cap over all bands."""
    SMALLER_FLOW = "smaller_flow"
    """A request of a tenant that held less of a full band."""


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
    estimate_errors: EstimateErrors = EstimateErrors()
    evictions: EvictionStatistics = EvictionStatistics()
    displaced_requests: Mapping[DisplacedBy, int] = field(default_factory=dict)
    """Queued requests that gave way; never decreasing."""
    known_flows: int = 0
    """Flows that are remembered, idle ones included."""
    known_models: int = 0
    """Models whose sizes and speed are being learned."""
