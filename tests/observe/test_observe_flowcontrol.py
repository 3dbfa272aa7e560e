"""Flow control's metrics."""

from __future__ import annotations

import pytest

from epp.core.actions import Reason
from epp.core.endpoint import Knowledge
from tests.observe.surroundings import World, band, endpoint

SIZE = "llm_d_epp_flow_control_queue_size"
BYTES = "llm_d_epp_flow_control_queue_bytes"


def by_priority(world, name):
    """The gauge, summed as an autoscaler sums it."""
    sums = {}
    for labels, value in world.rows(name):
        sums[labels["priority"]] = sums.get(labels["priority"], 0) + value
    return sums


@pytest.mark.parametrize("name", [SIZE, BYTES, SIZE.replace("llm_d_epp", "inference_extension")])
def test_every_band_has_its_queue_gauges_before_the_first_request(world, name):
    """An autoscaler reads 0 and not nothing, for band 0 and for each other one."""
    world.set(bands=(band(10), band(0), band(-10)))
    assert by_priority(world, name) == {"10": 0, "0": 0, "-10": 0}


def test_queue_gauges_follow_every_request(world):
    """By tenant and model, with the bytes, down to 0 again."""
    world.set(bands=(band(10), band(0)))
    first = world.seen("llama", "alice", 10, size_bytes=100)
    world.seen("llama", "bob", 10, size_bytes=30)
    labels = {
        "model_name": "llama",
        "target_model_name": "llama",
        "fairness_id": "alice",
        "priority": "10",
        "inference_pool": "pool",
    }
    assert (world.value(SIZE, **labels), world.value(BYTES, **labels)) == (1, 100)
    assert by_priority(world, SIZE) == {"10": 2, "0": 0}
    assert by_priority(world, BYTES) == {"10": 130, "0": 0}
    first.dispatched(waited_s=1.0)
    assert (world.value(SIZE, **labels), world.value(BYTES, **labels)) == (0, 0)


def test_requests_without_a_fairness_id_or_model_share_the_bands_own_row(world):
    """The row that keeps a band visible is theirs, and is not there twice."""
    world.seen("", "default-flow", 0)
    assert by_priority(world, SIZE) == {"0": 1}


def test_the_gauges_of_a_vanished_band_vanish_once_it_is_empty(world):
    """What is still queued in it stays visible until it is gone."""
    meter = world.seen(priority=10)
    world.set(bands=(band(0),))
    assert by_priority(world, SIZE) == {"10": 1, "0": 0}
    meter.cancelled(waited_s=1.0)
    assert by_priority(world, SIZE) == {"0": 0}


def test_outcomes_and_waits_are_counted_once_each(world):
    """By outcome and priority, with the pool; the wait by tenant and model too."""
    world.served(waited_s=0.7)
    world.seen().refused(Reason.SATURATED, waited_s=0.0)
    world.seen(priority=5).refused(Reason.TTL_EXPIRED, waited_s=60.0)
    outcomes = {
        (labels["outcome"], labels["priority"]): value
        for labels, value in world.rows("llm_d_epp_flow_control_requests_total")
    }
    assert outcomes == {("Dispatched", "0"): 1, ("RejectedCapacity", "0"): 1, ("EvictedTTL", "5"): 1}
    name = "llm_d_epp_flow_control_request_queue_duration_seconds"
    waits = {(labels["outcome"], labels["priority"]): value for labels, value in world.rows(f"{name}_sum")}
    assert waits == {("Dispatched", "0"): 0.7, ("RejectedCapacity", "0"): 0.0, ("EvictedTTL", "5"): 60.0}


def test_saturation_is_the_mean_over_endpoints(world):
    """As upstream's detectors score a pool, unclamped; without roles every endpoint is in the decode stage."""
    world.set(endpoints=(endpoint(saturation=3.0), endpoint("10.0.0.2:8000", saturation=0.5)))
    rows = {labels["stage"]: value for labels, value in world.rows("llm_d_epp_flow_control_pool_saturation")}
    assert rows == {"decode": 1.75, "effective": 1.75}


def test_an_empty_pool_is_saturated(world):
    """1.0, as upstream's, and the series of the empty stage is gone."""
    rows = {labels["stage"]: value for labels, value in world.rows("llm_d_epp_flow_control_pool_saturation")}
    assert rows == {"effective": 1.0}


def test_stale_endpoints_are_counted_for_the_detector_in_force(world):
    """Missing and old metrics alike."""
    world.detector = "concurrency-detector"
    states = (Knowledge.FRESH, Knowledge.STALE, Knowledge.UNKNOWN)
    world.set(
        endpoints=tuple(
            endpoint(f"10.0.0.{number}:8000", knowledge=each) for number, each in enumerate(states)
        )
    )
    assert world.value("llm_d_epp_flow_control_stale_endpoints", detector="concurrency-detector") == 2


def test_capacity_in_use(world):
    """Shares of each band's limits, and of the whole's where it has one."""
    world.set(
        bands=(band(0, requests=1250, size_bytes=5 * 10**8),),
        queued_requests=1250,
        queued_bytes=5 * 10**8,
        max_requests=2500,
    )
    labels = {"inference_pool": "pool", "priority": "0"}
    assert world.value("llm_d_epp_flow_control_capacity_utilization_requests", **labels) == 0.25
    assert world.value("llm_d_epp_flow_control_capacity_utilization_bytes", **labels) == 0.5
    name = "llm_d_epp_flow_control_global_capacity_utilization"
    assert world.value(f"{name}_requests", inference_pool="pool") == 0.5
    assert world.rows(f"{name}_bytes") == []


def test_a_limit_of_nothing_is_used_up(world):
    """Rather than a division by zero."""
    world.set(max_requests=0, max_bytes=0)
    name = "llm_d_epp_flow_control_global_capacity_utilization"
    assert world.value(f"{name}_requests", inference_pool="pool") == 1.0
    assert world.value(f"{name}_bytes", inference_pool="pool") == 1.0


def test_cycles_are_timed(world):
    """One observation per event that flow control handled."""
    world.metrics.cycle_ran(0.00015)
    world.metrics.cycle_ran(0.3)
    name = "llm_d_epp_flow_control_dispatch_cycle_duration_seconds"
    assert world.value(f"{name}_bucket", le="0.0002") == 1
    assert world.value(f"{name}_count") == 2


def test_the_page_survives_any_name_of_a_pool():
    """Even one that needs escapes."""
    world = World()
    world.pool = 'a"b\\c\nd'
    world.seen()
    assert {labels["inference_pool"] for labels, _ in world.rows(SIZE)} == {'a"b\\c?d'}
