"""The `dataLayer` section, and the plugins that say how metrics are scraped."""

from __future__ import annotations

import pytest

from epp.config.scrape import BUILT_IN_ENGINES, MetricSelector, Scheme, ScrapeConfig

SOURCE = "metrics-data-source"
SOURCES = """
dataLayer:
  sources:
  - pluginRef: metrics-data-source
    extractors:
    - pluginRef: core-metrics-extractor
"""


@pytest.mark.parametrize("section", ["", "dataLayer: {}", "dataLayer: {injectDefaults: true}"])
def test_metrics_are_scraped_by_default(parsed, section):
    """Without a word about it: http, each engine's own path, the endpoint's own port."""
    assert parsed(section).scrape == ScrapeConfig()


@pytest.mark.parametrize("sources", [SOURCES, ""])
def test_parameters_arrive(parsed, sources):
    """Both plugins' parameters count, whether the section names them or, as upstream, takes them by their names."""
    scrape = parsed(
        """
plugins:
- type: metrics-data-source
  parameters: {scheme: https, path: /stats, port: 9400, insecureSkipVerify: false}
- type: core-metrics-extractor
  parameters:
    engineLabelKey: engine
    defaultEngine: mine
    engineConfigs:
    - name: mine
      queuedRequestsSpec: mine_queue{stage=decode}
      kvUsageSpec: ""
    - name: trtllm-serve
      queuedRequestsSpec: other_queue
"""
        + sources
    ).scrape
    assert scrape is not None
    assert (scrape.scheme, scrape.path, scrape.port, scrape.insecure_skip_verify) == (
        Scheme.HTTPS,
        "/stats",
        9400,
        False,
    )
    assert (scrape.engine_label, scrape.default_engine) == ("engine", "mine")
    mine = scrape.engines["mine"]
    assert mine.waiting == MetricSelector("mine_queue", (("stage", "decode"),))
    assert (mine.running, mine.kv_utilization, mine.path) == (None, None, "/metrics")
    assert scrape.engines["vllm"] == BUILT_IN_ENGINES["vllm"]
    assert scrape.engines["trtllm-serve"].waiting == MetricSelector("other_queue")
    assert scrape.engines["trtllm-serve"].path == "/prometheus/metrics"


def test_a_source_of_another_name_is_used_when_named(parsed):
    """References go by name."""
    scrape = parsed(
        """
        plugins: [{name: pages, type: metrics-data-source, parameters: {port: 9400}}]
        dataLayer: {sources: [{pluginRef: pages}]}
        """
    ).scrape
    assert scrape is not None
    assert scrape.port == 9400


def test_scraping_can_be_taken_away(parsed):
    """Without the default source and without another there is nothing to scrape, and a note says what then counts."""
    config = parsed("featureGates: [flowControl]\ndataLayer: {injectDefaults: false}\n")
    assert config.scrape is None
    (note,) = config.notes
    assert note.startswith("dataLayer.injectDefaults is false and there is no metrics-data-source")


def test_a_named_source_needs_no_injection(parsed):
    """`injectDefaults: false` beside a source of one's own takes nothing away."""
    plugins = "plugins: [{type: metrics-data-source}, {type: core-metrics-extractor}]\n"
    config = parsed(plugins + SOURCES.lstrip() + "  injectDefaults: false\n")
    assert config.scrape == ScrapeConfig()


def test_other_sources_are_left_out(parsed):
    """Sources and extractors that we don't have may stand beside the one that counts."""
    config = parsed(
        """
        featureGates: [flowControl]
        plugins:
        - type: endpoint-notification-source
        - type: precise-prefix-cache-producer
        dataLayer:
          sources:
          - pluginRef: endpoint-notification-source
            extractors: [{pluginRef: precise-prefix-cache-producer}]
        """
    )
    assert config.scrape == ScrapeConfig()
    assert len(config.notes) == 2


@pytest.mark.parametrize(
    ("body", "line", "field", "message"),
    [
        (
            "dataLayer: {sources: [{pluginRef: nothing}]}",
            3,
            "dataLayer.sources[0].pluginRef",
            "the plugin nothing is not registered: use metrics-data-source",
        ),
        (
            "plugins: [{type: queue-scorer}]\ndataLayer: {sources: [{pluginRef: queue-scorer}]}",
            4,
            "dataLayer.sources[0].pluginRef",
            "the plugin queue-scorer is not a fwkdl.DataSource (type: queue-scorer): use metrics-data-source",
        ),
        (
            "dataLayer: {sources: [{extractors: []}]}",
            3,
            "dataLayer.sources[0].pluginRef",
            "is missing a 'pluginRef': name a source of plugins",
        ),
        (
            (
                "plugins: [{type: metrics-data-source}]\n"
                "dataLayer: {sources: [{pluginRef: metrics-data-source,"
                " extractors: [{pluginRef: metrics-data-source}]}]}"
            ),
            4,
            "dataLayer.sources[0].extractors[0].pluginRef",
            f"the plugin {SOURCE} is not an extractor (type: {SOURCE}): use core-metrics-extractor",
        ),
        (
            (
                "plugins: [{type: metrics-data-source}]\n"
                "dataLayer:\n  sources:\n  - pluginRef: metrics-data-source\n  - pluginRef: metrics-data-source\n"
            ),
            7,
            "dataLayer.sources[1]",
            "a second metrics-data-source: endpoints have one metrics page, keep one source",
        ),
        (
            "dataLayer: {discovery: {pluginRef: files}}",
            3,
            "dataLayer.discovery",
            "is not supported: remove it and start with --objects PATH, which reads the pool and its pods from files",
        ),
        (
            "dataLayer: {injectDefault: false}",
            3,
            "dataLayer.injectDefault",
            "unknown field \"injectDefault\"; did you mean 'injectDefaults'?",
        ),
    ],
)
def test_wrong_sections(problems, body, line, field, message):
    """Each fault in upstream's words, with its line and a remedy."""
    (problem,) = problems(body + "\n")
    assert problem == (line, field, message)


@pytest.mark.parametrize(
    ("type_name", "parameters", "field", "message"),
    [
        (
            "metrics-data-source",
            "{scheme: ftp}",
            "scheme",
            'must be one of http, https, got "ftp"',
        ),
        ("metrics-data-source", "{path: metrics}", "path", "path 'metrics' is not usable"),
        ("metrics-data-source", "{port: 0}", "port", "must be at least 1 and at most 65535, got 0"),
        ("metrics-data-source", "{port: 65536}", "port", "must be at least 1 and at most 65535, got 65536"),
        (
            "metrics-data-source",
            "{insecureSkipVerify: 'true'}",
            "insecureSkipVerify",
            'must be true or false, got "true"',
        ),
        (
            "core-metrics-extractor",
            "{defaultEngine: vlm}",
            "defaultEngine",
            "defaultEngine \"vlm\" not found in engineConfigs; did you mean 'vllm'?",
        ),
        (
            "core-metrics-extractor",
            "{engineConfigs: [{queuedRequestsSpec: a}]}",
            "engineConfigs[0].name",
            "engine config name cannot be empty",
        ),
        (
            "core-metrics-extractor",
            "{engineConfigs: [{name: default}]}",
            "engineConfigs[0].name",
            'engine config name cannot be "default" (reserved): use defaultEngine',
        ),
        (
            "core-metrics-extractor",
            "{engineConfigs: [{name: a}, {name: a}]}",
            "engineConfigs[1].name",
            "the engine 'a' is described twice, first on line 6",
        ),
        (
            "core-metrics-extractor",
            "{engineConfigs: [{name: a, kvUsageSpec: '9x'}]}",
            "engineConfigs[0].kvUsageSpec",
            "'9x' is no metric",
        ),
        (
            "core-metrics-extractor",
            "{engineConfigs: [{name: a, kvUsageSpecs: x}]}",
            "engineConfigs[0].kvUsageSpecs",
            "unknown field \"kvUsageSpecs\"; did you mean 'kvUsageSpec'?",
        ),
    ],
)
def test_wrong_parameters(problems, type_name, parameters, field, message):
    """Every wrong parameter of the two plugins has its path, the value and the remedy."""
    (problem,) = problems(f"plugins:\n- name: mine\n  type: {type_name}\n  parameters: {parameters}\n")
    assert (problem.line, problem.field) == (6, f"plugins[0].parameters.{field}")
    assert problem.message.startswith(f"failed to create plugin 'mine' (type: {type_name}): {message}")


def test_metrics_of_ones_own_are_noted(parsed):
    """Upstream's custom metrics have no reader here."""
    config = parsed(
        """
        featureGates: [flowControl]
        plugins:
        - type: core-metrics-extractor
          parameters:
            engineConfigs: [{name: a, customMetrics: [{attributeKey: x, metricSpec: y}]}]
        """
    )
    (note,) = config.notes
    assert note.startswith("plugins[0].parameters.engineConfigs[0].customMetrics has no effect")
