"""The simulated metrics page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from epp.sim.engine import Ending, Engine, FinishReason
from epp.sim.model import ServiceModel
from epp.sim.page import ServerPage


def test_another_parser_reads_the_page() -> None:
    """prometheus_client reads every line, and finds vLLM's names with the engine's numbers and quoted labels."""
    model = ServiceModel(max_sequences=2, blocks=512)
    engine = Engine(model, seed=0, now=0.0)
    for _ in range(3):
        engine.submit(0.0, prompt_tokens=320, max_tokens=9, ending=Ending.AT_LIMIT)
    engine.advance(0.06)
    page = ServerPage(model, model_name='odd "name"\\', page_bytes=50_000)
    page.finished[FinishReason.STOP] = 4
    page.latency_s.observe(0.3)
    page.latency_s.observe(300.0)
    raw = page.render(engine.load(), engine.truth(0.06), wall_s=1.75e9)
    samples = {
        (sample.name, sample.labels.get("finished_reason") or sample.labels.get("le")): sample
        for family in text_string_to_metric_families(raw.decode())
        for sample in family.samples
    }
    assert samples["vllm:num_requests_running", None].value == 2
    assert samples["vllm:num_requests_waiting", None].value == 1
    assert samples["vllm:kv_cache_usage_perc", None].value == (21 + 20) / 512
    assert samples["vllm:num_requests_running", None].labels == {"engine": "0", "model_name": 'odd "name"\\'}
    assert samples["vllm:cache_config_info", None].labels["num_gpu_blocks"] == "512"
    assert samples["vllm:lora_requests_info", None].value == 1.75e9
    assert samples["vllm:prompt_tokens_total", None].value == 960
    assert samples["vllm:request_success_total", "stop"].value == 4
    assert samples["vllm:e2e_request_latency_seconds_bucket", "0.25"].value == 0
    assert samples["vllm:e2e_request_latency_seconds_bucket", "0.5"].value == 1
    assert samples["vllm:e2e_request_latency_seconds_bucket", "+Inf"].value == 2
    assert samples["vllm:e2e_request_latency_seconds_sum", None].value == 300.3
    assert len(raw) >= 50_000


def test_the_page_has_the_size_asked_for() -> None:
    """Padding fills the page up to the size, and a small size adds nothing."""
    model = ServiceModel()
    engine = Engine(model, seed=0, now=0.0)
    sizes = [
        len(
            ServerPage(model, model_name="m", page_bytes=size).render(
                engine.load(), engine.truth(0.0), wall_s=0.0
            )
        )
        for size in (0, 1000, 62_000)
    ]
    assert sizes[0] == sizes[1] < 62_000 <= sizes[2] < 63_000
