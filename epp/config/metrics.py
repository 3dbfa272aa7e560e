"""The parameters of the metrics source and the metrics extractor, which become a `ScrapeConfig`."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from epp.config.plugins import MetricsExtractorPlugin, MetricsSourcePlugin
from epp.config.problems import suggest
from epp.config.scrape import (
    BUILT_IN_ENGINES,
    DEFAULT_ENGINE,
    DEFAULT_PATH,
    ENGINE_LABEL,
    CacheInfo,
    EngineMetrics,
    MetricSelector,
    Scheme,
    ScrapeConfig,
    SelectorError,
)

if TYPE_CHECKING:
    from epp.config.fields import Fields

_RESERVED_NAME = "default"
_WITHOUT_EFFECT = {
    "caCertPath": "a model server's certificate is checked against the system's authorities",
    "clientCertPath": "metrics are fetched without a client certificate",
    "clientKeyPath": "metrics are fetched without a client certificate",
    "interval": "every endpoint is scraped each --refresh-metrics-interval",
}

DEFAULT_SOURCE = MetricsSourcePlugin(Scheme.HTTP, None, None, insecure_skip_verify=True)
DEFAULT_EXTRACTOR = MetricsExtractorPlugin(ENGINE_LABEL, DEFAULT_ENGINE, BUILT_IN_ENGINES)


def read_metrics_data_source(fields: Fields) -> MetricsSourcePlugin:
    """Where the pages are; without a path each engine's own."""
    for key, instead in _WITHOUT_EFFECT.items():
        if fields.text(key):
            fields.findings.note(f"{fields.path}.{key} has no effect yet: {instead}")
    scheme = fields.choice("scheme", Scheme.HTTP)
    path = fields.text("path") or None
    if path is not None:
        try:
            ScrapeConfig(path=path)
        except ValueError as error:
            fields.fail("path", str(error))
            path = None
    port = fields.whole("port", 0, least=1, most=65535) or None
    return MetricsSourcePlugin(
        scheme, path, port, insecure_skip_verify=fields.flag("insecureSkipVerify", default=True)
    )


def read_core_metrics_extractor(fields: Fields) -> MetricsExtractorPlugin:
    """The engines: the built-in ones, and those of the configuration, which win."""
    engines = dict(BUILT_IN_ENGINES)
    lines: dict[str, int] = {}
    for section in fields.sections("engineConfigs"):
        engine = _engine(section)
        section.close()
        if not engine.name:
            section.require("name", "engine config name cannot be empty")
        elif engine.name == _RESERVED_NAME:
            section.fail(
                "name", f'engine config name cannot be "{_RESERVED_NAME}" (reserved): use defaultEngine'
            )
        elif engine.name in lines:
            section.fail(
                "name", f"the engine {engine.name!r} is described twice, first on line {lines[engine.name]}"
            )
        else:
            lines[engine.name] = section.line
            engines[engine.name] = engine
    default = fields.text("defaultEngine", DEFAULT_ENGINE)
    if default not in engines:
        fields.fail(
            "defaultEngine",
            f'defaultEngine "{default}" not found in engineConfigs{suggest(default, engines)}',
        )
        default = DEFAULT_ENGINE
    return MetricsExtractorPlugin(
        fields.text("engineLabelKey") or ENGINE_LABEL, default, MappingProxyType(engines)
    )


def _engine(fields: Fields) -> EngineMetrics:
    if fields.has("customMetrics"):
        fields.findings.note(f"{fields.path}.customMetrics has no effect: nothing here uses other metrics")
    name = fields.text("name")
    info = _selector(fields, "cacheInfoSpec")
    built_in = BUILT_IN_ENGINES.get(name)
    return EngineMetrics(
        name=name,
        waiting=_selector(fields, "queuedRequestsSpec"),
        running=_selector(fields, "runningRequestsSpec"),
        kv_utilization=_selector(fields, "kvUsageSpec"),
        lora=_selector(fields, "loraSpec"),
        cache=CacheInfo(
            info=info,
            block_size_label=fields.text("cacheBlockSizeLabelName") or ("block_size" if info else ""),
            num_blocks_label=fields.text("cacheNumBlocksLabelName") or ("num_gpu_blocks" if info else ""),
            block_size=_selector(fields, "cacheBlockSizeSpec"),
            num_blocks=_selector(fields, "cacheNumBlocksSpec"),
        ),
        path=built_in.path if built_in else DEFAULT_PATH,
    )


def _selector(fields: Fields, key: str) -> MetricSelector | None:
    """The metric that a spec names; None for an empty one, which says that the engine doesn't tell."""
    text = fields.text(key)
    if not text:
        return None
    try:
        return MetricSelector.parse(text)
    except SelectorError as error:
        fields.fail(key, str(error))
        return None
