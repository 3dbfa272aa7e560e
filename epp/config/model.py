"""A configuration that has been read and checked: references are resolved, defaults are filled in, nothing can fail.

What is still open, because the configuration doesn't say it, is added by `build`: the seed, the scrape
interval, and how much memory there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.config.scrape import ScrapeConfig
    from epp.core.policy import BandPolicy, CapacityPolicy, CeilingPolicy
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
    ttl_s: float
    hold_s: float


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
    notes: tuple[str, ...]
    """What differs from what the configuration may be expected to do; one line each, for the log."""
