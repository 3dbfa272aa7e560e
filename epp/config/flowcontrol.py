"""The `flowControl` section: caps, waiting budgets, bands, and the policies that they name.

Defaults are upstream's, with two differences: fairness goes by tokens, and without `maxBytes` the queue as a whole is
bounded by a share of the memory there is (`build`); `maxBytes: 0` means no bound, as upstream.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.config.bands import BandReader, read_budget_s
from epp.config.model import FlowControlConfig
from epp.config.plugins import CapacityPlugin, CeilingPlugin
from epp.config.policies import DEFAULT_DETECTOR
from epp.config.refinements import read_estimates, read_eviction, read_learned_limit, read_weights
from epp.config.roster import Wanted
from epp.config.runtime import ExplainHeaders
from epp.config.weights import UNWEIGHTED
from epp.core.ceilings import StaticCeiling
from epp.core.fairness import TokenFairness
from epp.core.policy import EarlyRefusal

if TYPE_CHECKING:
    from epp.config.fields import Fields
    from epp.config.roster import Roster

DEFAULT_TTL_S = 60.0
DEFAULT_MAX_FLOWS = 4096
DEFAULT_MAX_SUBSETS = 128
_MOST_FLOWS = 1_000_000
_MOST_SUBSETS = 10_000

_DETECTOR = Wanted(
    "saturation detector references undefined plugin '{name}'",
    "plugin '{name}' is not a fwkfc.SaturationDetector (type: {type})",
    "use utilization-detector or concurrency-detector",
)
_CEILING = Wanted(
    "usage limit policy plugin '{name}' not found",
    "plugin '{name}' does not implement UsageLimitPolicy (type: {type})",
    "use static-usage-limit-policy, priority-holdback-policy or soft-reflective-ceiling-policy",
)


def read_flow_control(document: Fields, roster: Roster) -> FlowControlConfig:
    """The section, and the deprecated `saturationDetector` beside it."""
    fields = document.section("flowControl")
    detector = _detector(document, fields, roster)
    ceiling = roster.resolve(
        fields, "usageLimitPolicyPluginRef", CeilingPlugin, _CEILING, default="static-usage-limit-policy"
    )
    ttl_s = _ttl_s(fields, "defaultRequestTTL", DEFAULT_TTL_S)
    negative = fields.section("defaultNegativePriorityBand")
    reader = BandReader(fields, roster)
    config = FlowControlConfig(
        capacity=detector.policy,
        limits=detector.limits,
        staleness_s=detector.staleness_s,
        ceiling=ceiling.policy if ceiling else StaticCeiling(),
        default_band=reader.template(fields.section("defaultPriorityBand")),
        default_negative_band=reader.template(negative) if negative.given else None,
        bands=MappingProxyType(reader.bands()),
        max_requests=fields.quantity("maxRequests") or None,
        max_bytes=fields.quantity("maxBytes"),
        max_flows=fields.whole("maxFlows", DEFAULT_MAX_FLOWS, least=1, most=_MOST_FLOWS),
        max_subsets=fields.whole("maxSubsets", DEFAULT_MAX_SUBSETS, least=1, most=_MOST_SUBSETS),
        ttl_s=ttl_s,
        hold_s=_ttl_s(fields, "noEndpointRequestTTL", ttl_s),
        max_request_ttl_s=read_budget_s(fields, "maxRequestTTL"),
        early_refusal=fields.choice("earlyRefusal", EarlyRefusal.OFF),
        explain=fields.choice("explainHeaders", ExplainHeaders.OFF),
        eviction=read_eviction(fields),
        learning=read_learned_limit(fields),
        estimates=read_estimates(fields),
        weights=read_weights(fields),
    )
    fields.close()
    _note_idle_weights(fields, config)
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
    return plugin or DEFAULT_DETECTOR


def _ttl_s(fields: Fields, key: str, default: float) -> float:
    ttl_s = fields.duration_s(key)
    if ttl_s is None:
        return default
    if ttl_s < 0:
        name = key[0].upper() + key[1:]
        fields.fail(key, f'{name} cannot be negative, but got {fields.text(key)}: write "0s" for no limit')
        return default
    return ttl_s


def _note_idle_weights(fields: Fields, config: FlowControlConfig) -> None:
    """Weights are nothing without a policy that asks for them."""
    bands = [config.default_band, *config.bands.values()]
    if config.default_negative_band is not None:
        bands.append(config.default_negative_band)
    if config.weights != UNWEIGHTED and not any(isinstance(band.fairness, TokenFairness) for band in bands):
        fields.findings.note(
            "flowControl.weights has no effect: no band has the fairness policy token-fairness-policy"
        )
