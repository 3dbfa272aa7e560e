"""What can be decided differently: the protocols of the policies, and the values that configure the core.

A policy is a small pure object. It sees snapshots, never the controller, and answers with a plain value.
It may be wrong: an exception, a wrong type, a NaN or a non-member is replaced for that one decision and counted
(`guard`), so no policy can stop the queue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from epp.core.limits import NO_RULES, LimitRules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epp.core.endpoint import EndpointView
    from epp.core.eviction import EvictionPolicy
    from epp.core.learning import LearnedLimitPolicy


class ItemView(NamedTuple):
    """A queued request as policies see it."""

    sequence: int
    """Its place in the order of arrival, over the whole controller."""
    arrived_s: float
    deadline_s: float | None
    """Arrival plus waiting budget; None without one."""
    size_bytes: int
    input_tokens: int = 1
    """Counted or estimated, as is the output; after the end, as it turned out."""
    output_tokens: int = 0
    weight: float = 1.0
    """Its tenant's share within the band."""
    slo_deadline_s: float | None = None
    """When it wants its first token; None if it doesn't say."""

    @property
    def charge_tokens(self) -> int:
        """What it takes altogether, at least 1."""
        return self.input_tokens + self.output_tokens or 1


class OrderingPolicy(Protocol):
    """The order of requests inside one flow."""

    @property
    def name(self) -> str:
        """The type name that configurations use."""

    def key(self, item: ItemView, /) -> float:
        """Smaller goes first; asked once, on arrival; ties go by arrival. Fallback: order of arrival."""


class FairnessPolicy(Protocol):
    """Whose turn it is inside one band. Every flow carries one tag, which only dispatches move."""

    @property
    def name(self) -> str:
        """The type name that configurations use."""

    def key(self, tag: float, order_key: float, head: ItemView, /) -> float:
        """Smaller goes first; ties go by the head's arrival. Fallback: the oldest request.

        `tag` is the flow's, `order_key` is what the ordering policy said of `head`, its next request.
        """

    def cost(self, item: ItemView, /) -> float:
        """How far this dispatch moves the flow's tag; at least 0. Fallback: 1.

        Asked twice: when it is queued, with the estimated tokens, and at the end with those that it took. The
        difference is settled as if the second answer had been charged in the first place.
        """

    @property
    def half_life_s(self) -> float:
        """In which time half of an idle flow's lead over the others is forgotten; infinite: none is."""


class CapacityPolicy(Protocol):
    """Whether an endpoint has room (upstream: a saturation detector)."""

    @property
    def name(self) -> str:
        """The type name that configurations use."""

    def has_room(self, endpoint: EndpointView, ceiling: float, /) -> bool:
        """Whether one more request fits below `ceiling` (0 to 1) of the endpoint's limit.

        Must not grow with load, and must not shrink with the ceiling. A ceiling of 0 means never.
        Fallback: own accounting.
        """

    def saturation(self, endpoint: EndpointView, /) -> float:
        """Load as a share of the limit, 1.0 and more being full; for metrics and for ceilings."""

    def renewable(self, endpoint: EndpointView, /) -> bool:
        """Whether a new sample could show room that the present one can't, so that asking early pays."""


class CeilingPolicy(Protocol):
    """Which share of each endpoint's limit every band may fill (upstream: a usage-limit policy)."""

    @property
    def name(self) -> str:
        """The type name that configurations use."""

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """One ceiling from 0 to 1 for each priority, which come highest first. Fallback: 1.0 for all."""


class EndpointChoice(Protocol):
    """Which of the endpoints with room gets the request."""

    def choose(self, candidates: Sequence[EndpointView], facts: object, /) -> EndpointView:
        """A member of `candidates`, which is never empty. Fallback: the least loaded."""


@dataclass(frozen=True, slots=True)
class BandPolicy:
    """The rules of one priority."""

    fairness: FairnessPolicy
    ordering: OrderingPolicy
    max_requests: int = 5000
    max_bytes: int = 1_000_000_000
    ttl_s: float | None = None
    """Waiting budget while the pool has endpoints; None means the policy's, 0 means no limit."""
    hold_s: float | None = None
    """The same while it has none."""
    flow_max_requests: int | None = None
    """Queued of one flow; None means as many as the band takes."""
    flow_max_bytes: int | None = None
    flow_max_in_flight: int | None = None
    """Running of one flow; further requests of it wait, and hold nobody else up."""


class EarlyRefusal(Enum):
    """Whether a request is refused on arrival that would outwait its budget anyway."""

    OFF = "off"
    WHEN_SURE = "when-sure"
    """If the estimate says so, and estimates of its band have been good lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatePolicy:
    """What requests are assumed to take until something is learned of their model and their flow."""

    bytes_per_token: float = 4.0
    output_tokens: int = 256


@dataclass(frozen=True, slots=True)
class FlowControlPolicy:
    """Everything that configures the core; replaced as a whole by `PolicyChanged`."""

    capacity: CapacityPolicy
    ceiling: CeilingPolicy
    choice: EndpointChoice
    default_band: BandPolicy
    default_negative_band: BandPolicy | None = None
    """For priorities below 0; None means `default_band`."""
    bands: Mapping[int, BandPolicy] = field(default_factory=lambda: MappingProxyType({}))
    """Bands that exist whatever the objectives say, by priority."""
    max_requests: int | None = None
    """Queued over all bands; None means unlimited."""
    max_bytes: int | None = None
    ttl_s: float = 60.0
    """Waiting budget while the pool has endpoints; 0 means no limit."""
    hold_s: float = 60.0
    """Waiting budget while it has none; 0 means no limit."""
    staleness_s: float = 2.0
    """A sample older than this is stale."""
    scrape_interval_s: float = 0.2
    """How often endpoints are scraped anyway: asking early never waits longer than this."""
    max_flows: int = 4096
    """Flows with requests queued; beyond it new tenants of a band share its overflow flow."""
    max_lanes: int = 128
    """Different subsets among queued requests; beyond it a new one is refused as saturated."""
    early_refusal: EarlyRefusal = EarlyRefusal.OFF
    estimates: EstimatePolicy = EstimatePolicy()
    limits: LimitRules = NO_RULES
    """What endpoints' labels say of their limits."""
    learning: LearnedLimitPolicy | None = None
    """How a limit on requests is learned for every endpoint; None: it isn't."""
    eviction: EvictionPolicy | None = None
    """How running requests give way; None: they don't."""

    @property
    def wants_first_bytes(self) -> bool:
        """Whether `FirstByte` is worth feeding."""
        return self.learning is not None or self.eviction is not None

    def band(self, priority: int) -> BandPolicy:
        """The rules for `priority`."""
        configured = self.bands.get(priority)
        if configured is not None:
            return configured
        if priority < 0 and self.default_negative_band is not None:
            return self.default_negative_band
        return self.default_band
