"""A configuration as a whole: versions, strictness, references, and all problems at once."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.config import ConfigError, default_config, parse_config, read_config
from epp.config.defaults import DEFAULT_CONFIG
from epp.core.fairness import TokenFairness
from epp.picking.pickers import MaxScorePicker
from epp.picking.scorers import KvCacheUtilizationScorer, QueueScorer

NOT_A_PARSER = "the specified plugin '{0}' is not a parser plugin in the config (type: {0})"
EVERYTHING = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates:
- flowControl
plugins:
- name: detector
  type: utilization-detector
  parameters:
    queueDepthThreshold: 7
    kvCacheUtilThreshold: 0.9
    metricsStalenessThreshold: 1s
    headroom: 0.0
- type: concurrency-detector
  parameters:
    concurrencyMode: hybrid
    maxConcurrency: 32
    maxTokenConcurrency: 4096
    headroom: 0.0
    inFlightLoadProducerName: inflight-load-producer
    maxConcurrencyLabel: slots
    maxConcurrencyByLabel:
    - label: gpu
      value: h100
      maxConcurrency: 64
    stalenessPolicy: last-sample
- type: token-fairness-policy
  parameters:
    inputTokenCost: 1
    outputTokenCost: 2.5
- type: program-aware-fairness
  parameters:
    strategy: las
    lasHalfLifeSeconds: 30
- type: priority-holdback-policy
  parameters:
    shape: linear
    domain: value
    minCeiling: 0.5
    maxCeiling: 0.9
- type: queue-scorer
- type: max-score-picker
  parameters:
    maxNumOfEndpoints: 1
- type: label-selector-filter
  parameters:
    matchLabels:
      zone: a
    matchExpressions:
    - key: gpu
      operator: In
      values: [h100]
- type: by-label
  parameters:
    label: tier
    validValues: [one]
    allowsNoLabel: true
- type: static-usage-limit-policy
  parameters:
    threshold: 0.75
- type: openai-parser
- type: metrics-data-source
  parameters:
    scheme: https
    path: /stats
    port: 9400
    insecureSkipVerify: false
    caCertPath: ""
    clientCertPath: ""
    clientKeyPath: ""
    interval: ""
- type: core-metrics-extractor
  parameters:
    engineLabelKey: engine
    defaultEngine: mine
    engineConfigs:
    - name: mine
      queuedRequestsSpec: mine_queue
      runningRequestsSpec: mine_running{stage="decode"}
      kvUsageSpec: mine_kv
      loraSpec: mine_lora
      cacheInfoSpec: mine_cache
      cacheBlockSizeLabelName: block
      cacheNumBlocksLabelName: blocks
      cacheBlockSizeSpec: mine_block_size
      cacheNumBlocksSpec: mine_blocks
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 2.5
saturationDetector:
  pluginRef: detector
dataLayer:
  injectDefaults: true
  sources:
  - pluginRef: metrics-data-source
    extractors:
    - pluginRef: core-metrics-extractor
  peerDiscovery:
    pluginRef: peers
  crossReplicaSyncerPluginRef: syncer
  crossReplicaSyncInterval: 200ms
flowControl:
  maxBytes: 1Gi
  maxRequests: 10k
  defaultRequestTTL: 30s
  noEndpointRequestTTL: 5m
  usageLimitPolicyPluginRef: static-usage-limit-policy
  maxFlows: 100
  maxSubsets: 10
  maxRequestTTL: 5m
  earlyRefusal: when-sure
  explainHeaders: on
  enableEviction: true
  eviction:
    belowPriority: 5
    begun: evicted
    mostAtOnce: 3
    grace: 20ms
    confirmWithin: 5s
  learnedLimit:
    mode: on
    min: 2
    max: 100
    initial: 10
  estimates:
    bytesPerToken: 3.5
    outputTokens: 100
  weights:
  - fairnessID: one
    weight: 2
  - pattern: team-*
    weight: 0.5
  saturationDetector:
    pluginRef: detector
  defaultPriorityBand:
    maxRequests: 100
  defaultNegativePriorityBand:
    maxRequests: 10
  priorityBands:
  - priority: 10
    maxBytes: 1M
    maxRequests: 7
    fairnessPolicyRef: global-strict-fairness-policy
    orderingPolicyRef: fcfs-ordering-policy
    ttl: 10s
    noEndpointTTL: 20s
    maxRequestsPerFlow: 5
    maxBytesPerFlow: 1k
    maxInFlightPerFlow: 3
requestHandler:
  parsers:
  - pluginRef: openai-parser
parser:
  pluginRef: openai-parser
"""


def lines_and_keys() -> list[tuple[int, str]]:
    """Every key of `EVERYTHING` that is a field's name, with its line."""
    free = {"zone"}  # a label of the user's own, not a field
    return [
        (number, line.strip().removeprefix("- ").partition(":")[0])
        for number, line in enumerate(EVERYTHING.splitlines(), start=1)
        if ":" in line and line.strip().removeprefix("- ").partition(":")[0] not in free
    ]


def test_the_whole_schema_is_accepted():
    """Every field that upstream knows, and all of ours, parse; only what has no effect here is noted."""
    config = parse_config(EVERYTHING, source="test.yaml")
    assert config.plugins[:2] == ("detector", "concurrency-detector")
    assert sorted(note.partition(" ")[0] for note in config.notes) == [
        "dataLayer.peerDiscovery",
        "plugin",  # by-label is deprecated
        "top-level",
        "top-level",
    ]


def test_one_text_gives_one_configuration():
    """Reading it again gives an equal one, so a reload can tell that nothing changed; another value, another one."""
    config = parse_config(EVERYTHING, source="test.yaml")
    assert parse_config(EVERYTHING, source="test.yaml") == config
    for before, after in (
        ("weight: 0.5", "weight: 0.6"),
        ("ttl: 10s", "ttl: 11s"),
        ("grace: 20ms", "grace: 2ms"),
    ):
        other = parse_config(EVERYTHING.replace(before, after), source="test.yaml")
        assert other.flow_control != config.flow_control


@pytest.mark.parametrize(("line", "key"), lines_and_keys())
def test_a_misspelt_key_is_found_on_its_line(line, key):
    """Doubling a letter anywhere in the schema gives that line, that field, and the right name."""
    misspelt = key[0] + key
    text = EVERYTHING.splitlines()
    text[line - 1] = text[line - 1].replace(f"{key}:", f"{misspelt}:", 1)
    with pytest.raises(ConfigError) as caught:
        parse_config("\n".join(text), source="test.yaml")
    unknown = [
        problem for problem in caught.value.problems if f'unknown field "{misspelt}"' in problem.message
    ]
    assert [problem.line for problem in unknown] == [line]
    assert f"did you mean '{key}'?" in unknown[0].message
    assert unknown[0].field.endswith(misspelt)


def test_json_is_the_same():
    """The same document as JSON, compact or with tabs, means the same."""
    document = yaml.safe_load(EVERYTHING)
    expected = parse_config(EVERYTHING, source="a file")
    for indent in (None, "\t"):
        assert parse_config(json.dumps(document, indent=indent), source="a file") == expected


def test_the_deprecated_version_means_the_same():
    """The older apiVersion is accepted with a note that names the newer."""
    older = EVERYTHING.replace("llm-d.ai/v1alpha1", "inference.networking.x-k8s.io/v1alpha1")
    newer = parse_config(EVERYTHING, source="test.yaml")
    config = parse_config(older, source="test.yaml")
    assert config.flow_control == newer.flow_control
    assert [note for note in config.notes if note not in newer.notes] == [
        "apiVersion inference.networking.x-k8s.io/v1alpha1 is deprecated: write llm-d.ai/v1alpha1"
    ]


@pytest.mark.parametrize(
    ("first_lines", "field", "message"),
    [
        ("kind: EndpointPickerConfig", "apiVersion", "is required: write llm-d.ai/v1alpha1"),
        ("apiVersion: llm-d.ai/v1alpha1", "kind", "is required: write EndpointPickerConfig"),
        (
            "apiVersion: llm-d.ai/v1\nkind: EndpointPickerConfig",
            "apiVersion",
            "no kind EndpointPickerConfig is registered for version 'llm-d.ai/v1'; did you mean 'llm-d.ai/v1alpha1'?",
        ),
        (
            "apiVersion: llm-d.ai/v1alpha1\nkind: InferencePool",
            "kind",
            "must be EndpointPickerConfig, got 'InferencePool'; objects of the cluster belong to --objects PATH",
        ),
        ("just some text", "", 'must be a mapping, got "just some text"'),
        ("- a\n- list", "", "must be a mapping, got a list"),
    ],
)
def test_what_is_no_configuration_is_refused(first_lines, field, message):
    """A document of another kind or version, or of no kind, is one clear problem."""
    with pytest.raises(ConfigError) as caught:
        parse_config(first_lines, source="test.yaml")
    assert [(problem.field, problem.message) for problem in caught.value.problems] == [(field, message)]


def test_all_problems_are_reported_at_once(problems):
    """One run names everything: syntax of keys, plugins, references, values; sorted by line."""
    found = problems(
        """
        featureGates: [flowcontrol]
        plugins:
        - type: queue-scorr
        - type: queue-scorer
          parameters: {threshold: 3}
        - name: nameless
        schedulingProfiles:
        - name: default
          plugins:
          - pluginRef: queue-scorer
            wieght: 2
          - pluginRef: nope
        flowControl:
          maxBytes: 1GB
          maxBytes: 2G
          defaultRequestTTL: -5s
          priorityBands:
          - priority: 5
          - priority: 5
        """
    )
    assert [(problem.line, problem.field) for problem in found] == [
        (3, "featureGates[0]"),
        (5, "plugins[0].type"),
        (7, "plugins[1].parameters.threshold"),
        (8, "plugins[2].type"),
        (13, "schedulingProfiles[0].plugins[0].wieght"),
        (14, "schedulingProfiles[0].plugins[1].pluginRef"),
        (16, "flowControl.maxBytes"),
        (17, "flowControl.maxBytes"),
        (18, "flowControl.defaultRequestTTL"),
        (21, "flowControl.priorityBands[1].priority"),
    ]


def test_the_error_reads_as_lines_of_a_log():
    """An error as text is one line for each problem: source, line, field, message."""
    with pytest.raises(ConfigError) as caught:
        parse_config("kind: EndpointPickerConfig\nflowControll: {}\n", source="my.yaml")
    assert str(caught.value).splitlines() == [
        "my.yaml:1: apiVersion: is required: write llm-d.ai/v1alpha1",
        "my.yaml:2: flowControll: unknown field \"flowControll\"; did you mean 'flowControl'?",
    ]


def test_an_odd_key_does_not_break_the_lines():
    """A key with a line break in it is shown quoted, so every problem stays on one line."""
    with pytest.raises(ConfigError) as caught:
        parse_config(EVERYTHING + '"x\\ny": 1\n', source="test.yaml")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing yet\n"])
def test_an_empty_text_is_the_default_configuration(text):
    """As upstream, no text means the defaults."""
    assert parse_config(text, source="default configuration") == default_config()


def test_the_default_configuration_is_upstreams():
    """Queue x2, KV x2, prefix x3 (noted), max-score; ours: by tokens, 60 s on both clocks, no note about the gate."""
    config = default_config()
    assert config.profile.scorers == (QueueScorer(2.0), KvCacheUtilizationScorer(2.0))
    assert config.profile.picker == MaxScorePicker()
    assert (config.flow_control.ttl_s, config.flow_control.hold_s) == (60.0, 60.0)
    assert config.flow_control.default_band.fairness == TokenFairness()
    assert (config.flow_control.default_band.max_requests, config.flow_control.default_band.max_bytes) == (
        5000,
        10**9,
    )
    assert (config.flow_control.max_requests, config.flow_control.max_bytes) == (None, None)
    assert config.parsers == ("openai-parser",)
    (note,) = config.notes
    assert note == (
        "plugin 'prefix-cache-scorer' has no effect (its weight 3 is ignored): "
        "endpoints are not yet scored by the prefixes that they have cached"
    )


def test_the_default_text_says_what_holds_anyway(parsed):
    """What the default text spells out of flow control is what a configuration without it gets."""
    assert parsed("plugins: []").flow_control == default_config().flow_control
    assert parsed("plugins: []").scrape == parse_config(DEFAULT_CONFIG, source="x").scrape


@pytest.mark.parametrize("value", ["null", "~", ""])
def test_null_counts_as_absent(parsed, value):
    """A field without a value is a field that isn't there, as in Kubernetes."""
    config = parsed(
        f"""
        featureGates: {value}
        plugins: {value}
        schedulingProfiles: {value}
        dataLayer: {value}
        flowControl: {value}
        requestHandler: {value}
        """
    )
    assert config.flow_control == default_config().flow_control


def test_wrong_shapes_are_named(problems):
    """A list where a mapping belongs, and the other way round, is said in words."""
    found = problems(
        """
        featureGates: flowControl
        plugins: {type: queue-scorer}
        flowControl: []
        dataLayer: 7
        requestHandler: {parsers: [openai-parser]}
        """
    )
    assert [(problem.field, problem.message) for problem in found] == [
        ("featureGates", 'must be a list, got "flowControl"'),
        ("plugins", "must be a list, got a mapping"),
        ("flowControl", "must be a mapping, got a list"),
        ("dataLayer", "must be a mapping, got 7"),
        ("requestHandler.parsers[0]", 'must be a mapping, got "openai-parser"'),
    ]


def test_parsers_keep_their_order(parsed):
    """The list is in force as written, each type once; a parser that is always there need not be listed."""
    config = parsed(
        "requestHandler: {parsers: [{pluginRef: passthrough-parser}, {pluginRef: openai-parser}]}"
    )
    assert config.parsers == ("passthrough-parser", "openai-parser")


def test_the_older_parser_field_is_used_and_noted(parsed):
    """Top-level `parser` works until `requestHandler.parsers` is set."""
    older = parsed("parser: {pluginRef: passthrough-parser}")
    assert older.parsers == ("passthrough-parser",)
    assert any("top-level parser is deprecated" in note for note in older.notes)
    both = parsed(
        "parser: {pluginRef: passthrough-parser}\nrequestHandler: {parsers: [{pluginRef: openai-parser}]}"
    )
    assert both.parsers == ("openai-parser",)


def test_unparsed_is_what_other_parsers_come_to(parsed):
    """Requests for a parser that we don't have are passed on unparsed, and that is noted."""
    config = parsed(
        """
        plugins: [{type: vllmgrpc-parser}]
        requestHandler: {parsers: [{pluginRef: vllmgrpc-parser}]}
        """
    )
    assert config.parsers == ("passthrough-parser",)
    assert (
        "plugin 'vllmgrpc-parser' has no effect: requests on its paths are queued and passed on unparsed"
        in config.notes
    )


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("openai-parsr", "the configured parser 'openai-parsr' is not loaded; did you mean 'openai-parser'?"),
        (
            "anthropic-parser",
            "the configured parser 'anthropic-parser' is not loaded: add '- type: anthropic-parser' to plugins",
        ),
        (
            "queue-scorer",
            f"{NOT_A_PARSER.format('queue-scorer')}: use openai-parser or passthrough-parser",
        ),
        (
            "prefix-cache-scorer",
            f"{NOT_A_PARSER.format('prefix-cache-scorer')}: use openai-parser or passthrough-parser",
        ),
        ('""', "is missing a 'pluginRef': name a parser of plugins"),
    ],
)
def test_a_wrong_parser_is_refused(problems, reference, message):
    """In upstream's words, with a remedy; in the older field as in the newer."""
    plugins = "plugins: [{type: queue-scorer}, {type: prefix-cache-scorer}]\n"
    for section in ("parser: {{pluginRef: {0}}}", "requestHandler: {{parsers: [{{pluginRef: {0}}}]}}"):
        (problem,) = problems(plugins + section.format(reference))
        assert (problem.line, problem.message) == (4, message)
        assert problem.field.endswith(".pluginRef")


def test_a_file_is_read_with_its_name(tmp_path):
    """A file's problems carry its path; a byte order mark does no harm."""
    path = tmp_path / "config.yaml"
    path.write_text("\ufeff" + EVERYTHING, encoding="utf-8")
    assert read_config(path).source == str(path)
    path.write_text("kind: Nope\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}:1: ")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    """Missing, a folder, or not UTF-8: a `ConfigError` like any other."""
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"kind: x\n# \xe9t\xe9\n")
    for path, line, message in [
        (tmp_path / "missing.yaml", 1, "can't be read: No such file or directory"),
        (tmp_path, 1, "can't be read: Is a directory"),
        (latin, 2, "is not UTF-8: byte 0xe9; save the file as UTF-8"),
    ]:
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        assert [(problem.line, problem.message) for problem in caught.value.problems] == [(line, message)]


def test_a_usual_configuration_of_upstream_is_accepted(parsed):
    """A role filter, a prefix scorer, a picker and a handler, as in most of upstream's samples: notes, no error."""
    config = parsed(
        """
        plugins:
        - type: approx-prefix-cache-producer
          parameters: {maxPrefixTokensToMatch: 16384, lruCapacityPerServer: 31250}
        - type: prefix-cache-scorer
        - type: load-aware-scorer
        - type: queue-scorer
        - type: decode-filter
        - type: max-score-picker
        - type: single-profile-handler
        schedulingProfiles:
        - name: default
          plugins:
          - pluginRef: decode-filter
          - pluginRef: max-score-picker
          - {pluginRef: prefix-cache-scorer, weight: 2}
          - {pluginRef: load-aware-scorer, weight: 1}
          - {pluginRef: queue-scorer, weight: 1}
        """
    )
    assert config.profile.scorers == (QueueScorer(1.0),)
    assert [note.partition(" has no effect")[0] for note in config.notes if "has no effect" in note] == [
        "plugin 'approx-prefix-cache-producer'",
        "plugin 'prefix-cache-scorer'",
        "plugin 'load-aware-scorer'",
    ]


def test_a_disaggregated_configuration_of_upstream_is_refused(problems):
    """Prefill and decode apart is not what this picker does: each part that says so is named, with what to do."""
    found = problems(
        """
        plugins:
        - type: prefill-filter
        - type: decode-filter
        - type: disagg-profile-handler
          parameters: {deciders: {prefill: prefix-based-pd-decider}}
        - type: prefix-based-pd-decider
          parameters: {nonCachedTokens: 16}
        schedulingProfiles:
        - {name: prefill, plugins: [{pluginRef: prefill-filter}]}
        - {name: decode, plugins: [{pluginRef: decode-filter}]}
        """
    )
    assert [problem.field for problem in found] == [
        "plugins[2].type",
        "plugins[3].type",
        "schedulingProfiles[1]",
    ]
    assert all("keep one" in problem.message for problem in found)


scalars = st.sampled_from(
    ["", "null", "1", "-1", "0.5", "1e9", "x", "true", "queue-scorer", "60s", "1Gi", "[", "'q'"]
)
keys = st.sampled_from(
    sorted({key for _, key in lines_and_keys()} | {"<<", "x"}),
)
documents = st.recursive(
    scalars | st.none() | st.integers() | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None)
@given(document=st.dictionaries(keys, documents, max_size=6))
def test_no_document_crashes_the_parser(document):
    """Whatever stands where, the result is a configuration or a `ConfigError` with problems."""
    try:
        config = parse_config(yaml.safe_dump(document), source="test.yaml")
    except ConfigError as error:
        problems = error.problems
    else:
        problems = (config,)
    assert problems
