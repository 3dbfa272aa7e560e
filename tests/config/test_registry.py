"""Plugin parameters: upstream's names, defaults and ranges."""

from __future__ import annotations

from math import inf

import pytest

from epp.core.capacity import ConcurrencyDetector, ConcurrencyMode, StalenessPolicy, UtilizationDetector
from epp.core.ceilings import (
    ExplicitCeilings,
    HoldbackDomain,
    PriorityHoldback,
    SoftReflectiveCeiling,
    StaticCeiling,
)
from epp.core.fairness import ProgramAwareFairness, TokenFairness
from epp.core.limits import NO_RULES, LabelLimit, LimitRules
from epp.core.ordering import EdfOrdering, FcfsOrdering, SloDeadlineOrdering


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


@pytest.mark.parametrize("type_name", ["utilization-detector", "concurrency-detector"])
def test_limits_by_labels_and_staleness(parsed, type_name):
    """Both detectors take them; rules keep their order, and old samples count only if it is said."""
    default = detector(parsed, type_name, "{}")
    assert default.limits == NO_RULES
    assert default.capacity.staleness is StalenessPolicy.OWN_ACCOUNTING
    given = detector(
        parsed,
        type_name,
        "{maxConcurrencyLabel: example.com/slots, stalenessPolicy: last-sample, maxConcurrencyByLabel: ["
        "{label: gpu, value: h100, maxConcurrency: 64}, {label: gpu, value: l4, maxConcurrency: 8}]}",
    )
    assert given.limits == LimitRules(
        "example.com/slots", (LabelLimit("gpu", "h100", 64), LabelLimit("gpu", "l4", 8))
    )
    assert given.capacity.staleness is StalenessPolicy.LAST_SAMPLE


def fairness(parsed, type_name: str, parameters: str):
    """The fairness policy with these parameters."""
    config = parsed(
        f"""
        plugins: [{{type: {type_name}, parameters: {parameters}}}]
        flowControl: {{defaultPriorityBand: {{fairnessPolicyRef: {type_name}}}}}
        """
    )
    return config.flow_control.default_band.fairness


def test_token_fairness_parameters(parsed):
    """A token costs 1 unless it is said; fractions are fine."""
    assert fairness(parsed, "token-fairness-policy", "{}") == TokenFairness(input_cost=1.0, output_cost=1.0)
    assert fairness(
        parsed, "token-fairness-policy", "{inputTokenCost: 0.25, outputTokenCost: 4}"
    ) == TokenFairness(input_cost=0.25, output_cost=4.0)


@pytest.mark.parametrize(
    ("parameters", "half_life_s"),
    [
        ("{}", 60.0),
        ("{strategy: las}", 60.0),
        ("{lasHalfLifeSeconds: 1.5}", 1.5),
        ("{lasHalfLifeSeconds: 0}", inf),
    ],
)
def test_program_aware_fairness_parameters(parsed, parameters, half_life_s):
    """The half-life is upstream's minute; 0 forgets nothing."""
    assert fairness(parsed, "program-aware-fairness", parameters) == ProgramAwareFairness(
        half_life_s=half_life_s
    )


def test_parameters_of_program_aware_fairness_without_effect(parsed):
    """Upstream's weights and sweeps are accepted, and each is said to do nothing here."""
    names = ["lasWeightService", "lasWeightHeadWait", "evictionTtlSeconds", "evictionSweepSeconds"]
    given = ", ".join(f"{name}: 1" for name in names)
    notes = parsed(
        f"""
        featureGates: [flowControl]
        plugins: [{{type: program-aware-fairness, parameters: {{{given}}}}}]
        """
    ).notes
    assert [note.partition(" ")[0] for note in notes] == [f"plugins[0].parameters.{name}" for name in names]
    assert all("has no effect" in note for note in notes)


@pytest.mark.parametrize(
    ("type_name", "ordering"),
    [
        ("fcfs-ordering-policy", FcfsOrdering()),
        ("edf-ordering-policy", EdfOrdering()),
        ("slo-deadline-ordering-policy", SloDeadlineOrdering()),
    ],
)
def test_orders_inside_a_flow(parsed, type_name, ordering):
    """Each of upstream's names gives its policy."""
    config = parsed(
        f"""
        plugins: [{{type: {type_name}}}]
        flowControl: {{priorityBands: [{{priority: 5, orderingPolicyRef: {type_name}}}]}}
        """
    )
    assert config.flow_control.bands[5].ordering == ordering


def ceiling(parsed, type_name: str, parameters: str):
    """The usage-limit policy with these parameters."""
    return parsed(
        f"""
        plugins: [{{type: {type_name}, parameters: {parameters}}}]
        flowControl: {{usageLimitPolicyPluginRef: {type_name}}}
        """
    ).flow_control.ceiling


@pytest.mark.parametrize(
    ("parameters", "policy"),
    [
        ("{minCeiling: 0.5}", PriorityHoldback(domain=HoldbackDomain.RANK, min_ceiling=0.5, max_ceiling=1.0)),
        (
            "{shape: linear, domain: value, minCeiling: 0, maxCeiling: 0.9}",
            PriorityHoldback(domain=HoldbackDomain.VALUE, min_ceiling=0.0, max_ceiling=0.9),
        ),
        (
            "{domain: explicit, ceilings: {0: 0.8, '10': 1, -5: 0.8}}",
            ExplicitCeilings(((10, 1.0), (0, 0.8), (-5, 0.8))),
        ),
    ],
)
def test_priority_holdback_parameters(parsed, parameters, policy):
    """By rank unless it is said; explicit ceilings come highest priority first."""
    assert ceiling(parsed, "priority-holdback-policy", parameters) == policy


def test_soft_reflective_ceiling(parsed):
    """It has no parameters."""
    assert ceiling(parsed, "soft-reflective-ceiling-policy", "{}") == SoftReflectiveCeiling()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("{minCeiling: 0}", "minCeiling is 0: the lowest band is never served while a higher one is in use"),
        (
            "{domain: explicit, ceilings: {0: 1, -1: 0}}",
            "ceilings.-1 is 0: such requests are never dispatched",
        ),
    ],
)
def test_a_ceiling_of_zero_is_noted(parsed, parameters, words):
    """It may be meant, and is worth a line."""
    notes = parsed(f"plugins: [{{type: priority-holdback-policy, parameters: {parameters}}}]").notes
    assert any(note == f"plugins[0].parameters.{words}" for note in notes)


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
        (
            "utilization-detector",
            "{stalenessPolicy: last_sample}",
            "stalenessPolicy",
            "must be one of own-accounting, last-sample, got \"last_sample\"; did you mean 'last-sample'?",
        ),
        (
            "concurrency-detector",
            "{maxConcurrencyLabel: 'a b'}",
            "maxConcurrencyLabel",
            (
                '"a b" is no name of a label: use up to 63 letters, digits, '
                "'-', '_' and '.', beginning and ending with a letter or digit, such as app or example.com/app"
            ),
        ),
        (
            "concurrency-detector",
            "{maxConcurrencyByLabel: [{value: b, maxConcurrency: 1}]}",
            "maxConcurrencyByLabel[0].label",
            "is required: the name of a pod label",
        ),
        (
            "concurrency-detector",
            "{maxConcurrencyByLabel: [{label: a, maxConcurrency: 1}]}",
            "maxConcurrencyByLabel[0].value",
            "is required: the value of the label",
        ),
        (
            "concurrency-detector",
            "{maxConcurrencyByLabel: [{label: a, value: b}]}",
            "maxConcurrencyByLabel[0].maxConcurrency",
            "is required: how many requests such endpoints take at once",
        ),
        (
            "concurrency-detector",
            "{maxConcurrencyByLabel: [{label: a, value: b, maxConcurrency: 0}]}",
            "maxConcurrencyByLabel[0].maxConcurrency",
            "must be above 0, got 0",
        ),
        (
            "concurrency-detector",
            (
                "{maxConcurrencyByLabel: [{label: a, value: b, maxConcurrency: 1}, "
                "{label: a, value: b, maxConcurrency: 2}]}"
            ),
            "maxConcurrencyByLabel[1]",
            "a=b has a limit already, on line 6: keep one of them",
        ),
        (
            "token-fairness-policy",
            "{inputTokenCost: 0}",
            "inputTokenCost",
            "must be above 0 and at most 1000000, got 0",
        ),
        (
            "token-fairness-policy",
            "{outputTokensCost: 1}",
            "outputTokensCost",
            "unknown field \"outputTokensCost\"; did you mean 'outputTokenCost'?",
        ),
        (
            "program-aware-fairness",
            "{strategy: turn-priority}",
            "strategy",
            'must be one of las, got "turn-priority"',
        ),
        (
            "program-aware-fairness",
            "{lasHalfLifeSeconds: -1}",
            "lasHalfLifeSeconds",
            "must be at least 0 and at most 10000000000, got -1",
        ),
        ("edf-ordering-policy", "{a: 1}", "a", 'unknown field "a"; none is known here, remove it'),
        (
            "priority-holdback-policy",
            "{}",
            "minCeiling",
            "is required: the ceiling of the lowest band in use, such as 0.5",
        ),
        (
            "priority-holdback-policy",
            "{minCeiling: 1}",
            "minCeiling",
            "must be below maxCeiling, which is 1, got 1",
        ),
        (
            "priority-holdback-policy",
            "{minCeiling: 0.5, maxCeiling: 0.5}",
            "minCeiling",
            "must be below maxCeiling, which is 0.5, got 0.5",
        ),
        (
            "priority-holdback-policy",
            "{minCeiling: 0.1, maxCeiling: 1.1}",
            "maxCeiling",
            "must be above 0 and at most 1, got 1.1",
        ),
        (
            "priority-holdback-policy",
            "{shape: cubic, minCeiling: 0.1}",
            "shape",
            'must be one of linear, got "cubic"',
        ),
        (
            "priority-holdback-policy",
            "{minCeiling: 0.1, domain: values}",
            "domain",
            "must be one of rank, value, explicit, got \"values\"; did you mean 'value'?",
        ),
        (
            "priority-holdback-policy",
            "{minCeiling: 0.1, ceilings: {1: 1}}",
            "ceilings",
            "is for domain: explicit: write that, or remove the ceilings",
        ),
        (
            "priority-holdback-policy",
            "{domain: explicit}",
            "ceilings",
            "is required for domain: explicit: priorities and their ceilings, such as {10: 1, 0: 0.8}",
        ),
        (
            "priority-holdback-policy",
            "{domain: explicit, minCeiling: 0.1, ceilings: {1: 1}}",
            "minCeiling",
            "is for the domains rank and value: remove it, ceilings say everything",
        ),
        (
            "priority-holdback-policy",
            "{domain: explicit, ceilings: {high: 1}}",
            "ceilings.high",
            'must be a priority, a whole number of 32 bits, got "high"',
        ),
        (
            "priority-holdback-policy",
            "{domain: explicit, ceilings: {2147483648: 1}}",
            "ceilings.2147483648",
            'must be a priority, a whole number of 32 bits, got "2147483648"',
        ),
        (
            "priority-holdback-policy",
            "{domain: explicit, ceilings: {1: 1, '+1': 1}}",
            'ceilings."+1"',
            "names priority 1 a second time: keep one",
        ),
        (
            "priority-holdback-policy",
            "{domain: explicit, ceilings: {1: 1.5}}",
            "ceilings.1",
            "must be at least 0 and at most 1, got 1.5",
        ),
        (
            "priority-holdback-policy",
            "{domain: explicit, ceilings: {-1: 0.6, 10: 0.9, 0: 0.5}}",
            "ceilings.-1",
            "must not be above that of priority 0, which is 0.5, got 0.6",
        ),
        (
            "soft-reflective-ceiling-policy",
            "{threshold: 1}",
            "threshold",
            'unknown field "threshold"; none is known here, remove it',
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
