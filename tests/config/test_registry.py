"""Plugin parameters: upstream's names, defaults and ranges."""

from __future__ import annotations

import pytest

from epp.core.capacity import ConcurrencyDetector, ConcurrencyMode, UtilizationDetector
from epp.core.ceilings import StaticCeiling


def detector(parsed, type_name: str, parameters: str):
    """The flow control of a configuration with this detector."""
    return parsed(
        f"""
        plugins:
        - type: {type_name}
          parameters: {parameters}
        flowControl:
          saturationDetector: {{pluginRef: {type_name}}}
        """
    ).flow_control


def test_utilization_detector_parameters(parsed):
    """Given values arrive; the rest are upstream's 5, 0.8 and 200 ms."""
    default = detector(parsed, "utilization-detector", "{}")
    assert default.capacity == UtilizationDetector(queue_depth_threshold=5, kv_cache_util_threshold=0.8)
    assert default.staleness_s == 0.2
    given = detector(
        parsed,
        "utilization-detector",
        "{queueDepthThreshold: 9, kvCacheUtilThreshold: 1, metricsStalenessThreshold: 1m30s}",
    )
    assert given.capacity == UtilizationDetector(queue_depth_threshold=9, kv_cache_util_threshold=1.0)
    assert given.staleness_s == 90.0


def test_concurrency_detector_parameters(parsed):
    """Given values arrive; the rest are upstream's requests, 100 and 1,000,000."""
    assert detector(parsed, "concurrency-detector", "{}").capacity == ConcurrencyDetector(
        mode=ConcurrencyMode.REQUESTS, max_concurrency=100, max_token_concurrency=1_000_000
    )
    given = detector(
        parsed,
        "concurrency-detector",
        "{concurrencyMode: tokens, maxConcurrency: 3, maxTokenConcurrency: 4, inFlightLoadProducerName: x}",
    )
    assert given.capacity == ConcurrencyDetector(
        mode=ConcurrencyMode.TOKENS, max_concurrency=3, max_token_concurrency=4
    )


def test_static_ceiling_parameters(parsed):
    """The threshold is 1.0 unless given; a listed plugin of the default's name is the one in force, as upstream."""
    assert parsed("plugins: []").flow_control.ceiling == StaticCeiling(1.0)
    listed = parsed("plugins: [{type: static-usage-limit-policy, parameters: {threshold: 0.5}}]")
    assert listed.flow_control.ceiling == StaticCeiling(0.5)


@pytest.mark.parametrize(
    ("type_name", "parameters", "field", "message"),
    [
        ("utilization-detector", "{queueDepthThreshold: 0}", "queueDepthThreshold", "must be above 0, got 0"),
        (
            "utilization-detector",
            "{queueDepthThreshold: 5.5}",
            "queueDepthThreshold",
            "must be a whole number, got 5.5",
        ),
        (
            "utilization-detector",
            "{queueDepthThreshold: '5'}",
            "queueDepthThreshold",
            'must be a whole number without quotes, got "5"',
        ),
        (
            "utilization-detector",
            "{queueDepthThreshold: 9999999999999999999999}",
            "queueDepthThreshold",
            "must be a whole number, got 9999999999999999999999",
        ),
        (
            "utilization-detector",
            "{kvCacheUtilThreshold: 1.01}",
            "kvCacheUtilThreshold",
            "must be above 0 and at most 1, got 1.01",
        ),
        (
            "utilization-detector",
            "{kvCacheUtilThreshold: 80%}",
            "kvCacheUtilThreshold",
            'must be a number, got "80%"',
        ),
        (
            "utilization-detector",
            "{kvCacheUtilThreshold: .nan}",
            "kvCacheUtilThreshold",
            'must be a number, got ".nan"',
        ),
        (
            "utilization-detector",
            "{metricsStalenessThreshold: 0s}",
            "metricsStalenessThreshold",
            "must be above 0, got 0s",
        ),
        (
            "utilization-detector",
            "{metricsStalenessThreshold: 200}",
            "metricsStalenessThreshold",
            "invalid duration '200': the unit of '200' is missing, one of ns us ms s m h",
        ),
        ("utilization-detector", "{headroom: -0.1}", "headroom", "must be at least 0, got -0.1"),
        (
            "utilization-detector",
            "{queueDepth: 5}",
            "queueDepth",
            "unknown field \"queueDepth\"; did you mean 'queueDepthThreshold'?",
        ),
        (
            "concurrency-detector",
            "{concurrencyMode: request}",
            "concurrencyMode",
            "must be one of requests, tokens, hybrid, got \"request\"; did you mean 'requests'?",
        ),
        ("concurrency-detector", "{maxConcurrency: 0}", "maxConcurrency", "must be above 0, got 0"),
        (
            "concurrency-detector",
            "{maxTokenConcurrency: -1}",
            "maxTokenConcurrency",
            "must be above 0, got -1",
        ),
        ("static-usage-limit-policy", "{threshold: 0}", "threshold", "must be above 0 and at most 1, got 0"),
        (
            "static-usage-limit-policy",
            "{threshold: 1.5}",
            "threshold",
            "must be above 0 and at most 1, got 1.5",
        ),
        ("queue-scorer", "{weight: 2}", "weight", 'unknown field "weight"; none is known here, remove it'),
        (
            "max-score-picker",
            "{maxNumOfEndpoints: all}",
            "maxNumOfEndpoints",
            'must be a whole number, got "all"',
        ),
        ("round-robin-fairness-policy", "[]", "", "must be a mapping, got a list"),
        (
            "by-label",
            "{validValues: [a]}",
            "label",
            "'label' must be specified: the name of the label to look at",
        ),
        (
            "by-label",
            "{label: a}",
            "",
            "either 'validValues' must be non-empty or 'allowsNoLabel' must be true",
        ),
        (
            "label-selector-filter",
            "{matchExpressions: [{key: a, operator: Like, values: [b]}]}",
            "matchExpressions[0].operator",
            "must be one of In, NotIn, Exists, DoesNotExist, got 'Like'",
        ),
        (
            "label-selector-filter",
            "{matchExpressions: [{key: a, operator: In}]}",
            "matchExpressions[0].values",
            "must have at least one value for the operator In",
        ),
        (
            "label-selector-filter",
            "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "matchExpressions[0].values",
            "must be left out for the operator Exists",
        ),
        (
            "label-selector-filter",
            "{matchExpressions: [{operator: Exists}]}",
            "matchExpressions[0].key",
            "is required: the name of the label",
        ),
        ("label-selector-filter", "{matchLabels: {a: [b]}}", "matchLabels.a", "must be text, got a list"),
        (
            "label-selector-filter",
            "{matchLabel: {a: b}}",
            "matchLabel",
            "unknown field \"matchLabel\"; did you mean 'matchLabels'?",
        ),
    ],
)
def test_wrong_parameters(problems, type_name, parameters, field, message):
    """Every wrong parameter: its line, its path, upstream's words in front, the value and the remedy."""
    (problem,) = problems(f"plugins:\n- name: mine\n  type: {type_name}\n  parameters: {parameters}\n")
    assert problem.line == 6
    assert problem.field == "plugins[0].parameters" + (f".{field}" if field else "")
    assert problem.message == f"failed to create plugin 'mine' (type: {type_name}): {message}"


@pytest.mark.parametrize(
    ("type_name", "parameters", "note"),
    [
        ("utilization-detector", "{headroom: 0.2}", "plugins[0].parameters.headroom has no effect"),
        ("concurrency-detector", "{headroom: 0.2}", "plugins[0].parameters.headroom has no effect"),
        (
            "max-score-picker",
            "{maxNumOfEndpoints: 2}",
            "plugins[0].parameters.maxNumOfEndpoints has no effect",
        ),
        ("by-label-selector", "{matchLabels: {a: b}}", "plugin type 'by-label-selector' is deprecated"),
        ("by-label", "{label: a, allowsNoLabel: true}", "plugin type 'by-label' is deprecated"),
        (
            "metrics-data-source",
            "{caCertPath: /ca.pem}",
            "plugins[0].parameters.caCertPath has no effect yet",
        ),
        ("metrics-data-source", "{interval: 1s}", "plugins[0].parameters.interval has no effect yet"),
    ],
)
def test_parameters_without_effect_are_noted(parsed, type_name, parameters, note):
    """What can't have upstream's effect is accepted with one line that says so."""
    config = parsed(
        f"featureGates: [flowControl]\nplugins:\n- type: {type_name}\n  parameters: {parameters}\n"
    )
    assert [found for found in config.notes if found.startswith(note)]


def test_label_filters_admit_what_they_say(parsed):
    """Selectors and older filters of a profile together decide which endpoints there are."""
    rule = parsed(
        """
        plugins:
        - type: label-selector-filter
          parameters:
            matchLabels: {zone: a}
            matchExpressions:
            - {key: gpu, operator: NotIn, values: [t4, p4]}
        - type: by-label
          parameters: {label: tier, validValues: [gold], allowsNoLabel: true}
        schedulingProfiles:
        - name: default
          plugins: [{pluginRef: label-selector-filter}, {pluginRef: by-label}]
        """
    ).profile.rule
    assert len(rule.requirements) == 3
