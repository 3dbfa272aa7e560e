"""How model servers are scraped, as values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.config.scrape import (
    BUILT_IN_ENGINES,
    ENGINE_LABEL,
    LEGACY_ENGINE_LABEL,
    EngineMetrics,
    MetricSelector,
    ScrapeConfig,
    SelectorError,
)


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        ("m", "m", {}),
        ("  vllm:num_requests_waiting ", "vllm:num_requests_waiting", {}),
        ("m{}", "m", {}),
        ("m{ }", "m", {}),
        ('m{a="b"}', "m", {"a": "b"}),
        ("m{a=b}", "m", {"a": "b"}),
        ("m{a='b'}", "m", {"a": "b"}),
        ('m { b = "2" , a=1, }', "m", {"a": "1", "b": "2"}),
        (r'm{a="\"}{,=\\"}', "m", {"a": '"}{,=\\'}),
        ('m{a=""}', "m", {"a": ""}),
        ("m{a=b,a=b}", "m", {"a": "b"}),
    ],
)
def test_a_selector_is_read(text: str, name: str, labels: dict[str, str]) -> None:
    """PromQL's form is understood, with quotes of both kinds and without any."""
    selector = MetricSelector.parse(text)
    assert (selector.name, dict(selector.labels)) == (name, labels)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write a name"),
        ("9m", "write a name"),
        ('{__name__="m"}', "write a name"),
        ("m[5m]", "after the name 'm' only"),
        ("m{a=b", "after the name 'm' only"),
        ("m{a=b} 3", "after the name 'm' only"),
        ("sum(m)", "after the name 'sum' only"),
        ("m{a!=b}", "!= is not understood"),
        ('m{a=~"b.*"}', "=~ is not understood"),
        ("m{a}", "expected label"),
        ("m{a=}", "expected label"),
        ("m{a=b c=d}", "expected a comma"),
        ("m{,}", "expected label"),
        ("m{a=b,a=c}", "two values of the label 'a'"),
    ],
)
def test_what_a_selector_cannot_say_is_refused(text: str, words: str) -> None:
    """The error quotes the selector and says what to write."""
    with pytest.raises(SelectorError, match=words) as caught:
        MetricSelector.parse(text)
    assert repr(text) in str(caught.value)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.text(max_size=8)))
def test_a_selector_survives_its_own_text(labels: dict[str, str]) -> None:
    """`str` and `parse` are each other's inverse, whatever is in the labels' values."""
    selector = MetricSelector("m", tuple(sorted(labels.items())))
    assert MetricSelector.parse(str(selector)) == selector


@pytest.mark.parametrize(
    ("labels", "engine"),
    [
        ({}, "vllm"),
        ({ENGINE_LABEL: "sglang"}, "sglang"),
        ({LEGACY_ENGINE_LABEL: "sglang"}, "sglang"),
        ({ENGINE_LABEL: "triton", LEGACY_ENGINE_LABEL: "sglang"}, "triton"),
        ({ENGINE_LABEL: "home-made"}, "vllm"),
        ({"app": "sglang"}, "vllm"),
    ],
)
def test_a_label_names_the_engine(labels: dict[str, str], engine: str) -> None:
    """The label goes before the legacy one; without one, and for an unknown name, it is the default."""
    assert ScrapeConfig().engine_of(labels.items()) is BUILT_IN_ENGINES[engine]


def test_the_label_and_the_default_can_be_chosen() -> None:
    """A configuration may look at another label and have another default."""
    mine = EngineMetrics(name="mine", waiting=None, running=None, kv_utilization=None)
    config = ScrapeConfig(
        engine_label="x/engine", default_engine="mine", engines={**BUILT_IN_ENGINES, "mine": mine}
    )
    assert config.engine_of([("x/engine", "vllm")]).name == "vllm"
    assert config.engine_of([(ENGINE_LABEL, "vllm")]) is mine


def test_trtllm_serve_keeps_its_page_elsewhere() -> None:
    """Every built-in engine has the path that it serves."""
    paths = {name: engine.path for name, engine in BUILT_IN_ENGINES.items()}
    assert paths.pop("trtllm-serve") == "/prometheus/metrics"
    assert set(paths.values()) == {"/metrics"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"path": "metrics"}, "start with /"),
        ({"path": "/a b"}, "without blanks"),
        ({"path": "/a\r\nHost: evil"}, "printable ASCII"),
        ({"port": 0}, "port 0"),
        ({"port": 65536}, "port 65536"),
        ({"default_engine": "home-made"}, "take one of sglang, "),
        ({"engines": {"vllm": BUILT_IN_ENGINES["sglang"]}}, "its own name"),
        (
            {
                "engines": {
                    "vllm": EngineMetrics("vllm", waiting=None, running=None, kv_utilization=None, path="m")
                }
            },
            "start with /",
        ),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict[str, object], words: str) -> None:
    """The error names the value and the remedy; nothing can break out of the request line."""
    with pytest.raises(ValueError, match=words):
        ScrapeConfig(**fields)  # type: ignore[arg-type] - each case has the right type for its field
