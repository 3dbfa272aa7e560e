"""A configuration that has been read and checked: references are resolved, defaults are filled in, nothing can fail.

What is still open, because the configuration doesn't say it, is added by `build`: the seed, the scrape
interval, and how much memory there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.config.runtime import ExplainHeaders
    from epp.config.scrape import ScrapeConfig
    from epp.config.weights import Weights
    from epp.core.eviction import EvictionPolicy
    from epp.core.learning import LearnedLimitPolicy
    from epp.core.limits import LimitRules
    from epp.core.policy import BandPolicy, CapacityPolicy, CeilingPolicy, EarlyRefusal, EstimatePolicy
    from epp.picking.labels import LabelRule
    from epp.picking.pickers import Picker
    from epp.picking.scorers import Scorer


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """How an endpoint is chosen."""

    name: str
    scorers: tuple[Scorer, ...]
    picker: Picker
    rule: LabelRule
    """The endpoints that are used at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowControlConfig:
    """How requests wait."""

    capacity: CapacityPolicy
    limits: LimitRules
    staleness_s: float
    """A sample older than this is not believed; `build` raises it to what the scrape interval allows."""
    ceiling: CeilingPolicy
    default_band: BandPolicy
    default_negative_band: BandPolicy | None
    bands: Mapping[int, BandPolicy]
    max_requests: int | None
    """None: no limit."""
    max_bytes: int | None
    """None: a share of the memory there is. 0: no limit."""
    max_flows: int
    max_subsets: int
    ttl_s: float
    hold_s: float
    max_request_ttl_s: float | None
    """The most that a request may ask for itself; None: what it would have without asking. 0: no limit."""
    early_refusal: EarlyRefusal
    explain: ExplainHeaders
    eviction: EvictionPolicy | None
    learning: LearnedLimitPolicy | None
    estimates: EstimatePolicy
    weights: Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPickerConfig:
    """A whole configuration."""

    source: str
    """Where it came from."""
    profile: ProfileConfig
    flow_control: FlowControlConfig
    scrape: ScrapeConfig | None
    """None: metrics are not scraped at all, and capacity goes by our own accounting."""
    parsers: tuple[str, ...]
    """Types of the parsers, in order."""
    plugins: tuple[str, ...]
    """Names of the plugins that are listed, in order."""
    text: str = field(default="", compare=False, repr=False)
    """The document itself, for whoever has to read it again elsewhere."""
    notes: tuple[str, ...]
    """What differs from what the configuration may be expected to do; one line each, for the log."""
