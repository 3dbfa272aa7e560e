"""The pool's metrics."""

from __future__ import annotations

from statistics import stdev

import pytest

from epp.core.endpoint import EngineSample, Knowledge
from tests.observe.surroundings import endpoint


def test_averages_and_spreads_are_over_fresh_endpoints(world):
    """Stale figures don't count, and the spread is that of a sample, as upstream's."""
    samples = [EngineSample(4, 10, 0.5), EngineSample(0, 20, 0.9), EngineSample(2, 0, 0.1)]
    fresh = [
        endpoint(f"10.0.0.{number}:8000", sample=sample) for number, sample in enumerate(samples, start=1)
    ]
    stale = endpoint("10.0.0.9:8000", sample=EngineSample(99, 99, 0.99), knowledge=Knowledge.STALE)
    world.set(endpoints=(*fresh, stale))
    assert world.value("llm_d_epp_ready_endpoints", name="pool") == 3
    assert world.value("llm_d_epp_average_queue_size", name="pool") == 2
    assert world.value("llm_d_epp_average_running_requests", name="pool") == 10
    assert world.value("llm_d_epp_average_kv_cache_utilization", name="pool") == pytest.approx(0.5)
    assert world.value("llm_d_epp_std_dev_queue_size", name="pool") == pytest.approx(stdev([4, 0, 2]))
    assert world.value("llm_d_epp_std_dev_running_requests", name="pool") == pytest.approx(stdev([10, 20, 0]))
    assert world.value("llm_d_epp_std_dev_kv_cache_utilization", name="pool") == pytest.approx(0.4)


def test_one_endpoint_has_no_spread(world):
    """0, rather than a division by zero."""
    world.set(endpoints=(endpoint(sample=EngineSample(4, 10, 0.5)),))
    assert world.value("llm_d_epp_std_dev_queue_size", name="pool") == 0


def test_without_fresh_endpoints_there_are_no_averages(world):
    """Nothing is known, so nothing is shown; that nobody is ready is known."""
    world.set(endpoints=(endpoint(knowledge=Knowledge.STALE),))
    assert world.rows("llm_d_epp_average_queue_size") == []
    assert world.value("llm_d_epp_ready_endpoints", name="pool") == 0
    assert world.value("inference_pool_ready_pods", name="pool") == 0


def test_queues_by_endpoint_go_by_name_or_address(world):
    """Under both labels; endpoints that share a name share a series, so the page stays valid."""
    world.set(
        endpoints=(
            endpoint("10.0.0.1:8000", name="pod-rank-0", sample=EngineSample(3, 0, 0)),
            endpoint("10.0.0.2:8000", name="pod-rank-0", sample=EngineSample(4, 0, 0)),
            endpoint("10.0.0.3:8000", sample=EngineSample(5, 0, 0)),
        )
    )
    queues = world.rows("llm_d_epp_per_endpoint_queue_size")
    assert {labels["model_server_endpoint"]: value for labels, value in queues} == {
        "pod-rank-0": 7,
        "10.0.0.3:8000": 5,
    }
    pods = world.rows("inference_pool_per_pod_queue_size")
    assert {labels["model_server_pod"]: value for labels, value in pods} == {
        "pod-rank-0": 7,
        "10.0.0.3:8000": 5,
    }


def test_failed_scrapes(world):
    """By kind under our name, and by upstream's two: no page, or a page without what it should tell."""
    world.failures = {"connect": 4, "timeout": 2, "metrics_missing": 3}
    kinds = {labels["kind"]: value for labels, value in world.rows("epp_scrape_failures_total")}
    assert kinds == world.failures
    source = {"source_type": "metrics-data-source"}
    extractor = source | {"extractor_type": "core-metrics-extractor"}
    assert world.value("llm_d_epp_datalayer_poll_errors_total", **source) == 6
    assert world.value("llm_d_epp_datalayer_extract_errors_total", **extractor) == 3
