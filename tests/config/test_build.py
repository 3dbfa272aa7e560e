"""From a configuration to what runs."""

from __future__ import annotations

import pytest

from epp.config import ExplainHeaders, Runtime, build, default_config
from epp.config.weights import UNWEIGHTED
from epp.core.endpoint import NO_SAMPLE, EndpointSpec, EndpointView, Knowledge
from epp.core.eviction import EvictionPolicy
from epp.core.learning import LearnedLimitPolicy
from epp.core.limits import NO_RULES, LabelLimit, LimitRules
from epp.core.policy import EarlyRefusal, EstimatePolicy

GIB = 2**30


def built(config, *, seed=1, refresh_interval_s=0.2, memory_limit_bytes=8 * GIB) -> Runtime:
    """A configuration on a machine of 8 GiB that is scraped five times a second."""
    return build(
        config, seed=seed, refresh_interval_s=refresh_interval_s, memory_limit_bytes=memory_limit_bytes
    )


def views(count: int) -> list[EndpointView]:
    """Endpoints that nothing tells apart."""
    return [
        EndpointView(EndpointSpec(f"10.0.0.{n}:8000"), 0, 0, 0, Knowledge.UNKNOWN, NO_SAMPLE, 0, 0)
        for n in range(count)
    ]


def test_the_defaults_make_the_designs_policy():
    """60 s on both clocks, a quarter of the memory, no global request limit, and bands of 5,000 by tokens."""
    runtime = built(default_config())
    policy = runtime.policy
    assert (policy.ttl_s, policy.hold_s) == (60.0, 60.0)
    assert (policy.max_bytes, policy.max_requests) == (2 * GIB, None)
    assert policy.band(0) == policy.band(-7) == policy.default_band
    assert (policy.band(3).max_requests, policy.band(3).max_bytes) == (5000, 10**9)
    assert policy.band(3).fairness.name == "token-fairness-policy"
    assert policy.band(3).ordering.name == "fcfs-ordering-policy"
    assert policy.capacity.name == "utilization-detector"
    assert policy.ceiling.name == "static-usage-limit-policy"
    assert policy.scrape_interval_s == 0.2
    assert (policy.max_flows, policy.max_lanes) == (4096, 128)
    assert (policy.early_refusal, policy.estimates) == (EarlyRefusal.OFF, EstimatePolicy())
    assert (policy.limits, policy.learning, policy.eviction) == (NO_RULES, None, None)
    assert (runtime.weights, runtime.max_request_ttl_s, runtime.explain) == (
        UNWEIGHTED,
        None,
        ExplainHeaders.OFF,
    )
    assert runtime.parsers == ("openai-parser",)
    assert runtime.notes == default_config().notes
    assert runtime.scrape == default_config().scrape


@pytest.mark.parametrize(
    ("section", "memory", "max_bytes"),
    [
        ("{}", 8 * GIB, 2 * GIB),
        ("{}", None, None),
        ("{maxBytes: 0}", 8 * GIB, None),
        ("{maxBytes: 3Gi}", 8 * GIB, 3 * GIB),
        ("{maxBytes: 3Gi}", None, 3 * GIB),
    ],
)
def test_the_queues_share_of_memory(parsed, section, memory, max_bytes):
    """A quarter of the memory unless the configuration says; 0 says unlimited."""
    assert built(parsed(f"flowControl: {section}"), memory_limit_bytes=memory).policy.max_bytes == max_bytes


@pytest.mark.parametrize(
    ("threshold", "interval_s", "staleness_s"),
    [("200ms", 0.2, 0.6), ("200ms", 0.05, 0.2), ("5s", 0.2, 5.0), ("1s", 1.0, 3.0)],
)
def test_staleness_allows_for_the_scrape_interval(parsed, threshold, interval_s, staleness_s):
    """A sample is stale after the threshold, but never before three scrapes could have come."""
    config = parsed(
        f"plugins: [{{type: utilization-detector, parameters: {{metricsStalenessThreshold: {threshold}}}}}]"
    )
    assert built(config, refresh_interval_s=interval_s).policy.staleness_s == pytest.approx(staleness_s)


def test_bands_reach_the_core(parsed):
    """Configured priorities, negative ones and all others each find their rules."""
    policy = built(
        parsed(
            """
            flowControl:
              defaultPriorityBand: {maxRequests: 1}
              defaultNegativePriorityBand: {maxRequests: 2}
              priorityBands: [{priority: 10, maxRequests: 3}, {priority: -10, maxRequests: 4}]
            """
        )
    ).policy
    assert [policy.band(priority).max_requests for priority in (10, 0, 5, -1, -10)] == [3, 1, 1, 2, 4]


def test_everything_that_is_ours_reaches_the_core_or_the_shell(parsed):
    """Each key ends where it is used: the core's in the policy, the others beside it."""
    runtime = built(
        parsed(
            """
            plugins:
            - type: concurrency-detector
              parameters:
                maxConcurrencyLabel: slots
                maxConcurrencyByLabel: [{label: gpu, value: h100, maxConcurrency: 64}]
            flowControl:
              saturationDetector: {pluginRef: concurrency-detector}
              maxRequestTTL: 5m
              earlyRefusal: when-sure
              explainHeaders: on
              enableEviction: true
              learnedLimit: {}
              weights: [{pattern: team-*, weight: 3}]
              estimates: {bytesPerToken: 3, outputTokens: 100}
              maxFlows: 10
              maxSubsets: 20
            """
        )
    )
    policy = runtime.policy
    assert policy.early_refusal is EarlyRefusal.WHEN_SURE
    assert policy.estimates == EstimatePolicy(bytes_per_token=3.0, output_tokens=100)
    assert policy.limits == LimitRules("slots", (LabelLimit("gpu", "h100", 64),))
    assert (policy.learning, policy.eviction) == (LearnedLimitPolicy(), EvictionPolicy())
    assert (policy.max_flows, policy.max_lanes) == (10, 20)
    assert (runtime.max_request_ttl_s, runtime.explain) == (300.0, ExplainHeaders.ON)
    assert runtime.weights.of("team-a", 1.0) == 3.0


def test_the_seed_decides_the_choices():
    """Two builds with one seed choose alike for ever; another seed chooses otherwise."""
    pool = views(8)
    choices = {seed: [built(default_config(), seed=seed).policy.choice for _ in range(2)] for seed in (1, 2)}
    sequences = {
        seed: [[choice.choose(pool, None).spec.address for _ in range(50)] for choice in pair]
        for seed, pair in choices.items()
    }
    assert sequences[1][0] == sequences[1][1]
    assert sequences[1][0] != sequences[2][0]


def test_label_filters_say_which_endpoints_there_are(parsed):
    """What the profile's filters exclude is not admitted to the pool."""
    runtime = built(parsed("plugins: [{type: decode-filter}]"))
    assert runtime.admits(EndpointSpec("10.0.0.1:1"))
    assert not runtime.admits(EndpointSpec("10.0.0.1:1", labels=(("llm-d.ai/role", "prefill"),)))
    assert built(default_config()).admits(EndpointSpec("10.0.0.1:1", labels=(("llm-d.ai/role", "prefill"),)))
