"""The `flowControl` section: caps, waiting budgets, bands, and the policies that they name.

Defaults are upstream's, with two differences: fairness is round robin, and without `maxBytes` the queue as a whole is
bounded by a share of the memory there is (`build`); `maxBytes: 0` means no bound, as upstream.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.config.model import FlowControlConfig
from epp.config.plugins import CapacityPlugin, CeilingPlugin, FairnessPlugin, OrderingPlugin
from epp.config.registry import DEFAULT_STALENESS_S
from epp.config.roster import Wanted
from epp.core.capacity import UtilizationDetector
from epp.core.ceilings import StaticCeiling
from epp.core.fairness import RoundRobinFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy

if TYPE_CHECKING:
    from epp.config.fields import Fields
    from epp.config.roster import Roster

DEFAULT_TTL_S = 60.0
DEFAULT_BAND_REQUESTS = 5000
DEFAULT_BAND_BYTES = 1_000_000_000

_DETECTOR = Wanted(
    "saturation detector references undefined plugin '{name}'",
    "plugin '{name}' is not a fwkfc.SaturationDetector (type: {type})",
    "use utilization-detector or concurrency-detector",
)
_CEILING = Wanted(
    "usage limit policy plugin '{name}' not found",
    "plugin '{name}' does not implement UsageLimitPolicy (type: {type})",
    "use static-usage-limit-policy",
)
_FAIRNESS = Wanted(
    'no fairness policy registered for name "{name}"',
    'plugin "{name}" is not a flowcontrol.FairnessPolicy (type: {type})',
    "use round-robin-fairness-policy or global-strict-fairness-policy",
)
_ORDERING = Wanted(
    'no ordering policy registered for name "{name}"',
    'plugin "{name}" is not a flowcontrol.OrderingPolicy (type: {type})',
    "use fcfs-ordering-policy",
)
_INT32 = {"least": -(2**31), "most": 2**31 - 1}


def read_flow_control(document: Fields, roster: Roster) -> FlowControlConfig:
    """The section, and the deprecated `saturationDetector` beside it."""
    fields = document.section("flowControl")
    detector = _detector(document, fields, roster)
    ceiling = roster.resolve(
        fields, "usageLimitPolicyPluginRef", CeilingPlugin, _CEILING, default="static-usage-limit-policy"
    )
    if fields.flag("enableEviction", default=False):
        fields.findings.note(
            "flowControl.enableEviction has no effect yet: running requests are never revoked"
        )
    ttl_s = _ttl_s(fields, "defaultRequestTTL", DEFAULT_TTL_S)
    negative = fields.section("defaultNegativePriorityBand")
    config = FlowControlConfig(
        capacity=detector.policy,
        staleness_s=detector.staleness_s,
        ceiling=ceiling.policy if ceiling else StaticCeiling(),
        default_band=_template(fields.section("defaultPriorityBand"), roster),
        default_negative_band=_template(negative, roster) if negative.given else None,
        bands=MappingProxyType(_bands(fields, roster)),
        max_requests=fields.quantity("maxRequests") or None,
        max_bytes=fields.quantity("maxBytes"),
        ttl_s=ttl_s,
        hold_s=_ttl_s(fields, "noEndpointRequestTTL", ttl_s),
    )
    fields.close()
    return config


def _detector(document: Fields, fields: Fields, roster: Roster) -> CapacityPlugin:
    section, deprecated = fields.section("saturationDetector"), document.section("saturationDetector")
    if deprecated.given:
        fields.findings.note(
            "top-level saturationDetector is deprecated, use flowControl.saturationDetector; "
            "if both are set, that one is used"
        )
    in_force = section if section.given or not deprecated.given else deprecated
    plugin = roster.resolve(in_force, "pluginRef", CapacityPlugin, _DETECTOR, default="utilization-detector")
    for each in (section, deprecated):
        each.has("pluginRef")
        each.close()
    return plugin or CapacityPlugin(UtilizationDetector(), DEFAULT_STALENESS_S)


def _ttl_s(fields: Fields, key: str, default: float) -> float:
    ttl_s = fields.duration_s(key)
    if ttl_s is None:
        return default
    if ttl_s < 0:
        name = key[0].upper() + key[1:]
        fields.fail(key, f'{name} cannot be negative, but got {fields.text(key)}: write "0s" for no limit')
        return default
    return ttl_s


def _bands(fields: Fields, roster: Roster) -> dict[int, BandPolicy]:
    bands: dict[int, BandPolicy] = {}
    lines: dict[int, int] = {}
    for band in fields.sections("priorityBands"):
        band.require("priority", "is required: the priority of the objectives that the band is for")
        priority = band.whole("priority", 0, **_INT32)
        policy = _band(band, roster)
        band.close()
        if not band.has("priority"):
            continue
        if priority in lines:
            band.fail(
                "priority", f"duplicate priority level {priority}, first on line {lines[priority]}: keep one"
            )
            continue
        lines[priority] = band.line
        bands[priority] = policy
    return bands


def _template(band: Fields, roster: Roster) -> BandPolicy:
    """A band for priorities that no entry of `priorityBands` names."""
    if band.whole("priority", 0, **_INT32):
        band.findings.note(f"{band.path}.priority has no effect: the band is a template for other priorities")
    policy = _band(band, roster)
    band.close()
    return policy


def _band(band: Fields, roster: Roster) -> BandPolicy:
    fairness = roster.resolve(band, "fairnessPolicyRef", FairnessPlugin, _FAIRNESS)
    ordering = roster.resolve(band, "orderingPolicyRef", OrderingPlugin, _ORDERING)
    return BandPolicy(
        fairness=fairness.policy if fairness else RoundRobinFairness(),
        ordering=ordering.policy if ordering else FcfsOrdering(),
        max_requests=band.quantity("maxRequests") or DEFAULT_BAND_REQUESTS,
        max_bytes=band.quantity("maxBytes") or DEFAULT_BAND_BYTES,
    )
