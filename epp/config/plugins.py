"""What the plugins of a configuration are, once their parameters have been read: a closed union of roles.

A plugin is instantiated once and may be referred to many times. All of them are immutable, so sharing is safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epp.core.limits import NO_RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from epp.config.scrape import EngineMetrics, Scheme
    from epp.core.limits import LimitRules
    from epp.core.policy import CapacityPolicy, CeilingPolicy, FairnessPolicy, OrderingPolicy
    from epp.picking.labels import LabelRule
    from epp.picking.pickers import Picker
    from epp.picking.scorers import Scorer


@dataclass(frozen=True, slots=True)
class FairnessPlugin:
    """Whose turn it is within a band."""

    policy: FairnessPolicy


@dataclass(frozen=True, slots=True)
class OrderingPlugin:
    """The order within a flow."""

    policy: OrderingPolicy


@dataclass(frozen=True, slots=True)
class CapacityPlugin:
    """Whether an endpoint has room; upstream's saturation detectors, which are scheduling filters as well."""

    policy: CapacityPolicy
    staleness_s: float
    """A sample older than this is not believed."""
    limits: LimitRules = NO_RULES
    """What endpoints' labels say of their limits."""


@dataclass(frozen=True, slots=True)
class CeilingPlugin:
    """How much of an endpoint each band may fill."""

    policy: CeilingPolicy


@dataclass(frozen=True, slots=True)
class ScorerPlugin:
    """A scorer, which gets its weight from the profile that refers to it."""

    weighted: Callable[[float], Scorer]


@dataclass(frozen=True, slots=True)
class PickerPlugin:
    """Takes one of the scored candidates."""

    picker: Picker


@dataclass(frozen=True, slots=True)
class LabelFilterPlugin:
    """Restricts a profile to endpoints with certain labels."""

    rule: LabelRule


@dataclass(frozen=True, slots=True)
class ProfileHandlerPlugin:
    """Chooses among profiles; of which there is one."""


@dataclass(frozen=True, slots=True)
class ParserPlugin:
    """Reads request bodies."""

    type: str


@dataclass(frozen=True, slots=True)
class MetricsSourcePlugin:
    """Where metrics pages are."""

    scheme: Scheme
    path: str | None
    port: int | None
    insecure_skip_verify: bool


@dataclass(frozen=True, slots=True)
class MetricsExtractorPlugin:
    """How metrics pages are read."""

    engine_label: str
    default_engine: str
    engines: Mapping[str, EngineMetrics]


@dataclass(frozen=True, slots=True)
class IgnoredPlugin:
    """Of an upstream type that we don't have and can do without. It may stand wherever upstream allows it."""

    text: str
    """What follows for the user."""


Plugin = (
    FairnessPlugin
    | OrderingPlugin
    | CapacityPlugin
    | CeilingPlugin
    | ScorerPlugin
    | PickerPlugin
    | LabelFilterPlugin
    | ProfileHandlerPlugin
    | ParserPlugin
    | MetricsSourcePlugin
    | MetricsExtractorPlugin
    | IgnoredPlugin
)
