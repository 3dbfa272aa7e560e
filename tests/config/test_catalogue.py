"""What becomes of every plugin type of upstream."""

from __future__ import annotations

import pytest

from epp.config.catalogue import IGNORED, MISSING
from epp.config.registry import ALWAYS_THERE, REGISTRY

UPSTREAM_MAY = """
    queue-scorer kv-cache-utilization-scorer running-requests-size-scorer lora-affinity-scorer prefix-cache-scorer
    precise-prefix-cache-scorer load-aware-scorer active-request-scorer token-load-scorer session-affinity-scorer
    no-hit-lru-scorer context-length-aware latency-scorer label-selector-filter by-label-selector by-label decode-filter
    prefill-filter encode-filter prefix-cache-affinity-filter slo-headroom-tier-filter header-based-testing-filter
    utilization-detector concurrency-detector max-score-picker random-picker weighted-random-picker
    single-profile-handler data-parallel-profile-handler disagg-profile-handler pd-profile-handler
    disagg-headers-handler prefill-header-handler prefix-based-pd-decider always-disagg-pd-decider
    always-disagg-multimodal-decider approx-prefix-cache-producer inflight-load-producer predicted-latency-producer
    token-producer tokenizer latency-slo-admitter probabilistic-admitter request-attribute-reporter
    destination-endpoint-served-verifier openai-parser vllmgrpc-parser vertexai-parser passthrough-parser
    metrics-data-source core-metrics-extractor models-data-source models-data-extractor k8s-notification-source
    endpoint-notification-source round-robin-fairness-policy global-strict-fairness-policy fcfs-ordering-policy
    edf-ordering-policy slo-deadline-ordering-policy static-usage-limit-policy sheddable-eviction-filter
    priority-then-time-eviction-order-policy
"""
UPSTREAM_AUGUST = """
    anthropic-parser vllmhttp-parser sglanghttp-parser program-aware-fairness priority-holdback-policy
    soft-reflective-ceiling-policy utilization-filter endpoint-attribute-filter endpoint-attribute-scorer
    session-affinity-filter session-id-producer header-profile-handler burst-prefix-cache-producer
    topology-affinity-filter topology-affinity-scorer topology-extractor header-label-affinity-scorer
    disaggregatedset-rollout-screener precise-prefix-cache-producer p2p-source-producer mm-embeddings-cache-scorer
    mm-embeddings-cache-producer agent-identity dcgm-data-source dcgm-extractor file-discovery
    multicluster-file-discovery multicluster-session-affinity-filter multicluster-queue-scorer
    multicluster-kv-cache-utilization-scorer multicluster-prefix-cache-scorer
    multicluster-approx-prefix-cache-producer multicluster-metrics-data-source multicluster-metrics-extractor
"""


@pytest.mark.parametrize("type_name", (UPSTREAM_MAY + UPSTREAM_AUGUST).split())
def test_every_upstream_type_has_one_fate(type_name):
    """A type is ours, ignored with a note, or refused with a remedy; never unknown, never two of them."""
    assert (type_name in REGISTRY) != (type_name in MISSING)


@pytest.mark.parametrize("type_name", sorted(IGNORED))
def test_ignored_types_are_noted(parsed, type_name):
    """A type that can be left out is accepted with any parameters, and with one note that names it."""
    config = parsed(
        f"""
        featureGates: [flowControl]
        plugins:
        - type: {type_name}
          parameters: {{whatever: [1, 2]}}
        """
    )
    assert config.notes == (f"plugin '{type_name}' has no effect: {MISSING[type_name].text}",)


@pytest.mark.parametrize("type_name", sorted(set(MISSING) - IGNORED))
def test_refused_types_are_errors_with_a_remedy(problems, type_name):
    """A type that can't be left out is refused in upstream's words, with what to do instead."""
    (problem,) = problems(f"plugins:\n- name: mine\n  type: {type_name}\n")
    assert (problem.line, problem.field) == (5, "plugins[0].type")
    assert problem.message == (
        f"plugin type '{type_name}' is not registered: this build doesn't have it; {MISSING[type_name].text}"
    )
    assert any(word in problem.message for word in ("use ", "remove ", "keep ", "name the "))


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("edf-ordering-policy", "flowControl: {{priorityBands: [{{priority: 1, orderingPolicyRef: {}}}]}}"),
        ("slo-deadline-ordering-policy", "flowControl: {{defaultPriorityBand: {{orderingPolicyRef: {}}}}}"),
        ("program-aware-fairness", "flowControl: {{defaultPriorityBand: {{fairnessPolicyRef: {}}}}}"),
        ("priority-holdback-policy", "flowControl: {{usageLimitPolicyPluginRef: {}}}"),
        ("soft-reflective-ceiling-policy", "flowControl: {{usageLimitPolicyPluginRef: {}}}"),
        ("concurrency-detector", "flowControl: {{saturationDetector: {{pluginRef: {}}}}}"),
    ],
)
def test_policies_that_are_not_always_there_are_to_be_listed(problems, name, section):
    """As upstream, only the defaults may be referred to without a plugin; the remedy is the line to add."""
    (problem,) = problems(section.format(name))
    assert problem.message.endswith(f": add '- type: {name}' to plugins")


def test_what_replaces_eviction_plugins_is_said(parsed):
    """Upstream's fixed eviction policies may be listed: what they say is what happens."""
    (note,) = parsed("featureGates: [flowControl]\nplugins: [{type: sheddable-eviction-filter}]\n").notes
    assert "it is built in" in note


def test_what_is_always_there_is_ours():
    """What may be referred to without being listed is a type that we have."""
    assert set(ALWAYS_THERE) <= set(REGISTRY)
