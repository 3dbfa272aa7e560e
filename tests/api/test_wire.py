"""What an API server sends: the fast reader and the one for documents agree, and nothing that comes is fatal."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from epp.api import KINDS, Pod, Severity, decode, wire
from epp.api.wire import ListPage, Meta, WireError, decode_json, read_list, read_meta, read_written
from epp.api.written import Condition, Written
from tests.api.documents import OBJECTIVE, POD, POOL, REWRITE, changed, odd_values, paths_of

VERSIONS = {
    "InferencePool": "inference.networking.k8s.io/v1",
    "InferenceObjective": "llm-d.ai/v1alpha2",
    "InferenceModelRewrite": "llm-d.ai/v1alpha2",
    "Pod": "v1",
}
EXAMPLES = {
    "InferencePool": POOL,
    "InferenceObjective": OBJECTIVE,
    "InferenceModelRewrite": REWRITE,
    "Pod": POD,
}
assert set(EXAMPLES) == set(KINDS)

names = st.sampled_from(["a", "vllm-0", "a.b", "a\n", "A", "", "x" * 254])
texts = st.sampled_from(
    ["", "x", "vllm", "x\n", "ä", "-", "x" * 64, "10", "0", "8000", "8000,x", "soon", "30s"]
)
annotations = st.dictionaries(
    st.sampled_from(
        [
            "epp/queue-ttl",
            "epp/weight",
            "epp/max-concurrency",
            "epp/models",
            "epp/mine",
            "llm-d.ai/active-ports",
            "other",
        ]
    ),
    texts,
    max_size=3,
)
times = st.sampled_from([None, "", "2026-11-01T00:00:00Z"])
metadata = st.fixed_dictionaries(
    {"name": names},
    optional={
        "namespace": st.sampled_from([None, "", "team", "team\n", "Team"]),
        "uid": texts,
        "labels": st.none() | st.dictionaries(st.sampled_from(["app", "zone", ""]), texts, max_size=3),
        "annotations": st.none() | annotations,
        "creationTimestamp": times,
        "deletionTimestamp": times,
        "managedFields": st.just([{"fieldsV1": {"f:status": {}}}]),
    },
)
statuses = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["Running", "Failed", "Succeeded", "", None]),
        "podIP": st.sampled_from(
            [
                "10.0.0.1",
                "10.0.0.256",
                "010.0.0.1",
                "1.2.3",
                "fd00::7",
                "FD00::7",
                "fe80::1%e",
                "10.0.0.1\n",
                "",
                None,
            ]
        ),
        "conditions": st.none()
        | st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["Ready", "Initialized"]),
                    "status": st.sampled_from(["True", "False"]),
                },
                optional={"lastProbeTime": st.none()},
            ),
            max_size=3,
        ),
    },
)
pods = st.fixed_dictionaries(
    {"metadata": metadata}, optional={"status": statuses, "spec": st.just({"a": [1]})}
)
other_values = odd_values.filter(lambda value: not isinstance(value, float) or abs(value) < 1e300)


@st.composite
def mutated(draw):
    """One of the examples, with up to two values replaced and perhaps a field too many."""
    kind = draw(st.sampled_from(KINDS))
    document = EXAMPLES[kind]
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(list(paths_of(document))))
        document = changed(document, path, draw(other_values))
    inner = [path for path in paths_of(document) if isinstance(found_at(document, path), dict)]
    if inner and draw(st.booleans()):
        place = draw(st.sampled_from(inner))
        document = changed(document, place, {**found_at(document, place), "extra": draw(other_values)})
    return kind, document


def found_at(document, path):
    """The value at a path."""
    for key in path:
        document = document[key]
    return document


def as_document(document, kind):
    """The same as a manifest would have it, which says its own version and kind."""
    if not isinstance(document, dict):
        return document
    return {**document, "apiVersion": VERSIONS[kind], "kind": kind}


@settings(max_examples=400)
@given(drawn=st.one_of(mutated(), pods.map(lambda pod: ("Pod", pod)), mutated()))
def test_both_readers_agree_on_every_document(drawn):
    """The same object or none, the same identity, and the same problems in the same words."""
    kind, document = drawn
    raw = json.dumps(document).encode()
    expected = decode(as_document(document, kind))
    assert decode_json(raw, api_version=VERSIONS[kind], kind=kind) == expected
    assert decode_json(Raw(raw), api_version=VERSIONS[kind], kind=kind) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_object_is_read_once(kind, monkeypatch):
    """The slow reader is not asked, or ten thousand pods would take a second."""
    expected = decode(as_document(EXAMPLES[kind], kind))
    monkeypatch.setattr(wire, "decode", None)
    raw = json.dumps(EXAMPLES[kind]).encode()
    decoded = decode_json(raw, api_version=VERSIONS[kind], kind=kind)
    assert decoded == expected
    assert decoded.found is not None


def test_a_pod_with_annotations_of_ours_is_read_once_too(monkeypatch):
    """Warnings about annotations need no second reading."""
    monkeypatch.setattr(wire, "decode", None)
    document = changed(POD, ("metadata", "annotations"), {"epp/max-concurrency": "7", "epp/mine": "x"})
    decoded = decode_json(json.dumps(document).encode(), api_version="v1", kind="Pod")
    assert decoded.found.max_concurrency == 7
    assert [problem.severity for problem in decoded.problems] == [Severity.WARNING]


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("InferencePool", ("spec", "targetPorts", 1, "number"), 8000),
        ("InferencePool", ("spec", "endpointPickerRef", "port"), None),
        ("InferencePool", ("spec", "selector", "matchLabels"), {"a b": "c"}),
        ("InferenceModelRewrite", ("spec", "rules", 0, "targets", 1, "weight"), None),
        ("Pod", ("status", "podIP"), "10.0.0.256"),
        ("Pod", ("metadata", "name"), "a\n"),
    ],
)
def test_what_msgspec_lets_pass_is_refused_all_the_same(kind, path, value):
    """Rules that tie fields together, and those that its patterns can't say; whatever the object says it is."""
    document = changed(EXAMPLES[kind], path, value)
    expected = decode(as_document(document, kind))
    assert expected.broken
    for extra in ({}, {"apiVersion": "v7", "kind": "Odd"}):
        raw = json.dumps({**document, **extra}).encode()
        assert decode_json(raw, api_version=VERSIONS[kind], kind=kind) == expected


@pytest.mark.parametrize("group", ["llm-d.ai", "inference.networking.x-k8s.io"])
def test_the_group_is_that_of_the_list(group):
    """An item of a list doesn't say its version and kind; whatever it says, the list's counts."""
    raw = json.dumps({**OBJECTIVE, "apiVersion": "v1", "kind": "Pod"}).encode()
    decoded = decode_json(raw, api_version=f"{group}/v1alpha2", kind="InferenceObjective")
    assert (decoded.found.group, decoded.found.priority) == (group, 10)


@pytest.mark.parametrize(
    ("api_version", "kind"), [("v2", "Pod"), ("llm-d.ai/v9", "InferenceObjective"), ("v1", "Secret")]
)
def test_a_version_or_kind_that_is_not_read_is_what_the_document_reader_says_it_is(api_version, kind):
    """Asking for such a thing is no crash."""
    raw = json.dumps(POD).encode()
    expected = decode({**POD, "apiVersion": api_version, "kind": kind})
    assert decode_json(raw, api_version=api_version, kind=kind) == expected
    assert expected.found is None


HOSTILE = [
    b"",
    b"\xff",
    b"null",
    b"[]",
    b"7",
    b'"x"',
    b"{",
    b'{"metadata":{"name":"a"}} x',
    b'{"metadata":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"x":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_001,
    b'{"metadata":{"name":"\xff"}}',
    b'{"metadata":{"name":"\\ud800"}}',
    b'{"metadata":{"name":"a","labels":{"x":"\\ud800"}}}',
    b'{"metadata":{"name":' + b"1" * 5000 + b"}}",
    b'{"metadata":{"name":1E400}}',
    b'{"metadata":{"name":NaN}}',
]


@pytest.mark.parametrize("raw", HOSTILE)
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_bytes_are_a_problem_and_never_a_crash(raw, kind):
    """Truncated, too deep, not UTF-8, half a surrogate, numbers that Python refuses: broken, with words."""
    decoded = decode_json(raw, api_version=VERSIONS[kind], kind=kind)
    assert decoded.found is None
    assert decoded.broken
    assert all(str(problem).encode() for problem in decoded.problems)


@given(raw=st.binary(max_size=40))
def test_any_bytes_can_be_handed_over(raw):
    """Only WireError comes of bytes, and only where the shape is a must."""
    assert decode_json(raw, api_version="v1", kind="Pod").found is None
    assert isinstance(read_written(raw), Written)
    for reader in (read_meta, read_list):
        with pytest.raises(WireError):
            reader(raw)


def test_a_page_is_read_without_its_objects():
    """They stay bytes, which `decode_json` takes, and the page says how to go on."""
    items = ",".join(json.dumps(changed(POD, ("metadata", "name"), f"p{n}")) for n in range(3))
    text = '{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"abc","remainingItemCount":9},"items":['
    page = read_list(f"{text}{items}]}}".encode())
    assert (page.resource_version, page.continue_token, page.remaining) == ("7", "abc", 9)
    found = [decode_json(item, api_version="v1", kind="Pod").found for item in page.items]
    assert all(isinstance(pod, Pod) for pod in found)
    assert [pod.name for pod in found] == ["p0", "p1", "p2"]
    assert [read_meta(item).uid for item in page.items] == ["u"] * 3


@pytest.mark.parametrize(
    "text",
    [
        '{"metadata":{"resourceVersion":"7"},"items":[]}',
        '{"metadata":{"resourceVersion":"7"},"items":null}',
        '{"metadata":{"resourceVersion":"7","continue":null,"remainingItemCount":null}}',
        '{"metadata":{"resourceVersion":"7","continue":""},"extra":1}',
    ],
)
def test_an_empty_page_is_the_last_one(text):
    """Go leaves out what is empty, or says null."""
    assert read_list(text.encode()) == ListPage("7", "", 0, [])


@pytest.mark.parametrize("reader", [read_list, read_meta])
@pytest.mark.parametrize(
    "raw",
    [*HOSTILE[:8], b'{"metadata":7}', b'{"metadata":{"resourceVersion":7}}', b'{"metadata":null,"items":[]}'],
)
def test_what_is_no_list_or_object_is_a_wire_error(reader, raw):
    """An answer of a proxy, such as a page of HTML, is told as what it is."""
    with pytest.raises(WireError, match="is not a"):
        reader(raw)


def test_the_metadata_of_any_object_can_be_read():
    """Also of one that breaks the rules of its kind, and of a bookmark, which has a version only."""
    raw = b'{"metadata":{"name":"Bad_Name","namespace":"n","uid":"u","resourceVersion":"9"},"spec":7}'
    assert read_meta(raw) == Meta("Bad_Name", "n", "u", "9")
    assert read_meta(b'{"metadata":{"resourceVersion":"9"}}') == Meta("", "", "", "9")


def test_what_was_written_to_a_status_is_read_back():
    """Every condition with every field, others' as well as ours."""
    conditions = [
        {
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "m",
            "observedGeneration": 3,
            "lastTransitionTime": "2026-11-01T00:00:00Z",
        },
        {"type": "Ready", "status": "Unknown"},
    ]
    document = {
        "metadata": {"uid": "u", "resourceVersion": "9", "generation": 4},
        "status": {"conditions": conditions},
    }
    assert read_written(json.dumps(document).encode()) == Written(
        uid="u",
        resource_version="9",
        generation=4,
        conditions=(
            Condition(
                type="Accepted",
                status="True",
                reason="Accepted",
                message="m",
                observed_generation=3,
                last_transition_time="2026-11-01T00:00:00Z",
            ),
            Condition(type="Ready", status="Unknown"),
        ),
    )


@pytest.mark.parametrize(
    "raw",
    [
        *HOSTILE,
        b'{"metadata":{"uid":7,"generation":"x"},"status":7}',
        b'{"metadata":null,"status":{"conditions":{}}}',
        b'{"metadata":{"generation":true},"status":{"conditions":null}}',
    ],
)
def test_a_status_that_cannot_be_read_counts_as_empty(raw):
    """Nothing is raised: the writer then simply finds nothing written."""
    assert read_written(raw) == Written(uid="", resource_version="", generation=0, conditions=())


def test_a_condition_with_odd_fields_keeps_the_others():
    """Only what is of the right type is taken over, and a condition without a type is none."""
    odd = b'{"type":"A","status":null,"observedGeneration":"3","message":"m"},7,{"status":"True"}'
    written = read_written(b'{"metadata":{"uid":"u"},"status":{"conditions":[' + odd + b"]}}")
    assert written.uid == "u"
    assert written.conditions == (Condition(type="A", status="", message="m"),)
