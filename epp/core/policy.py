"""What can be decided differently: the protocols of the policies, and the values that configure the core.

A policy is a small pure object. It sees snapshots, never the controller, and answers with a plain value.
It may be wrong: an exception, a wrong type, a NaN or a non-member is replaced for that one decision and counted
(`guard`), so no policy can stop the queue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epp.core.endpoint import EndpointView


class ItemView(NamedTuple):
    """A queued request as policies see it."""

    sequence: int
    """Its place in the order of arrival, over the whole controller."""
    arrived_s: float
    deadline_s: float | None
    """Arrival plus waiting budget; None without one."""
    size_bytes: int
    charge_tokens: int
    facts: object


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
        """How far this dispatch moves the flow's tag; at least 0. Fallback: 1."""


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

    def band(self, priority: int) -> BandPolicy:
        """The rules for `priority`."""
        configured = self.bands.get(priority)
        if configured is not None:
            return configured
        if priority < 0 and self.default_negative_band is not None:
            return self.default_negative_band
        return self.default_band
