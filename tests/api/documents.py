"""Documents of every kind for tests, and what mutates them."""

import copy

from hypothesis import strategies as st

from epp.api.manifest import ObjectiveManifest, PodManifest, PoolManifest, RewriteManifest

POOL = {
    "metadata": {"name": "pool", "namespace": "team", "labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {
        "selector": {"matchLabels": {"app": "vllm"}},
        "targetPorts": [{"number": 8000}, {"number": 8001}],
        "appProtocol": "kubernetes.io/h2c",
        "endpointPickerRef": {"name": "epp", "port": {"number": 9002}, "failureMode": "FailOpen"},
    },
}
OBJECTIVE = {"metadata": {"name": "premium"}, "spec": {"priority": 10, "poolRef": {"name": "pool"}}}
POD = {
    "metadata": {"name": "pod-0", "uid": "u", "deletionTimestamp": "2030-01-01T00:00:00Z"},
    "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
}
REWRITE = {
    "metadata": {"name": "aliases", "creationTimestamp": "2026-11-01T00:00:00Z"},
    "spec": {
        "poolRef": {"name": "pool"},
        "rules": [
            {
                "matches": [{"model": {"value": "chat"}}, {"model": {"type": "Exact", "value": "base"}}],
                "targets": [
                    {"modelRewrite": "llama-a", "weight": 3},
                    {"modelRewrite": "llama-b", "weight": 1},
                ],
            },
            {"targets": [{"modelRewrite": "llama-b"}]},
        ],
    },
}
EXAMPLES = [
    (PoolManifest, POOL),
    (ObjectiveManifest, OBJECTIVE),
    (RewriteManifest, REWRITE),
    (PodManifest, POD),
]

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 65535, 65536, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1]),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(
        ["", "A", "a.b", "-a", "a" * 63, "a" * 64, "a" * 253, "a" * 254, "http", "a\n", "FailClosed"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


def paths_of(value, path=()):
    """All paths inside a document."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_of(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths_of(inner, (*path, index))


def changed(document, path, value):
    """A copy of the document with another value at a path."""
    if not path:
        return value
    document = copy.deepcopy(document)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document
