"""From documents to objects: what each kind takes, what it refuses and how it says so."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.api import AppProtocol, ObjectRef, Severity, decode

POOL = {
    "apiVersion": "inference.networking.k8s.io/v1",
    "kind": "InferencePool",
    "metadata": {"name": "pool", "namespace": "team"},
    "spec": {
        "selector": {"matchLabels": {"b": "2", "a": "1"}},
        "targetPorts": [{"number": 8001}, {"number": 8000}],
        "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
    },
}
OBJECTIVE = {
    "apiVersion": "llm-d.ai/v1alpha2",
    "kind": "InferenceObjective",
    "metadata": {
        "name": "premium",
        "namespace": "team",
        "annotations": {"epp/queue-ttl": "30s", "epp/weight": "2"},
    },
    "spec": {"priority": 10, "poolRef": {"name": "pool"}},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "vllm-0",
        "namespace": "team",
        "uid": "3f2a",
        "labels": {"b": "2", "a": "1"},
        "annotations": {
            "epp/max-concurrency": "32",
            "epp/models": "llama, sql",
            "llm-d.ai/active-ports": "8000",
        },
    },
    "status": {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
}

REWRITE = {
    "apiVersion": "llm-d.ai/v1alpha2",
    "kind": "InferenceModelRewrite",
    "metadata": {"name": "aliases", "namespace": "team", "creationTimestamp": "2026-11-01T00:00:00Z"},
    "spec": {
        "poolRef": {"name": "pool"},
        "rules": [
            {
                "matches": [{"model": {"value": "chat"}}],
                "targets": [{"modelRewrite": "a", "weight": 3}, {"modelRewrite": "b", "weight": 1}],
            },
            {"targets": [{"modelRewrite": "b"}]},
        ],
    },
}

MISSING = object()


def edited(document, path, value):
    """A copy of the document with the field at `a.b.0.c` set, or taken out."""
    document = copy.deepcopy(document)
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    place = document
    for key in parents:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return document


def errors_of(document):
    """The fields with errors."""
    return {problem.field for problem in decode(document).problems if problem.severity is Severity.ERROR}


def test_a_pool_is_read():
    """Its labels are sorted, its ports keep their order, defaults are filled in."""
    decoded = decode(POOL)
    assert decoded.problems == ()
    pool = decoded.found
    assert (
        pool.ref
        == ObjectRef("inference.networking.k8s.io", "InferencePool", "team", "pool")
        == decoded.identity
    )
    assert str(pool.selector) == "a=1,b=2"
    assert pool.target_ports == (8001, 8000)
    assert pool.app_protocol is AppProtocol.HTTP
    assert (pool.endpoint_picker.kind, pool.endpoint_picker.failure_mode.value) == ("Service", "FailClose")
    assert str(pool.ref) == "InferencePool.inference.networking.k8s.io team/pool"


def test_a_pool_needs_no_picker():
    """The reference to a picker is optional."""
    decoded = decode(edited(POOL, "spec/endpointPickerRef", MISSING))
    assert decoded.problems == ()
    assert decoded.found.endpoint_picker is None


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("metadata/name", MISSING, "metadata.name"),
        ("metadata/name", "Pool", "metadata.name"),
        ("metadata/name", "a" * 254, "metadata.name"),
        ("metadata/namespace", "a.b", "metadata.namespace"),
        ("metadata/namespace", "a" * 64, "metadata.namespace"),
        ("metadata", MISSING, "metadata"),
        ("spec", MISSING, "spec"),
        ("spec", [], "spec"),
        ("spec/selector", MISSING, "spec.selector"),
        ("spec/selector/matchLabels", MISSING, "spec.selector.matchLabels"),
        ("spec/selector/matchLabels", {}, "spec.selector.matchLabels"),
        ("spec/selector/matchLabels", {f"l{n}": "x" for n in range(65)}, "spec.selector.matchLabels"),
        ("spec/selector/matchLabels/a", "x" * 64, "spec.selector.matchLabels.a"),
        ("spec/selector/matchLabels/a", "-x", "spec.selector.matchLabels.a"),
        ("spec/selector/matchLabels/a", "x\n", "spec.selector.matchLabels.a"),
        ("spec/selector/matchLabels/a", 1, "spec.selector.matchLabels.a"),
        ("spec/selector/matchLabels", {"a": "1", "b c": "2"}, 'spec.selector.matchLabels["b c"]'),
        ("spec/targetPorts", MISSING, "spec.targetPorts"),
        ("spec/targetPorts", [], "spec.targetPorts"),
        ("spec/targetPorts", [{"number": 8000 + n} for n in range(9)], "spec.targetPorts"),
        ("spec/targetPorts", {"number": 8000}, "spec.targetPorts"),
        ("spec/targetPorts/1/number", 8001, "spec.targetPorts[1].number"),
        ("spec/targetPorts/1/number", 0, "spec.targetPorts[1].number"),
        ("spec/targetPorts/1/number", 65536, "spec.targetPorts[1].number"),
        ("spec/targetPorts/1/number", "8000", "spec.targetPorts[1].number"),
        ("spec/targetPorts/1/number", True, "spec.targetPorts[1].number"),
        ("spec/targetPorts/1/number", 8000.5, "spec.targetPorts[1].number"),
        ("spec/targetPorts/1", 8000, "spec.targetPorts[1]"),
        ("spec/appProtocol", "https", "spec.appProtocol"),
        ("spec/appProtocol", ["http"], "spec.appProtocol"),
        ("spec/endpointPickerRef/name", MISSING, "spec.endpointPickerRef.name"),
        ("spec/endpointPickerRef/name", "", "spec.endpointPickerRef.name"),
        ("spec/endpointPickerRef/port", MISSING, "spec.endpointPickerRef.port"),
        ("spec/endpointPickerRef/port/number", 0, "spec.endpointPickerRef.port.number"),
        ("spec/endpointPickerRef/group", "a/b", "spec.endpointPickerRef.group"),
        ("spec/endpointPickerRef/kind", "", "spec.endpointPickerRef.kind"),
        ("spec/endpointPickerRef/kind", ["Service"], "spec.endpointPickerRef.kind"),
        ("spec/endpointPickerRef/failureMode", "FailClosed", "spec.endpointPickerRef.failureMode"),
    ],
)
def test_a_pool_that_breaks_a_rule_is_refused_at_that_field(path, value, field):
    """The rules of the custom resource hold, and the one broken field is named."""
    document = edited(POOL, path, value)
    assert decode(document).found is None
    assert errors_of(document) == {field}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec/selector/matchLabels", {f"l{n}": "x" for n in range(64)}),
        ("spec/selector/matchLabels/a", ""),
        ("spec/selector/matchLabels/a", "x" * 63),
        ("spec/targetPorts", [{"number": 65528 + n} for n in range(8)]),
        ("spec/targetPorts/0/number", 1),
        ("spec/appProtocol", "kubernetes.io/h2c"),
        ("spec/appProtocol", None),
        ("spec/endpointPickerRef", {"kind": "Other", "group": "example.com", "name": "x"}),
        ("metadata/annotations", None),
        ("metadata/labels", None),
        ("status", {"parents": []}),
    ],
)
def test_a_pool_at_the_edge_of_a_rule_is_taken(path, value):
    """Bounds are inclusive, and null means absent."""
    assert decode(edited(POOL, path, value)).problems == ()


@pytest.mark.parametrize("group", ["llm-d.ai", "inference.networking.x-k8s.io"])
def test_an_objective_is_read_in_both_groups(group):
    """Its poolRef gets the defaults, its annotations are understood."""
    decoded = decode({**OBJECTIVE, "apiVersion": f"{group}/v1alpha2"})
    assert decoded.problems == ()
    objective = decoded.found
    assert objective.ref == ObjectRef(group, "InferenceObjective", "team", "premium")
    assert objective.priority == 10
    assert objective.queue_ttl_s == 30.0
    assert objective.weight == 2.0
    assert (objective.pool.group, objective.pool.kind) == ("inference.networking.k8s.io", "InferencePool")


@pytest.mark.parametrize("priority", [-(2**31), -1, 0, 2**31 - 1, None])
def test_every_int32_is_a_priority_and_so_is_none(priority):
    """The whole range counts, and an unset priority stays unset."""
    assert decode(edited(OBJECTIVE, "spec/priority", priority)).found.priority == priority


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec/priority", 2**31, "spec.priority"),
        ("spec/priority", -(2**31) - 1, "spec.priority"),
        ("spec/priority", "10", "spec.priority"),
        ("spec/priority", 1.5, "spec.priority"),
        ("spec/priority", True, "spec.priority"),
        ("spec/priority", 10**4000, "spec.priority"),
        ("spec/poolRef", MISSING, "spec.poolRef"),
        ("spec/poolRef", "pool", "spec.poolRef"),
        ("spec/poolRef/name", MISSING, "spec.poolRef.name"),
        ("spec/poolRef/name", "", "spec.poolRef.name"),
        ("spec/poolRef/name", "a" * 254, "spec.poolRef.name"),
        ("spec/poolRef/group", "example.com/bar", "spec.poolRef.group"),
        ("spec/poolRef/group", "a" * 254, "spec.poolRef.group"),
        ("spec/poolRef/kind", "", "spec.poolRef.kind"),
        ("spec/poolRef/kind", "invalid/kind", "spec.poolRef.kind"),
        ("spec/poolRef/kind", "a" * 64, "spec.poolRef.kind"),
        ("metadata/annotations", ["x"], "metadata.annotations"),
    ],
)
def test_an_objective_that_breaks_a_rule_is_refused_at_that_field(path, value, field):
    """Patterns, lengths and the int32 range are those of the custom resource."""
    document = edited(OBJECTIVE, path, value)
    assert decode(document).found is None
    assert errors_of(document) == {field}


def test_an_empty_pool_group_is_a_group():
    """The pattern allows the core group, so it is not replaced by the default."""
    assert decode(edited(OBJECTIVE, "spec/poolRef/group", "")).found.pool.group == ""


def test_a_bad_annotation_does_not_cost_the_objective():
    """The API server does not check annotations, so the object is used without them, with warnings."""
    document = edited(OBJECTIVE, "metadata/annotations", {"epp/queue-ttl": "soon", "epp/weight": "-1"})
    decoded = decode(document)
    assert (decoded.found.priority, decoded.found.queue_ttl_s, decoded.found.weight) == (10, None, 1.0)
    assert {problem.severity for problem in decoded.problems} == {Severity.WARNING}
    assert len(decoded.problems) == 2


@pytest.mark.parametrize("group", ["llm-d.ai", "inference.networking.x-k8s.io"])
def test_a_rewrite_is_read(group):
    """Its rules keep their order, the pool's group and kind are filled in, and its age is kept."""
    decoded = decode(edited(REWRITE, "apiVersion", f"{group}/v1alpha2"))
    assert decoded.problems == ()
    rewrite = decoded.found
    assert rewrite.ref == ObjectRef(group, "InferenceModelRewrite", "team", "aliases") == decoded.identity
    assert (rewrite.pool.group, rewrite.pool.kind) == ("inference.networking.k8s.io", "InferencePool")
    assert rewrite.created == "2026-11-01T00:00:00Z"
    named, generic = rewrite.rules
    assert [match.model.value for match in named.matches] == ["chat"]
    assert [(target.model_rewrite, target.weight) for target in named.targets] == [("a", 3), ("b", 1)]
    assert (generic.matches, generic.targets[0].weight) == ((), None)
    for absent in (MISSING, None, ""):
        assert decode(edited(REWRITE, "metadata/creationTimestamp", absent)).found.created == ""


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec/poolRef", MISSING, "spec.poolRef"),
        ("spec/poolRef/name", "", "spec.poolRef.name"),
        ("spec/rules", MISSING, "spec.rules"),
        ("spec/rules", [{"targets": [{"modelRewrite": "b"}]}] * 1025, "spec.rules"),
        ("spec/rules/0/matches", [{"model": {"value": "x"}}] * 1025, "spec.rules[0].matches"),
        ("spec/rules/0/matches/0", {}, "spec.rules[0].matches[0].model"),
        ("spec/rules/0/matches/0/model/type", "Prefix", "spec.rules[0].matches[0].model.type"),
        ("spec/rules/0/matches/0/model/value", "", "spec.rules[0].matches[0].model.value"),
        ("spec/rules/0/matches/0/model/value", MISSING, "spec.rules[0].matches[0].model.value"),
        ("spec/rules/0/targets", [], "spec.rules[0].targets"),
        ("spec/rules/0/targets", [{"modelRewrite": "b"}] * 65, "spec.rules[0].targets"),
        ("spec/rules/0/targets/0/modelRewrite", "", "spec.rules[0].targets[0].modelRewrite"),
        ("spec/rules/0/targets/0/weight", 0, "spec.rules[0].targets[0].weight"),
        ("spec/rules/0/targets/0/weight", 1_000_001, "spec.rules[0].targets[0].weight"),
        ("spec/rules/0/targets/1/weight", MISSING, "spec.rules[0].targets"),
        ("spec/rules/0/targets/1/weight", None, "spec.rules[0].targets"),
    ],
)
def test_a_rewrite_that_breaks_a_rule_is_refused_at_that_field(path, value, field):
    """Lengths, ranges, and that either all targets of a rule have a weight or none."""
    document = edited(REWRITE, path, value)
    assert decode(document).found is None
    assert errors_of(document) == {field}


def test_a_pod_is_read():
    """Labels are sorted, annotations understood, the address is canonical."""
    decoded = decode(POD)
    assert decoded.problems == ()
    pod = decoded.found
    assert (pod.ref, pod.uid, pod.ip) == (ObjectRef("", "Pod", "team", "vllm-0"), "3f2a", "10.0.0.7")
    assert pod.labels == (("a", "1"), ("b", "2"))
    assert pod.ready
    assert not pod.terminating
    assert pod.max_concurrency == 32
    assert pod.models == {"llama", "sql"}
    assert pod.active_ports == {8000}
    assert str(pod.ref) == "Pod team/vllm-0"


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        (MISSING, True),
        (None, True),
        ([], True),
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "PodScheduled", "status": "True"}], False),
        ([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}], True),
    ],
)
def test_a_pod_is_ready_by_its_condition_or_without_any(conditions, ready):
    """Without status.conditions it counts as Ready; with some, only the Ready condition decides."""
    assert decode(edited(POD, "status/conditions", conditions)).found.ready is ready


@pytest.mark.parametrize(
    ("phase", "ready"),
    [("", True), ("Pending", True), ("Running", True), ("Failed", False), ("Succeeded", False)],
)
def test_a_pod_that_has_ended_is_not_ready(phase, ready):
    """Whatever its conditions say, and also if none is left, as of an evicted one."""
    for conditions in ([], [{"type": "Ready", "status": "True"}]):
        ended = edited(edited(POD, "status/conditions", conditions), "status/phase", phase)
        assert decode(ended).found.ready is ready


def test_the_old_name_of_an_annotation_is_understood_alone():
    """A pod that has no other annotation of ours still says which of its ports serve."""
    legacy = {"inference.networking.k8s.io/active-ports": "8001"}
    assert decode(edited(POD, "metadata/annotations", legacy)).found.active_ports == {8001}


def test_a_pod_without_address_is_a_pod():
    """One that has none yet is no mistake, in a cluster it is the rule."""
    for document in (edited(POD, "status/podIP", MISSING), edited(POD, "status", MISSING)):
        decoded = decode(document)
        assert decoded.problems == ()
        assert decoded.found.ip == ""


@pytest.mark.parametrize(
    ("ip", "canonical"),
    [("FD00:0:0::7", "fd00::7"), ("::1", "::1"), ("127.0.0.1", "127.0.0.1")],
)
def test_addresses_have_one_spelling(ip, canonical):
    """However an address is written, it becomes the one that gateways use."""
    assert decode(edited(POD, "status/podIP", ip)).found.ip == canonical


@pytest.mark.parametrize(
    "ip", ["model-0.example.com", "10.0.0.256", "10.0.0.1:8000", "fe80::1%eth0", 10, "[::1]"]
)
def test_what_is_no_address_is_refused(ip):
    """Names are not resolved, and ports and scopes don't belong there."""
    assert errors_of(edited(POD, "status/podIP", ip)) == {"status.podIP"}


@pytest.mark.parametrize("document", [POOL, OBJECTIVE, REWRITE, POD])
def test_a_deletion_timestamp_marks_an_object_as_going(document):
    """Every kind says that it is being deleted."""
    assert not decode(document).found.terminating
    assert decode(edited(document, "metadata/deletionTimestamp", "2030-01-01T00:00:00Z")).found.terminating


@pytest.mark.parametrize(
    "document",
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": 7},
        {"apiVersion": "inference.networking.x-k8s.io/v1alpha1", "kind": "InferencePoolImport"},
        {"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"},
        {"apiVersion": "example.com/v1", "kind": "Pods"},
    ],
)
def test_other_kinds_are_noted_and_left_alone(document):
    """They are no error whatever they look like, and leave one line for whoever debugs."""
    decoded = decode(document)
    assert decoded.found is None
    assert decoded.identity is None
    assert not decoded.broken
    assert [problem.severity for problem in decoded.problems] == [Severity.DEBUG]


@pytest.mark.parametrize(
    "kind", ["InferenceObjectives", "inferenceobjective", "InferenceObjectve", "Inferencepool"]
)
def test_a_misspelt_kind_of_ours_is_an_error_with_the_right_name(kind):
    """In our own groups, almost the right kind is a mistake and not someone else's object."""
    decoded = decode({**OBJECTIVE, "kind": kind})
    assert decoded.broken
    assert "did you mean Inference" in decoded.problems[0].message


@pytest.mark.parametrize(
    ("document", "api_version", "remedy"),
    [
        (POOL, "inference.networking.x-k8s.io/v1alpha2", "inference.networking.k8s.io/v1"),
        (POOL, "v1", "inference.networking.k8s.io/v1"),
        (OBJECTIVE, "llm-d.ai/v1", "llm-d.ai/v1alpha2 or inference.networking.x-k8s.io/v1alpha2"),
        (POD, "v2", "v1"),
    ],
)
def test_a_wrong_api_version_is_an_error_that_names_the_right_ones(document, api_version, remedy):
    """A kind of ours in another version is not used, and its owner learns which one is."""
    decoded = decode({**document, "apiVersion": api_version})
    assert decoded.found is None
    (problem,) = decoded.problems
    assert problem.field == "apiVersion"
    assert problem.message.endswith(f"use {remedy}")


@pytest.mark.parametrize("document", [None, 5, "text", [], [POOL], True])
def test_what_is_no_mapping_is_no_manifest(document):
    """One error, and nobody whom it could describe."""
    decoded = decode(document)
    assert decoded.broken
    assert decoded.identity is None


def test_what_has_neither_kind_nor_version_is_told_both():
    """Both missing fields are reported at once."""
    assert errors_of({"metadata": {"name": "x"}}) == {"apiVersion", "kind"}
    assert errors_of({**POD, "kind": 5}) == {"kind"}


def test_rules_across_fields_are_checked_also_where_the_schema_is_broken():
    """Every problem comes at once: schema, repeated port, missing picker port, annotation."""
    document = edited(POOL, "spec/appProtocol", "ftp")
    document = edited(document, "spec/targetPorts", [{"number": 1}, {"number": 1}])
    document = edited(document, "spec/endpointPickerRef", {"name": "epp"})
    document = edited(document, "metadata/annotations", {"epp/queue-ttl": "1s"})
    assert {problem.field for problem in decode(document).problems} == {
        "spec.appProtocol",
        "spec.targetPorts[1].number",
        "spec.endpointPickerRef.port",
        'metadata.annotations["epp/queue-ttl"]',
    }


@pytest.mark.parametrize(
    ("document", "identity"),
    [
        (edited(POOL, "spec", MISSING), ("inference.networking.k8s.io", "InferencePool", "team", "pool")),
        (edited(POD, "spec", 1) | {"status": 7}, ("", "Pod", "team", "vllm-0")),
        (edited(OBJECTIVE, "spec/priority", "x"), ("llm-d.ai", "InferenceObjective", "team", "premium")),
        # One group serves pools, so a wrong one leaves no doubt; two serve objectives.
        ({**POOL, "apiVersion": "typo/v1"}, ("inference.networking.k8s.io", "InferencePool", "team", "pool")),
        ({**OBJECTIVE, "apiVersion": "typo/v1"}, None),
        (edited(OBJECTIVE, "metadata/name", 7), None),
        (edited(OBJECTIVE, "metadata/namespace", 7), None),
        (edited(OBJECTIVE, "apiVersion", MISSING), None),
        (edited(OBJECTIVE, "kind", MISSING), None),
    ],
)
def test_a_broken_document_says_whom_it_describes_if_that_is_beyond_doubt(document, identity):
    """What can still be read identifies it; what can't be read is not guessed."""
    decoded = decode(document)
    assert decoded.broken
    assert decoded.identity == (ObjectRef(*identity) if identity else None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
def test_nothing_that_a_document_holds_raises(data):
    """Whatever stands anywhere in a document, decoding returns an object or errors that can be printed."""
    document = data.draw(st.sampled_from([POOL, OBJECTIVE, REWRITE, POD]))
    paths = ["apiVersion", "kind", "metadata", "spec", "status", "metadata/name", "metadata/annotations"]
    paths += [
        "spec/selector",
        "spec/targetPorts",
        "spec/endpointPickerRef",
        "spec/poolRef",
        "status/conditions",
    ]
    for path in data.draw(st.lists(st.sampled_from(paths), max_size=3)):
        try:
            document = edited(document, path, data.draw(json_values))
        except (TypeError, AttributeError):
            continue  # an earlier replacement took the place away
    decoded = decode(document)
    assert (decoded.found is None) or not decoded.broken
    assert all(str(problem).encode() for problem in decoded.problems)
