"""The `flowControl` section: budgets, caps, bands and the policies that they name."""

from __future__ import annotations

import pytest

from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from epp.core.ceilings import StaticCeiling
from epp.core.fairness import GlobalStrictFairness, TokenFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy

DEFAULT_BAND = BandPolicy(
    fairness=TokenFairness(), ordering=FcfsOrdering(), max_requests=5000, max_bytes=1_000_000_000
)

ORDERINGS = "use fcfs-ordering-policy, edf-ordering-policy or slo-deadline-ordering-policy"
FAIRNESSES = (
    "use token-fairness-policy, round-robin-fairness-policy, global-strict-fairness-policy "
    "or program-aware-fairness"
)


def test_defaults(parsed):
    """A configuration without the section waits 60 s, in bands of 5,000 requests and 1 GB, by tokens."""
    flow_control = parsed("plugins: []").flow_control
    assert flow_control.capacity == UtilizationDetector()
    assert flow_control.ceiling == StaticCeiling(1.0)
    assert (flow_control.ttl_s, flow_control.hold_s) == (60.0, 60.0)
    assert (flow_control.max_requests, flow_control.max_bytes) == (None, None)
    assert (flow_control.default_band, flow_control.default_negative_band) == (DEFAULT_BAND, None)
    assert dict(flow_control.bands) == {}


@pytest.mark.parametrize(
    ("section", "ttl_s", "hold_s"),
    [
        ("{}", 60.0, 60.0),
        ("{defaultRequestTTL: 5s}", 5.0, 5.0),
        ("{noEndpointRequestTTL: 5m}", 60.0, 300.0),
        ("{defaultRequestTTL: 1m30s, noEndpointRequestTTL: 250ms}", 90.0, 0.25),
        ("{defaultRequestTTL: 0s}", 0.0, 0.0),
        ("{defaultRequestTTL: '0', noEndpointRequestTTL: 1h}", 0.0, 3600.0),
        ("{noEndpointRequestTTL: 0s}", 60.0, 0.0),
    ],
)
def test_waiting_budgets(parsed, section, ttl_s, hold_s):
    """Without endpoints a request waits as long as with them, unless it is said; "0s" takes the limit away."""
    flow_control = parsed(f"flowControl: {section}").flow_control
    assert (flow_control.ttl_s, flow_control.hold_s) == (ttl_s, hold_s)


def test_caps_and_bands(parsed):
    """Quantities of every kind, templates for other priorities, and bands of their own."""
    flow_control = parsed(
        """
        flowControl:
          maxBytes: 1.5Gi
          maxRequests: 10k
          defaultPriorityBand: {maxRequests: 100, fairnessPolicyRef: global-strict-fairness-policy}
          defaultNegativePriorityBand: {maxRequests: 10, maxBytes: 1M}
          priorityBands:
          - priority: 100
            maxBytes: "0"
            maxRequests: 0
          - priority: -5
            maxBytes: 2e6
            orderingPolicyRef: fcfs-ordering-policy
            fairnessPolicyRef: global-strict-fairness-policy
        """
    ).flow_control
    assert (flow_control.max_bytes, flow_control.max_requests) == (1610612736, 10_000)
    assert flow_control.default_band == BandPolicy(
        fairness=GlobalStrictFairness(), ordering=FcfsOrdering(), max_requests=100, max_bytes=10**9
    )
    assert flow_control.default_negative_band == BandPolicy(
        fairness=TokenFairness(), ordering=FcfsOrdering(), max_requests=10, max_bytes=10**6
    )
    assert dict(flow_control.bands) == {
        100: DEFAULT_BAND,  # 0 means unset
        -5: BandPolicy(
            fairness=GlobalStrictFairness(), ordering=FcfsOrdering(), max_requests=5000, max_bytes=2_000_000
        ),
    }


def test_global_zero_means_no_limit(parsed):
    """As upstream; only `maxBytes` that is left out falls to a share of the memory."""
    flow_control = parsed("flowControl: {maxBytes: 0, maxRequests: 0}").flow_control
    assert (flow_control.max_bytes, flow_control.max_requests) == (0, None)


def test_policies_may_have_names(parsed):
    """References go by the plugin's name, which need not be its type."""
    flow_control = parsed(
        """
        plugins:
        - {name: one-queue, type: global-strict-fairness-policy}
        - {name: slots, type: concurrency-detector, parameters: {maxConcurrency: 8}}
        - {name: most, type: static-usage-limit-policy, parameters: {threshold: 0.9}}
        flowControl:
          saturationDetector: {pluginRef: slots}
          usageLimitPolicyPluginRef: most
          defaultPriorityBand: {fairnessPolicyRef: one-queue}
        """
    ).flow_control
    assert flow_control.default_band.fairness == GlobalStrictFairness()
    assert flow_control.capacity == ConcurrencyDetector(max_concurrency=8)
    assert flow_control.ceiling == StaticCeiling(0.9)


def test_the_older_detector_field(parsed):
    """Top-level `saturationDetector` works, is noted, and gives way to the newer field."""
    plugins = "plugins: [{type: concurrency-detector}]\n"
    older = parsed(plugins + "saturationDetector: {pluginRef: concurrency-detector}\n")
    assert older.flow_control.capacity == ConcurrencyDetector()
    assert any("top-level saturationDetector is deprecated" in note for note in older.notes)
    both = parsed(
        plugins
        + "saturationDetector: {pluginRef: concurrency-detector}\n"
        + "flowControl: {saturationDetector: {pluginRef: utilization-detector}}\n"
    )
    assert both.flow_control.capacity == UtilizationDetector()


def test_fields_without_effect_are_noted(parsed):
    """What is accepted and does nothing gets a line each."""
    notes = parsed(
        """
        featureGates: [flowControl]
        flowControl:
          defaultPriorityBand: {priority: 3, fairnessPolicyRef: round-robin-fairness-policy}
          eviction: {begun: evicted}
          weights: [{fairnessID: "team-*", weight: 2}]
        """
    ).notes
    assert notes == (
        "flowControl.defaultPriorityBand.priority has no effect: the band is a template for other priorities",
        "flowControl.eviction has no effect without flowControl.enableEviction: true",
        ('flowControl.weights[0].fairnessID "team-*" is compared as it stands: write pattern for a pattern'),
        "flowControl.weights has no effect: no band has the fairness policy token-fairness-policy",
    )


@pytest.mark.parametrize(
    ("section", "field", "message"),
    [
        (
            "{defaultRequestTTL: -5s}",
            "defaultRequestTTL",
            'DefaultRequestTTL cannot be negative, but got -5s: write "0s" for no limit',
        ),
        (
            "{noEndpointRequestTTL: -1ns}",
            "noEndpointRequestTTL",
            'NoEndpointRequestTTL cannot be negative, but got -1ns: write "0s" for no limit',
        ),
        (
            "{defaultRequestTTL: 60}",
            "defaultRequestTTL",
            "invalid duration '60': the unit of '60' is missing, one of ns us ms s m h",
        ),
        (
            "{defaultRequestTTL: [1s]}",
            "defaultRequestTTL",
            'must be a duration such as "30s" or "1m30s", got a list',
        ),
        (
            "{maxBytes: -1}",
            "maxBytes",
            "maxBytes must be non-negative, got -1: leave it out for the default",
        ),
        ("{maxRequests: {}}", "maxRequests", 'must be a quantity such as "1Gi" or "500", got a mapping'),
        (
            "{maxRequests: many}",
            "maxRequests",
            (
                '"many" is not a quantity: write a number with k, M, G, T, P, E (powers of 1000) '
                "or Ki, Mi, Gi, Ti, Pi, Ei (powers of 1024)"
            ),
        ),
        ("{enableEviction: yes}", "enableEviction", 'must be true or false, got "yes"'),
        (
            "{maxRequest: 5}",
            "maxRequest",
            "unknown field \"maxRequest\"; did you mean 'maxRequests'?",
        ),
        (
            "{saturationDetector: {pluginRef: satturation}}",
            "saturationDetector.pluginRef",
            (
                "saturation detector references undefined plugin 'satturation': "
                "use utilization-detector or concurrency-detector"
            ),
        ),
        (
            "{saturationDetector: {pluginRef: concurrency-detector}}",
            "saturationDetector.pluginRef",
            (
                "saturation detector references undefined plugin 'concurrency-detector': "
                "add '- type: concurrency-detector' to plugins"
            ),
        ),
        (
            "{saturationDetector: {pluginRef: queue-scorer}}",
            "saturationDetector.pluginRef",
            (
                "plugin 'queue-scorer' is not a fwkfc.SaturationDetector (type: queue-scorer): "
                "use utilization-detector or concurrency-detector"
            ),
        ),
        (
            "{usageLimitPolicyPluginRef: static-usage-limt-policy}",
            "usageLimitPolicyPluginRef",
            (
                "usage limit policy plugin 'static-usage-limt-policy' not found; "
                "did you mean 'static-usage-limit-policy'?"
            ),
        ),
        (
            "{usageLimitPolicyPluginRef: queue-scorer}",
            "usageLimitPolicyPluginRef",
            (
                "plugin 'queue-scorer' does not implement UsageLimitPolicy (type: queue-scorer): "
                "use static-usage-limit-policy, priority-holdback-policy or soft-reflective-ceiling-policy"
            ),
        ),
        (
            "{defaultPriorityBand: {orderingPolicyRef: lifo}}",
            "defaultPriorityBand.orderingPolicyRef",
            f'no ordering policy registered for name "lifo": {ORDERINGS}',
        ),
        (
            "{defaultPriorityBand: {orderingPolicyRef: queue-scorer}}",
            "defaultPriorityBand.orderingPolicyRef",
            f'plugin "queue-scorer" is not a flowcontrol.OrderingPolicy (type: queue-scorer): {ORDERINGS}',
        ),
        (
            "{defaultNegativePriorityBand: {fairnessPolicyRef: none}}",
            "defaultNegativePriorityBand.fairnessPolicyRef",
            f'no fairness policy registered for name "none": {FAIRNESSES}',
        ),
        (
            "{defaultNegativePriorityBand: {fairnessPolicyRef: prefix-cache-scorer}}",
            "defaultNegativePriorityBand.fairnessPolicyRef",
            (
                'plugin "prefix-cache-scorer" is not a flowcontrol.FairnessPolicy (type: prefix-cache-scorer): '
                f"{FAIRNESSES}"
            ),
        ),
        (
            "{priorityBands: [{maxRequests: 1}]}",
            "priorityBands[0].priority",
            "is required: the priority of the objectives that the band is for",
        ),
        (
            "{priorityBands: [{priority: 2147483648}]}",
            "priorityBands[0].priority",
            "must be at least -2147483648 and at most 2147483647, got 2147483648",
        ),
        (
            "{priorityBands: [{priority: 1}, {priority: 2}, {priority: 1}]}",
            "priorityBands[2].priority",
            "duplicate priority level 1, first on line 4: keep one",
        ),
        (
            "{priorityBands: [{priority: high}]}",
            "priorityBands[0].priority",
            'must be a whole number, got "high"',
        ),
    ],
)
def test_wrong_fields(problems, section, field, message):
    """Each fault in upstream's words, with its path, the value and the remedy."""
    (problem,) = problems(
        f"plugins: [{{type: queue-scorer}}, {{type: prefix-cache-scorer}}]\nflowControl: {section}\n"
    )
    assert problem == (4, f"flowControl.{field}", message)


def test_the_older_detector_field_is_checked_too(problems):
    """A wrong reference in a deprecated field is as wrong as in the newer one."""
    found = problems("saturationDetector: {pluginRef: nothing, weight: 1}\n")
    assert {problem.field for problem in found} == {
        "saturationDetector.pluginRef",
        "saturationDetector.weight",
    }
