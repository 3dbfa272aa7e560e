"""Annotations: read where they are right, ignored with a warning where they are not."""

import pytest

from epp.api.annotations import Annotations
from epp.api.problem import Severity
from epp.api.schema import MAX_PROBLEMS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("1m30s", 90.0), ("250ms", 0.25), ("0", 0.0), ("0s", 0.0), ("+5s", 5.0)],
)
def test_a_queue_ttl_is_a_go_duration(text, seconds):
    """Go durations come out in seconds, zero included."""
    annotations = Annotations({"epp/queue-ttl": text})
    assert annotations.queue_ttl_s() == seconds
    assert annotations.problems() == []


@pytest.mark.parametrize("text", ["", "30", "-5s", "soon", "1h-3s", "s", " 30s"])
def test_a_bad_queue_ttl_is_ignored_with_a_warning(text):
    """The warning names the annotation and the remedy, and the objective has no TTL of its own."""
    annotations = Annotations({"epp/queue-ttl": text})
    assert annotations.queue_ttl_s() is None
    (problem,) = annotations.problems()
    assert problem.severity is Severity.WARNING
    assert problem.field == 'metadata.annotations["epp/queue-ttl"]'
    assert "such as 30s" in problem.message


@pytest.mark.parametrize(
    ("text", "weight"),
    [("2", 2.0), ("0.5", 0.5), (".5", 0.5), ("3.", 3.0), ("1000000", 1e6), ("0.001", 0.001)],
)
def test_a_weight_is_a_positive_number(text, weight):
    """Plain decimals within the bounds count."""
    assert Annotations({"epp/weight": text}).weight() == weight


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "nan", "inf", "1e3", "1_000", "0.0001", "1000001", "9" * 5000, "٣", "heavy"]
)
def test_a_bad_weight_counts_as_one_with_a_warning(text):
    """What is no plain positive number within the bounds can't upset the fair shares."""
    annotations = Annotations({"epp/weight": text})
    assert annotations.weight() == 1.0
    assert [problem.severity for problem in annotations.problems()] == [Severity.WARNING]


def test_without_annotations_there_are_defaults_and_no_problems():
    """No TTL of its own, weight 1, no limit, all ports."""
    annotations = Annotations({"someone.else/annotation": "x"})
    assert annotations.queue_ttl_s() is None
    assert annotations.weight() == 1.0
    assert annotations.max_concurrency() is None
    assert annotations.models() == frozenset()
    assert annotations.active_ports() is None
    assert annotations.problems() == []


@pytest.mark.parametrize(("text", "limit"), [("32", 32), ("0", 0), ("1", 1)])
def test_a_pods_limit_is_a_whole_number(text, limit):
    """Zero is a limit too: it sends the pod nothing."""
    assert Annotations({"epp/max-concurrency": text}).max_concurrency() == limit


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "9999999999", "٣"])
def test_a_bad_limit_is_ignored_with_a_warning(text):
    """The pod works without a limit of its own, and its owner is told."""
    annotations = Annotations({"epp/max-concurrency": text})
    assert annotations.max_concurrency() is None
    assert len(annotations.problems()) == 1


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("llama", {"llama"}),
        (" meta-llama/Llama-3.1-8B , sql:v2 ", {"meta-llama/Llama-3.1-8B", "sql:v2"}),
        ("größe", {"größe"}),
        (",".join(f"m{n}" for n in range(64)), {f"m{n}" for n in range(64)}),
        ("x" * 256, {"x" * 256}),
    ],
)
def test_a_pods_models_are_names_with_commas(text, models):
    """One to 64 printable names; blanks around them don't count."""
    annotations = Annotations({"epp/models": text})
    assert annotations.models() == models
    assert annotations.problems() == []


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "must be names of models with commas between"),
        (" ", "must be names of models with commas between"),
        ("llama,", "must be names of models with commas between"),
        ("llama,,sql", "must be names of models with commas between"),
        ("llama\x07", "must be names of models with commas between"),
        ("x" * 257, "each of 1 to 256 printable characters"),
        ("sql,llama, sql", 'must name every model once, and names "sql" twice'),
        (",".join(f"m{n}" for n in range(65)), "must name at most 64 models"),
        ("," * 200_000, "must name at most 64 models"),
    ],
)
def test_bad_models_are_ignored_with_a_warning(text, remedy):
    """A pod whose annotation says no models serves whatever the pool serves, and its owner is told."""
    annotations = Annotations({"epp/models": text})
    assert annotations.models() == frozenset()
    (problem,) = annotations.problems()
    assert (problem.severity, problem.path[-1]) == (Severity.WARNING, "epp/models")
    assert remedy in problem.message
    assert len(problem.message) < 250


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, None),
        ({"llm-d.ai/active-ports": "8000,8002"}, {8000, 8002}),
        ({"llm-d.ai/active-ports": " 8000 , ,8001"}, {8000, 8001}),
        ({"llm-d.ai/active-ports": ""}, set()),
        ({"inference.networking.k8s.io/active-ports": "8001"}, {8001}),
        ({"llm-d.ai/active-ports": "8000", "inference.networking.k8s.io/active-ports": "8001"}, {8000}),
        ({"llm-d.ai/active-ports": "", "inference.networking.k8s.io/active-ports": "8001"}, set()),
    ],
)
def test_active_ports_restrict_and_an_empty_annotation_means_none(given, ports):
    """The canonical annotation wins over the legacy one, also when it is empty."""
    assert Annotations(given).active_ports() == ports


def test_a_bad_port_is_skipped_and_the_others_count():
    """Every entry that is no port gets its own warning."""
    annotations = Annotations({"llm-d.ai/active-ports": "8000,http,0,65536,-1"})
    assert annotations.active_ports() == {8000}
    assert [problem.value for problem in annotations.problems()] == ['"http"', '"0"', '"65536"', '"-1"']


def test_a_misspelt_annotation_of_ours_gets_a_warning_with_the_right_name():
    """`epp/` is our prefix, so whatever else stands there is a mistake."""
    annotations = Annotations({"epp/queue-tll": "5s", "epp/max-concurrency": "3"})
    annotations.queue_ttl_s()
    annotations.weight()
    messages = {problem.path[-1]: problem.message for problem in annotations.problems()}
    assert messages.keys() == {"epp/queue-tll", "epp/max-concurrency"}
    assert "did you mean epp/queue-ttl?" in messages["epp/queue-tll"]


def test_the_number_of_warnings_is_bounded():
    """A hostile annotation makes a handful of them."""
    annotations = Annotations(
        {"llm-d.ai/active-ports": "x," * 100_000, **{f"epp/{n}": "" for n in range(1000)}}
    )
    assert annotations.active_ports() == frozenset()
    assert len(annotations.problems()) == MAX_PROBLEMS
