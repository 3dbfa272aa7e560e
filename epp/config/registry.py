"""The plugin types that this picker has: each reads its own parameters, strictly, and says what it makes of them.

Names, parameters and defaults are upstream's. The types of upstream that are not here are in `catalogue`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.config.metrics import read_core_metrics_extractor, read_metrics_data_source
from epp.config.plugins import (
    CapacityPlugin,
    CeilingPlugin,
    FairnessPlugin,
    LabelFilterPlugin,
    OrderingPlugin,
    ParserPlugin,
    PickerPlugin,
    ProfileHandlerPlugin,
    ScorerPlugin,
)
from epp.config.selectors import read_label_selector, read_valid_values
from epp.core.capacity import ConcurrencyDetector, ConcurrencyMode, UtilizationDetector
from epp.core.ceilings import StaticCeiling
from epp.core.fairness import GlobalStrictFairness, RoundRobinFairness
from epp.core.ordering import FcfsOrdering
from epp.picking.labels import DECODE_ROLES, ENCODE_ROLES, PREFILL_ROLES
from epp.picking.pickers import MaxScorePicker, RandomPicker, WeightedRandomPicker
from epp.picking.scorers import KvCacheUtilizationScorer, QueueScorer, RunningRequestsScorer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from epp.config.fields import Fields
    from epp.config.plugins import Plugin
    from epp.picking.pickers import Picker

    Reader = Callable[[Fields], Plugin]
    """Reads a plugin's parameters; whatever it doesn't ask for is an unknown field."""

DEFAULT_STALENESS_S = 0.2


def _without_parameters(plugin: Plugin) -> Reader:
    def read(fields: Fields) -> Plugin:
        del fields
        return plugin

    return read


def _utilization_detector(fields: Fields) -> CapacityPlugin:
    staleness_s = fields.duration_s("metricsStalenessThreshold")
    if staleness_s is not None and staleness_s <= 0:
        fields.fail("metricsStalenessThreshold", f"must be above 0, got {staleness_s:g}s")
    _note_headroom(fields)
    return CapacityPlugin(
        UtilizationDetector(
            queue_depth_threshold=fields.whole("queueDepthThreshold", 5, above=0),
            kv_cache_util_threshold=fields.number("kvCacheUtilThreshold", 0.8, above=0, most=1),
        ),
        staleness_s=DEFAULT_STALENESS_S if staleness_s is None else staleness_s,
    )


def _concurrency_detector(fields: Fields) -> CapacityPlugin:
    _note_headroom(fields)
    fields.text("inFlightLoadProducerName")  # requests in flight are counted by the core itself
    return CapacityPlugin(
        ConcurrencyDetector(
            mode=fields.choice("concurrencyMode", ConcurrencyMode.REQUESTS),
            max_concurrency=fields.whole("maxConcurrency", 100, above=0),
            max_token_concurrency=fields.whole("maxTokenConcurrency", 1_000_000, above=0),
        ),
        staleness_s=DEFAULT_STALENESS_S,
    )


def _note_headroom(fields: Fields) -> None:
    if fields.number("headroom", 0.0, least=0) > 0:
        fields.findings.note(
            f"{fields.path}.headroom has no effect: endpoints without room are never candidates, "
            "so there is no overshoot to allow for"
        )


def _static_usage_limit(fields: Fields) -> CeilingPlugin:
    return CeilingPlugin(StaticCeiling(fields.number("threshold", 1.0, above=0, most=1)))


def _picker(picker: Picker) -> Reader:
    def read(fields: Fields) -> Plugin:
        if fields.whole("maxNumOfEndpoints", 1) > 1:
            fields.findings.note(
                f"{fields.path}.maxNumOfEndpoints has no effect: one endpoint is named for each request, "
                "because several gateways don't take lists"
            )
        return PickerPlugin(picker)

    return read


def _label_selector_filter(fields: Fields) -> LabelFilterPlugin:
    return LabelFilterPlugin(read_label_selector(fields))


def _by_label_selector(fields: Fields) -> LabelFilterPlugin:
    fields.findings.note("plugin type 'by-label-selector' is deprecated: call it 'label-selector-filter'")
    return LabelFilterPlugin(read_label_selector(fields))


def _by_label(fields: Fields) -> LabelFilterPlugin:
    fields.findings.note("plugin type 'by-label' is deprecated: use 'label-selector-filter'")
    return LabelFilterPlugin(read_valid_values(fields))


REGISTRY: Mapping[str, Reader] = MappingProxyType(
    {
        "round-robin-fairness-policy": _without_parameters(FairnessPlugin(RoundRobinFairness())),
        "global-strict-fairness-policy": _without_parameters(FairnessPlugin(GlobalStrictFairness())),
        "fcfs-ordering-policy": _without_parameters(OrderingPlugin(FcfsOrdering())),
        "utilization-detector": _utilization_detector,
        "concurrency-detector": _concurrency_detector,
        "static-usage-limit-policy": _static_usage_limit,
        "queue-scorer": _without_parameters(ScorerPlugin(QueueScorer)),
        "kv-cache-utilization-scorer": _without_parameters(ScorerPlugin(KvCacheUtilizationScorer)),
        "running-requests-size-scorer": _without_parameters(ScorerPlugin(RunningRequestsScorer)),
        "max-score-picker": _picker(MaxScorePicker()),
        "random-picker": _picker(RandomPicker()),
        "weighted-random-picker": _picker(WeightedRandomPicker()),
        "label-selector-filter": _label_selector_filter,
        "by-label-selector": _by_label_selector,
        "by-label": _by_label,
        "decode-filter": _without_parameters(LabelFilterPlugin(DECODE_ROLES)),
        "prefill-filter": _without_parameters(LabelFilterPlugin(PREFILL_ROLES)),
        "encode-filter": _without_parameters(LabelFilterPlugin(ENCODE_ROLES)),
        "single-profile-handler": _without_parameters(ProfileHandlerPlugin()),
        "openai-parser": _without_parameters(ParserPlugin("openai-parser")),
        "passthrough-parser": _without_parameters(ParserPlugin("passthrough-parser")),
        "metrics-data-source": read_metrics_data_source,
        "core-metrics-extractor": read_core_metrics_extractor,
    }
)

ALWAYS_THERE = (
    "fcfs-ordering-policy",
    "global-strict-fairness-policy",
    "round-robin-fairness-policy",
    "static-usage-limit-policy",
    "utilization-detector",
    "openai-parser",
    "passthrough-parser",
)
"""Types that may be referred to by name without being listed; they have their defaults then."""
