"""Pages of the engines that we know."""

from __future__ import annotations

import pytest

from epp.config.scrape import BUILT_IN_ENGINES, EngineMetrics, MetricSelector
from epp.core.endpoint import EngineSample
from epp.modelserver.engines import PageReader
from epp.modelserver.failures import FailureKind, ScrapeFailure

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 7.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.125
"""
SGLANG = b"""\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="m",pp_rank="0",tp_rank="0"} 3.0
# TYPE sglang:token_usage gauge
sglang:token_usage{engine_type="unified",model_name="m",pp_rank="0",tp_rank="0"} 0.5
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{engine_type="unified",model_name="m",pp_rank="0",tp_rank="0"} 4.0
"""
TRTLLM = b"""\
trtllm_num_requests_running{model_name="m"} 5.0
trtllm_num_requests_waiting{model_name="m"} 6.0
trtllm_kv_cache_utilization{model_name="m"} 0.25
"""
TRITON_TRTLLM = b"""\
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} 8
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 2
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 77
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.75
"""
TRITON = b"""\
nv_inference_pending_request_count{model="m",version="1"} 9
nv_inference_exec_count{model="m",version="1"} 1e6
"""


@pytest.mark.parametrize(
    ("engine", "page", "sample"),
    [
        ("vllm", VLLM, EngineSample(2, 7, 0.125)),
        ("sglang", SGLANG, EngineSample(4, 3, 0.5)),
        ("trtllm-serve", TRTLLM, EngineSample(6, 5, 0.25)),
        ("triton-tensorrt-llm", TRITON_TRTLLM, EngineSample(1, 2, 0.75)),
        ("triton", TRITON, EngineSample(9, 0, 0.0)),
    ],
)
def test_every_engine_in_the_table_is_read(engine: str, page: bytes, sample: EngineSample) -> None:
    """A page as the engine writes it gives its sample; a counter of all times is not taken for what runs now."""
    assert PageReader(BUILT_IN_ENGINES[engine]).read(page) == sample


@pytest.mark.parametrize("engine", list(BUILT_IN_ENGINES))
def test_no_engine_takes_anothers_page(engine: str) -> None:
    """Read with another engine's names a page is no sample of zeros but a failure."""
    for other, page in {"vllm": VLLM, "sglang": SGLANG, "trtllm-serve": TRTLLM, "triton": TRITON}.items():
        if other != engine:
            with pytest.raises(ScrapeFailure) as caught:
                PageReader(BUILT_IN_ENGINES[engine]).read(page)
            assert caught.value.kind is FailureKind.METRICS_MISSING


def test_what_is_missing_is_named() -> None:
    """A failure names exactly the metrics that are missing or no usable numbers, and the engine."""
    page = VLLM.replace(b'waiting{engine="0",model_name="m"} 2.0', b'waiting{engine="0",model_name="m"} NaN')
    page = page.replace(b'perc{engine="0",model_name="m"} 0.125', b'perc{engine="0",model_name="m"} -1')
    with pytest.raises(ScrapeFailure) as caught:
        PageReader(BUILT_IN_ENGINES["vllm"]).read(page)
    assert "vllm:num_requests_waiting, vllm:kv_cache_usage_perc" in caught.value.detail
    assert "running" not in caught.value.detail
    assert "'vllm'" in caught.value.detail


def test_a_custom_engine_is_a_row_of_data() -> None:
    """An engine from a configuration is read like the built-in ones; what it doesn't tell counts as 0."""
    mine = EngineMetrics(
        name="mine", waiting=MetricSelector.parse('q{state="waiting"}'), running=None, kv_utilization=None
    )
    assert PageReader(mine).read(b'q{state="running"} 5\nq{state="waiting"} 3\n') == EngineSample(3, 0, 0.0)


def test_a_cache_can_not_be_more_than_full() -> None:
    """Rounding above 1 is cut off."""
    page = VLLM.replace(b"0.125", b"1.0000002")
    assert PageReader(BUILT_IN_ENGINES["vllm"]).read(page).kv_utilization == 1.0
