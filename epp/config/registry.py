"""The plugin types that this picker has: each reads its own parameters, strictly, and says what it makes of them.

Names, parameters and defaults are upstream's. The types of upstream that are not here are in `catalogue`; parameters
that take more than a line are read in `policies`, `metrics` and `selectors`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.config.metrics import read_core_metrics_extractor, read_metrics_data_source
from epp.config.plugins import (
    FairnessPlugin,
    LabelFilterPlugin,
    OrderingPlugin,
    ParserPlugin,
    PickerPlugin,
    ProfileHandlerPlugin,
    ScorerPlugin,
)
from epp.config.policies import (
    read_concurrency_detector,
    read_priority_holdback,
    read_program_aware_fairness,
    read_soft_reflective_ceiling,
    read_static_usage_limit,
    read_token_fairness,
    read_utilization_detector,
)
from epp.config.selectors import read_label_selector, read_valid_values
from epp.core.fairness import GlobalStrictFairness, RoundRobinFairness
from epp.core.ordering import EdfOrdering, FcfsOrdering, SloDeadlineOrdering
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


def _without_parameters(plugin: Plugin) -> Reader:
    def read(fields: Fields) -> Plugin:
        del fields
        return plugin

    return read


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
        "token-fairness-policy": read_token_fairness,
        "round-robin-fairness-policy": _without_parameters(FairnessPlugin(RoundRobinFairness())),
        "global-strict-fairness-policy": _without_parameters(FairnessPlugin(GlobalStrictFairness())),
        "program-aware-fairness": read_program_aware_fairness,
        "fcfs-ordering-policy": _without_parameters(OrderingPlugin(FcfsOrdering())),
        "edf-ordering-policy": _without_parameters(OrderingPlugin(EdfOrdering())),
        "slo-deadline-ordering-policy": _without_parameters(OrderingPlugin(SloDeadlineOrdering())),
        "utilization-detector": read_utilization_detector,
        "concurrency-detector": read_concurrency_detector,
        "static-usage-limit-policy": read_static_usage_limit,
        "priority-holdback-policy": read_priority_holdback,
        "soft-reflective-ceiling-policy": read_soft_reflective_ceiling,
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
    "token-fairness-policy",
    "utilization-detector",
    "openai-parser",
    "passthrough-parser",
)
"""Types that may be referred to by name without being listed; they have their defaults then."""
