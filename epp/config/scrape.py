"""How model servers are scraped, as values: which metric of which engine says what, and where its page is.

The table of engines is data: a new engine is a row of `BUILT_IN_ENGINES` or an `engineConfigs` entry of the
configuration, never code. A pod's label names its engine; without one, or with an unknown one, it is the
default engine. Parsing refuses what it can't honour and says what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENGINE_LABEL = "llm-d.ai/engine-type"
LEGACY_ENGINE_LABEL = "inference.networking.k8s.io/engine-type"
DEFAULT_ENGINE = "vllm"
DEFAULT_PATH = "/metrics"

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_MATCHER = re.compile(
    r"""\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<operator>=~|!=|!~|=)\s*
        (?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)' | (?P<bare>[^\s,{}"'=~!]+) )\s*""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class SelectorError(ValueError):
    """A metric selector that can't be used; the message says why and what to write."""


@dataclass(frozen=True, slots=True)
class MetricSelector:
    """One metric of a page: its name, and the labels that a series must carry to count."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    """(label, value) that must be equal; sorted by label."""

    @classmethod
    def parse(cls, text: str) -> MetricSelector:
        """From PromQL's `name{label="value", ...}`; values may go without quotes, only `=` is understood."""
        stripped = text.strip()
        name = _NAME.match(stripped)
        if name is None:
            raise SelectorError(f'{text!r} is no metric: write a name, or name{{label="value"}}')
        rest = stripped[name.end() :].strip()
        if not rest:
            return cls(name.group())
        if not (rest.startswith("{") and rest.endswith("}")):
            raise SelectorError(
                f'{text!r}: after the name {name.group()!r} only {{label="value"}} may follow'
            )
        labels = dict[str, str]()
        for label, value in _matchers(rest[1:-1], text):
            if labels.setdefault(label, value) != value:
                raise SelectorError(
                    f"{text!r} asks two values of the label {label!r}: nothing can match, drop one"
                )
        return cls(name.group(), tuple(sorted(labels.items())))

    def __str__(self) -> str:
        if not self.labels:
            return self.name
        inside = ",".join(f'{label}="{_quoted(value)}"' for label, value in self.labels)
        return f"{self.name}{{{inside}}}"


def _matchers(inside: str, whole: str) -> Iterable[tuple[str, str]]:
    """The (label, value) pairs between the braces; a comma may follow the last."""
    at = 0
    while inside[at:].strip():
        found = _MATCHER.match(inside, at)
        if found is None:
            raise SelectorError(f'{whole!r}: expected label="value" at {inside[at:].strip()!r}')
        if found["operator"] != "=":
            raise SelectorError(f'{whole!r}: {found["operator"]} is not understood, only label="value" is')
        quoted = found["double"] if found["double"] is not None else found["single"]
        value = found["bare"] if quoted is None else _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), quoted)
        yield found["label"], value
        at = found.end()
        if at < len(inside):
            if inside[at] != ",":
                raise SelectorError(f"{whole!r}: expected a comma before {inside[at:].strip()!r}")
            at += 1


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Where an engine tells the shape of its KV cache: on labels of one metric, or as two gauges."""

    info: MetricSelector | None = None
    """The metric whose labels tell it."""
    block_size_label: str = ""
    num_blocks_label: str = ""
    block_size: MetricSelector | None = None
    """The gauge with the tokens per block, for engines without an info metric."""
    num_blocks: MetricSelector | None = None


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """What one kind of model server calls the things that we want to know.

    None means that the engine doesn't tell: it counts as 0 and is never missed. A metric that is named here
    and isn't on the page makes the sample a failure.
    """

    name: str
    waiting: MetricSelector | None
    running: MetricSelector | None
    kv_utilization: MetricSelector | None
    lora: MetricSelector | None = None
    cache: CacheInfo = CacheInfo()
    path: str = DEFAULT_PATH
    """Where this engine keeps its page, unless the configuration says otherwise."""


def _engine(
    name: str,
    *,
    waiting: str,
    running: str = "",
    kv: str = "",
    lora: str = "",
    cache: CacheInfo = CacheInfo(),
    path: str = DEFAULT_PATH,
) -> EngineMetrics:
    def selector(text: str) -> MetricSelector | None:
        return MetricSelector.parse(text) if text else None

    return EngineMetrics(
        name=name,
        waiting=selector(waiting),
        running=selector(running),
        kv_utilization=selector(kv),
        lora=selector(lora),
        cache=cache,
        path=path,
    )


_ENGINES = (
    _engine(
        "vllm",
        waiting="vllm:num_requests_waiting",
        running="vllm:num_requests_running",
        kv="vllm:kv_cache_usage_perc",
        lora="vllm:lora_requests_info",
        cache=CacheInfo(
            info=MetricSelector("vllm:cache_config_info"),
            block_size_label="block_size",
            num_blocks_label="num_gpu_blocks",
        ),
    ),
    _engine(
        "sglang",
        waiting="sglang:num_queue_reqs",
        running="sglang:num_running_reqs",
        kv="sglang:token_usage",
        cache=CacheInfo(
            info=MetricSelector("sglang:cache_config_info"),
            block_size_label="page_size",
            num_blocks_label="num_pages",
        ),
    ),
    _engine(
        "trtllm-serve",
        waiting="trtllm_num_requests_waiting",
        running="trtllm_num_requests_running",
        kv="trtllm_kv_cache_utilization",
        cache=CacheInfo(
            block_size=MetricSelector("trtllm_kv_cache_tokens_per_block"),
            num_blocks=MetricSelector("trtllm_kv_cache_max_blocks"),
        ),
        path="/prometheus/metrics",
    ),
    _engine(
        "triton-tensorrt-llm",
        waiting="nv_trt_llm_request_metrics{request_type=waiting}",
        running="nv_trt_llm_request_metrics{request_type=scheduled}",
        kv="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}",
        cache=CacheInfo(
            block_size=MetricSelector.parse(
                "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}"
            ),
            num_blocks=MetricSelector.parse("nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}"),
        ),
    ),
    # Plain Triton's nv_inference_exec_count counts what ever ran, not what runs, so it can't be `running`.
    _engine("triton", waiting="nv_inference_pending_request_count"),
)

BUILT_IN_ENGINES: Mapping[str, EngineMetrics] = MappingProxyType({engine.name: engine for engine in _ENGINES})


class Scheme(Enum):
    """How metrics pages are fetched."""

    HTTP = "http"
    HTTPS = "https"


@dataclass(frozen=True, slots=True)
class ScrapeConfig:
    """How every model server of a pool is scraped."""

    scheme: Scheme = Scheme.HTTP
    path: str | None = None
    """The path of every page; None means each engine's own."""
    port: int | None = None
    """The port of every page; None means the endpoint's own."""
    insecure_skip_verify: bool = True
    """With https: take any certificate. Model servers' are self-signed as a rule, and a page is no secret."""
    engine_label: str = ENGINE_LABEL
    """The pod label that names the engine; the legacy one is looked at second."""
    default_engine: str = DEFAULT_ENGINE
    engines: Mapping[str, EngineMetrics] = field(default_factory=lambda: BUILT_IN_ENGINES)

    def __post_init__(self) -> None:
        if self.path is not None:
            _check_path(self.path)
        for name, engine in self.engines.items():
            _check_path(engine.path)
            if engine.name != name:
                raise ValueError(
                    f"engine {engine.name!r} is filed under {name!r}: file it under its own name"
                )
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is no TCP port: 1 to 65535")
        if self.default_engine not in self.engines:
            known = ", ".join(sorted(self.engines))
            raise ValueError(f"defaultEngine {self.default_engine!r} is unknown: take one of {known}")

    def engine_of(self, labels: Iterable[tuple[str, str]]) -> EngineMetrics:
        """The engine that a pod's labels name; the default for none and for an unknown one."""
        by_label = dict(labels)
        name = by_label.get(self.engine_label) or by_label.get(LEGACY_ENGINE_LABEL) or self.default_engine
        return self.engines.get(name) or self.engines[self.default_engine]


def _check_path(path: str) -> None:
    """A path goes into a request line as it is, so nothing may end that line early."""
    if not re.fullmatch(r"/[!-~]*", path):
        raise ValueError(f"path {path!r} is not usable: start with / and use printable ASCII without blanks")
