"""Upstream's names, types, labels and buckets, written out: what dashboards, alerts and autoscalers rely on."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from epp.core.actions import Reason
from epp.core.endpoint import EngineSample, Knowledge
from epp.core.statistics import EstimateErrors, EvictionStatistics
from epp.observe.exposition import Format
from epp.observe.metrics import DeprecatedNames
from epp.whatif.regret import BandRegret
from tests.observe.surroundings import World, band, endpoint
from tests.observe.test_observe_recording import LOG, shadow

MODELS = frozenset({"model_name", "target_model_name"})
TENANT = MODELS | {"fairness_id", "priority"}
QUEUE = TENANT | {"inference_pool"}
POOL = frozenset({"inference_pool"})
BAND = POOL | {"priority"}
NAME = frozenset({"name"})
SHADOW = frozenset({"shadow"})
NOTHING = frozenset[str]()

L = "0.005 0.025 0.05 0.1 0.2 0.4 0.6 0.8 1 1.25 1.5 2 3 4 5 6 8 10 15 20 30 45 60 120"
DURATION = f"{L} 180 240 300 360 480 600 900 1200 1800 2700 3600"
TPOT = "0.0005 0.00205 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.125 0.15 0.2 0.3 0.4 0.5 0.6 0.8 1 2"
NTPOT = "0.001 0.002 0.005 0.01 0.02 0.05 0.1 0.2 0.5 1 2 5 10"
OUTPUT = "1 8 16 32 64 128 256 512 1024 2048 4096 8192"
RESPONSE = f"{OUTPUT} 16384 32778 65536"
INPUT = f"{RESPONSE} 131072 262144 524288 1.048576e+06"
SIZE = (
    "64 128 256 512 1024 2048 4096 8192 16384 32768 65536 131072 262144 524288 1.048576e+06 2.097152e+06 "
    "4.194304e+06 8.388608e+06 1.6777216e+07 3.3554432e+07 6.7108864e+07 1.34217728e+08 2.68435456e+08 "
    "5.36870912e+08 1.073741824e+09"
)
WAIT = "0.0001 0.0005 0.001 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60"
OUR_LONGER_WAITS = "120 300 600"
CYCLE = "0.0001 0.0002 0.0005 0.001 0.002 0.005 0.01 0.02 0.05 0.1"

# The tables say of each name its type, its labels, and its buckets.
CANONICAL = {
    "llm_d_epp_request_total": ("counter", TENANT, None),
    "llm_d_epp_request_error_total": ("counter", TENANT | {"error_code"}, None),
    "llm_d_epp_request_duration_seconds": ("histogram", TENANT, DURATION),
    "llm_d_epp_request_size_bytes": ("histogram", TENANT, SIZE),
    "llm_d_epp_response_size_bytes": ("histogram", TENANT, RESPONSE),
    "llm_d_epp_request_input_tokens": ("histogram", TENANT, INPUT),
    "llm_d_epp_request_output_tokens": ("histogram", TENANT, OUTPUT),
    "llm_d_epp_request_cached_tokens": ("histogram", TENANT, INPUT),
    "llm_d_epp_request_running": ("gauge", TENANT, None),
    "llm_d_epp_request_ntpot_seconds": ("histogram", TENANT, NTPOT),
    "llm_d_epp_request_ttft_seconds": ("histogram", TENANT | {"streaming"}, L),
    "llm_d_epp_request_streaming_tpot_seconds": ("histogram", TENANT, TPOT),
    "llm_d_epp_average_kv_cache_utilization": ("gauge", NAME, None),
    "llm_d_epp_average_queue_size": ("gauge", NAME, None),
    "llm_d_epp_average_running_requests": ("gauge", NAME, None),
    "llm_d_epp_std_dev_kv_cache_utilization": ("gauge", NAME, None),
    "llm_d_epp_std_dev_queue_size": ("gauge", NAME, None),
    "llm_d_epp_std_dev_running_requests": ("gauge", NAME, None),
    "llm_d_epp_ready_endpoints": ("gauge", NAME, None),
    "llm_d_epp_per_endpoint_queue_size": ("gauge", NAME | {"model_server_endpoint"}, None),
    "llm_d_epp_info": ("gauge", frozenset({"commit", "build_ref"}), None),
    "llm_d_epp_datalayer_poll_errors_total": ("counter", frozenset({"source_type"}), None),
    "llm_d_epp_datalayer_extract_errors_total": (
        "counter",
        frozenset({"source_type", "extractor_type"}),
        None,
    ),
    "llm_d_epp_flow_control_request_queue_duration_seconds": (
        "histogram",
        QUEUE | {"outcome"},
        f"{WAIT} {OUR_LONGER_WAITS}",
    ),
    "llm_d_epp_flow_control_dispatch_cycle_duration_seconds": ("histogram", NOTHING, CYCLE),
    "llm_d_epp_flow_control_queue_size": ("gauge", QUEUE, None),
    "llm_d_epp_flow_control_queue_bytes": ("gauge", QUEUE, None),
    "llm_d_epp_flow_control_pool_saturation": ("gauge", POOL | {"stage"}, None),
    "llm_d_epp_flow_control_stale_endpoints": ("gauge", frozenset({"detector"}), None),
    "llm_d_epp_flow_control_capacity_utilization_requests": ("gauge", BAND, None),
    "llm_d_epp_flow_control_capacity_utilization_bytes": ("gauge", BAND, None),
    "llm_d_epp_flow_control_global_capacity_utilization_requests": ("gauge", POOL, None),
    "llm_d_epp_flow_control_global_capacity_utilization_bytes": ("gauge", POOL, None),
    "llm_d_epp_flow_control_requests_total": ("counter", BAND | {"outcome"}, None),
    "llm_d_epp_flow_control_revocations_issued_total": ("counter", BAND, None),
    "llm_d_epp_flow_control_revocations_total": ("counter", POOL | {"outcome"}, None),
}
DEPRECATED = {
    "inference_objective_request_total": ("counter", MODELS | {"priority"}, None),
    "inference_objective_request_error_total": ("counter", MODELS | {"error_code"}, None),
    "inference_objective_request_duration_seconds": ("histogram", MODELS, DURATION),
    "inference_objective_request_sizes": ("histogram", MODELS, SIZE),
    "inference_objective_response_sizes": ("histogram", MODELS, RESPONSE),
    "inference_objective_input_tokens": ("histogram", MODELS, INPUT),
    "inference_objective_output_tokens": ("histogram", MODELS, OUTPUT),
    "inference_objective_prompt_cached_tokens": ("histogram", MODELS, INPUT),
    "inference_objective_running_requests": ("gauge", frozenset({"model_name"}), None),
    "inference_objective_normalized_time_per_output_token_seconds": ("histogram", MODELS, NTPOT),
    "inference_pool_average_kv_cache_utilization": ("gauge", NAME, None),
    "inference_pool_average_queue_size": ("gauge", NAME, None),
    "inference_pool_average_running_requests": ("gauge", NAME, None),
    "inference_pool_ready_pods": ("gauge", NAME, None),
    "inference_pool_per_pod_queue_size": ("gauge", NAME | {"model_server_pod"}, None),
    "inference_extension_info": ("gauge", frozenset({"commit", "build_ref"}), None),
    "inference_extension_flow_control_request_queue_duration_seconds": (
        "histogram",
        QUEUE | {"outcome"},
        f"{WAIT} {OUR_LONGER_WAITS}",
    ),
    "inference_extension_flow_control_dispatch_cycle_duration_seconds": ("histogram", NOTHING, CYCLE),
    "inference_extension_flow_control_queue_size": ("gauge", QUEUE, None),
    "inference_extension_flow_control_queue_bytes": ("gauge", QUEUE, None),
    "inference_extension_flow_control_pool_saturation": ("gauge", POOL | {"stage"}, None),
    "llm_d_inference_scheduler_datalayer_poll_errors_total": ("counter", frozenset({"source_type"}), None),
    "llm_d_inference_scheduler_datalayer_extract_errors_total": (
        "counter",
        frozenset({"source_type", "extractor_type"}),
        None,
    ),
}
OURS = {
    "epp_queue_wait_seconds_total": ("counter", BAND | {"reason"}, None),
    "epp_idle_eligible_slot_seconds_total": ("counter", POOL, None),
    "epp_ceiling_idle_slot_seconds_total": ("counter", POOL, None),
    "epp_running_requests": ("gauge", POOL, None),
    "epp_flows": ("gauge", POOL, None),
    "epp_overflowed_flows": ("gauge", POOL, None),
    "epp_overflowed_requests_total": ("counter", BAND, None),
    "epp_flows_created_total": ("counter", BAND, None),
    "epp_flows_at_cap": ("gauge", BAND, None),
    "epp_new_tenants_total": ("counter", POOL, None),
    "epp_known_flows": ("gauge", POOL, None),
    "epp_known_models": ("gauge", POOL, None),
    "epp_lanes": ("gauge", POOL, None),
    "epp_band_queue_size": ("gauge", BAND, None),
    "epp_band_queue_bytes": ("gauge", BAND, None),
    "epp_band_oldest_wait_seconds": ("gauge", BAND, None),
    "epp_band_drain_rate": ("gauge", BAND, None),
    "epp_band_ceiling": ("gauge", BAND, None),
    "epp_band_running_requests": ("gauge", BAND, None),
    "epp_band_in_use": ("gauge", BAND, None),
    "epp_expected_wait_seconds": ("gauge", BAND, None),
    "epp_retry_floor_seconds": ("gauge", BAND, None),
    "epp_displaced_requests_total": ("counter", POOL | {"cause"}, None),
    "epp_pending_evictions": ("gauge", POOL, None),
    "epp_charged_tokens_total": ("counter", BAND, None),
    "epp_settled_tokens_total": ("counter", BAND, None),
    "epp_flow_tokens_total": ("counter", BAND | {"fairness_id"}, None),
    "epp_estimate_ratio": ("histogram", POOL | {"of"}, "0.5 1 2"),
    "epp_endpoint_knowledge": ("gauge", POOL | {"state"}, None),
    "epp_endpoint_inflight_requests": ("gauge", POOL | {"endpoint"}, None),
    "epp_endpoint_inflight_tokens": ("gauge", POOL | {"endpoint"}, None),
    "epp_endpoint_foreign_requests": ("gauge", POOL | {"endpoint"}, None),
    "epp_endpoint_saturation": ("gauge", POOL | {"endpoint"}, None),
    "epp_endpoint_has_room": ("gauge", POOL | {"endpoint"}, None),
    "epp_endpoint_limit": ("gauge", POOL | {"endpoint"}, None),
    "epp_endpoint_learned_limit": ("gauge", POOL | {"endpoint"}, None),
    "epp_policy_faults_total": ("counter", POOL | {"policy", "fault"}, None),
    "epp_refusals_total": ("counter", BAND | {"reason"}, None),
    "epp_responses_total": ("counter", POOL | {"outcome"}, None),
    "epp_undelivered_total": ("counter", POOL, None),
    "epp_label_overflow_total": ("counter", frozenset({"label"}), None),
    "epp_scrape_failures_total": ("counter", frozenset({"kind"}), None),
    "epp_ignored_headers_total": ("counter", frozenset({"header"}), None),
    "epp_unknown_objectives_total": ("counter", NOTHING, None),
    "epp_config_reloads_total": ("counter", frozenset({"outcome"}), None),
    "epp_config_last_reload_successful": ("gauge", NOTHING, None),
    "epp_event_log_recording": ("gauge", NOTHING, None),
    "epp_event_log_events_total": ("counter", NOTHING, None),
    "epp_event_log_bytes_total": ("counter", NOTHING, None),
    "epp_event_log_lost_events_total": ("counter", NOTHING, None),
    "epp_event_log_pending_bytes": ("gauge", NOTHING, None),
    "epp_event_log_segments_total": ("counter", NOTHING, None),
    "epp_event_log_failures_total": ("counter", NOTHING, None),
    "epp_shadow_active": ("gauge", SHADOW, None),
    "epp_shadow_events_total": ("counter", SHADOW, None),
    "epp_shadow_queue_size": ("gauge", SHADOW, None),
    "epp_shadow_running_requests": ("gauge", SHADOW, None),
    "epp_shadow_decisions_total": ("counter", SHADOW | {"priority", "decision"}, None),
    "epp_shadow_wait_difference_seconds": ("gauge", SHADOW | {"priority"}, None),
}
EVERYTHING = CANONICAL | DEPRECATED | OURS
PREFIXES = ("llm_d_", "inference_", "epp_")


def busy(deprecated_names=DeprecatedNames.SHOWN):
    """Surroundings in which every metric has something to tell."""
    world = World(deprecated_names=deprecated_names)
    world.served()
    world.seen().refused(Reason.SATURATED, waited_s=0.0)
    world.seen()
    world.set(
        bands=(band(0, requests=1, expected_wait_s=2.5),),
        endpoints=(
            endpoint(name="pod-0", sample=EngineSample(3, 2, 0.5), stated_limit=8, learned_limit=9.5),
            endpoint("10.0.0.2:8000"),
        ),
        estimate_errors=EstimateErrors(bounds=(0.5, 1.0, 2.0), input=(1, 2, 3, 4), output=(0, 1, 0, 0)),
        evictions=EvictionStatistics({10: 2}, confirmed=1),
        max_requests=10,
        max_bytes=10_000,
        policy_faults={("my-policy", "ValueError"): 2},
    )
    world.failures = {"connect": 4, "metrics_missing": 1}
    world.event_log = LOG
    world.shadows = (shadow(bands=[BandRegret(0, 1, -1.5, 0, 0, 0)]),)
    world.metrics.config_reloaded("applied")
    world.metrics.header_ignored("x-llm-d-inference-ttl")
    world.metrics.objective_unknown()
    world.metrics.cycle_ran(0.0003)
    return world


@pytest.fixture(scope="module")
def announced():
    """Every family of ours on the page of a busy picker, under the name that its table uses."""
    families = busy().families()
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in families.values()
        if family.name.startswith(PREFIXES)
    }


def test_nothing_is_missing_and_nothing_is_made_up(announced):
    """The tables above are complete: a name that isn't there isn't on the page either."""
    assert announced.keys() == EVERYTHING.keys()


@pytest.mark.parametrize("name", EVERYTHING)
def test_type_and_labels(announced, name):
    """Every sample carries exactly the labels of its table, and the family its type and a help text."""
    kind, labels, _ = EVERYTHING[name]
    family = announced[name]
    assert family.type == kind
    assert family.documentation
    assert family.samples
    assert {frozenset(sample.labels) - {"le"} for sample in family.samples} == {labels}


@pytest.mark.parametrize("name", [name for name, (kind, _, _) in EVERYTHING.items() if kind == "histogram"])
def test_buckets(announced, name):
    """The bounds are upstream's, written as upstream writes them."""
    bounds = EVERYTHING[name][2].split()
    samples = announced[name].samples
    first = {key: value for key, value in samples[0].labels.items() if key != "le"}
    shown = [
        sample.labels["le"]
        for sample in samples
        if sample.name == f"{name}_bucket" and sample.labels == first | {"le": sample.labels["le"]}
    ]
    assert shown == [*bounds, "+Inf"]


def test_deprecated_names_say_so(announced):
    """Whoever reads the help text learns the name to use instead."""
    for name in DEPRECATED:
        assert announced[name].documentation.startswith("[Deprecated: use llm_d_epp_"), name


def test_deprecated_names_can_be_left_out():
    """Then only the canonical ones and ours remain."""
    families = busy(DeprecatedNames.HIDDEN).families(Format.OPENMETRICS)
    named = {name for name in families if name.startswith(PREFIXES)}
    assert named == {name.removesuffix("_total") for name in CANONICAL | OURS}


def test_promtool_finds_nothing_to_object_to():
    """Prometheus' own checker reads the page, and complains of no name but upstream's."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=busy().metrics.page(), capture_output=True, timeout=60, check=False
    )  # fmt: skip
    complaints = checked.stderr.decode().splitlines()
    assert checked.returncode in {0, 3}, complaints
    assert [line for line in complaints if not line.startswith(tuple(CANONICAL | DEPRECATED))] == []


def test_an_endpoint_that_nobody_knows_of_is_no_measurement():
    """What was never scraped has no queue size, and isn't ready."""
    world = World()
    world.set(endpoints=(endpoint(knowledge=Knowledge.UNKNOWN),))
    assert world.rows("llm_d_epp_per_endpoint_queue_size") == []
    assert world.value("llm_d_epp_ready_endpoints", name="pool") == 0
