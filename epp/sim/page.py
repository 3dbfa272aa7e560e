"""The metrics page of a simulated server: vLLM's names, in the shape and size of the real page."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from epp.sim.engine import FinishReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from epp.sim.engine import Load
    from epp.sim.model import ServiceModel
    from epp.sim.truth import Truth

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DEFAULT_PAGE_BYTES = 62_000

_SECONDS = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    40.0,
    80.0,
)
_GAPS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
_LENGTHS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)


class Histogram:
    """A Prometheus histogram."""

    __slots__ = ("_bounds", "_counts", "_sum", "help", "name")

    def __init__(self, name: str, help_text: str, bounds: tuple[float, ...]) -> None:
        self.name = name
        self.help = help_text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, labels: str) -> Iterator[str]:
        """Its part of the page."""
        yield from _head(self.name, "histogram", self.help)
        total = 0
        for bound, total in zip((*map(str, self._bounds), "+Inf"), accumulate(self._counts), strict=True):
            yield f'{self.name}_bucket{{{labels},le="{bound}"}} {float(total)}'
        yield f"{self.name}_count{{{labels}}} {float(total)}"
        yield f"{self.name}_sum{{{labels}}} {self._sum!r}"


class ServerPage:
    """What one server counts, and how it tells."""

    def __init__(self, model: ServiceModel, *, model_name: str, page_bytes: int = DEFAULT_PAGE_BYTES) -> None:
        self.queue_time_s = Histogram(
            "vllm:request_queue_time_seconds", "Time spent in WAITING phase.", _SECONDS
        )
        self.first_token_s = Histogram("vllm:time_to_first_token_seconds", "Time to first token.", _SECONDS)
        self.token_gap_s = Histogram("vllm:inter_token_latency_seconds", "Inter-token latency.", _GAPS)
        self.latency_s = Histogram("vllm:e2e_request_latency_seconds", "E2E request latency.", _SECONDS)
        self.prompt_tokens = Histogram("vllm:request_prompt_tokens", "Prefill tokens processed.", _LENGTHS)
        self.output_tokens = Histogram("vllm:request_generation_tokens", "Generation tokens.", _LENGTHS)
        self.finished = dict.fromkeys(FinishReason, 0)
        self._model = model
        quoted = model_name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        self._labels = f'engine="0",model_name="{quoted}"'
        self._page_bytes = page_bytes
        self._padding = ""

    def render(self, load: Load, truth: Truth, *, wall_s: float) -> bytes:
        """The page, now; as large as it was asked to be, or larger."""
        page = "\n".join(self._lines(load, truth, wall_s=wall_s)) + "\n"
        if len(page) + len(self._padding) < self._page_bytes:
            self._padding = _padding(self._page_bytes - len(page))
        return (page + self._padding).encode()

    def _lines(self, load: Load, truth: Truth, *, wall_s: float) -> Iterator[str]:
        labels = self._labels
        yield from _gauge(
            "vllm:num_requests_running", "Number of requests in execution batches.", labels, load.running
        )
        yield from _gauge("vllm:num_requests_waiting", "Number of requests waiting.", labels, load.waiting)
        yield from _gauge(
            "vllm:kv_cache_usage_perc", "KV-cache usage. 1 means all.", labels, load.kv_utilization
        )
        cache = f'block_size="{self._model.block_tokens}",engine="0",num_gpu_blocks="{self._model.blocks}"'
        yield from _gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig", cache, 1)
        lora = 'max_lora="0",running_lora_adapters="",waiting_lora_adapters=""'
        yield from _gauge("vllm:lora_requests_info", "Running stats on lora requests.", lora, wall_s)
        yield from _counter("vllm:num_preemptions", "Preemptions.", labels, truth.preemptions)
        yield from _counter("vllm:prompt_tokens", "Prefill tokens.", labels, truth.prompt_tokens)
        yield from _counter("vllm:generation_tokens", "Generation tokens.", labels, truth.output_tokens)
        yield from _head("vllm:request_success_total", "counter", "Successfully processed requests.")
        for reason, count in self.finished.items():
            yield f'vllm:request_success_total{{{labels},finished_reason="{reason.value}"}} {float(count)}'
        for histogram in self._histograms():
            yield from histogram.lines(labels)

    def _histograms(self) -> Iterable[Histogram]:
        return (
            self.queue_time_s,
            self.first_token_s,
            self.token_gap_s,
            self.latency_s,
            self.prompt_tokens,
            self.output_tokens,
        )


def _head(name: str, kind: str, help_text: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"


def _gauge(name: str, help_text: str, labels: str, value: float) -> Iterator[str]:
    yield from _head(name, "gauge", help_text)
    yield f"{name}{{{labels}}} {float(value)}"


def _counter(name: str, help_text: str, labels: str, value: int) -> Iterator[str]:
    yield from _head(f"{name}_total", "counter", help_text)
    yield f"{name}_total{{{labels}}} {float(value)}"


def _padding(size: int) -> str:
    """Series that every real page has, of the HTTP layer, until `size` is reached."""
    name = "http_request_duration_seconds"
    lines = [*_head(name, "histogram", "Duration of HTTP requests in seconds")]
    length = sum(len(line) + 1 for line in lines)
    while length < size:
        line = f'{name}_bucket{{handler="/v1/path/{len(lines) // 20}",le="{len(lines) % 20}.0",method="POST"}} 0.0'
        lines.append(line)
        length += len(line) + 1
    return "\n".join(lines) + "\n"
