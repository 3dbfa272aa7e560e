"""Objects that are right and wrong, for everybody who judges objects: our own decoding, our schemas, the API server."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

GROUPS = ("llm-d.ai", "inference.networking.x-k8s.io")


class Judged(enum.Enum):
    """What becomes of an object, and by what."""

    TAKEN = enum.auto()
    REFUSED = enum.auto()
    """By the schema alone."""
    REFUSED_BY_RULE = enum.auto()
    """By a rule that ties fields together: CEL in the API server."""


@dataclass(frozen=True, slots=True)
class Case:
    """One object and what must become of it."""

    name: str
    kind: str
    spec: Any
    judged: Judged
    api_version: str = "llm-d.ai/v1alpha2"

    def document(self, *, name: str = "one", api_version: str | None = None) -> dict[str, Any]:
        """The whole object."""
        document: dict[str, Any] = {
            "apiVersion": api_version or self.api_version,
            "kind": self.kind,
            "metadata": {"name": name, "namespace": "default"},
        }
        if self.spec is not ABSENT:
            document["spec"] = self.spec
        return document


ABSENT = object()

_LABEL = "a.b-c.example.com"


def objective(name: str, judged: Judged, spec: Any) -> Case:
    """An InferenceObjective."""
    return Case(name, "InferenceObjective", spec, judged)


def rewrite(name: str, judged: Judged, *rules: Any) -> Case:
    """An InferenceModelRewrite with these rules."""
    return Case(name, "InferenceModelRewrite", {"poolRef": {"name": "p"}, "rules": list(rules)}, judged)


def pool(name: str, judged: Judged, **changes: Any) -> Case:
    """An InferencePool that is right but for the changes."""
    spec = {
        "selector": {"matchLabels": {"app": "vllm"}},
        "targetPorts": [{"number": 8000}],
        "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
    } | changes
    return Case(name, "InferencePool", spec, judged, "inference.networking.k8s.io/v1")


def _targets(*weights: int | None) -> dict[str, Any]:
    return {
        "targets": [
            {"modelRewrite": f"m{index}"} | ({} if weight is None else {"weight": weight})
            for index, weight in enumerate(weights)
        ]
    }


_MATCH = {"matches": [{"model": {"value": "m"}}]}
_OK, _NO, _RULE = Judged.TAKEN, Judged.REFUSED, Judged.REFUSED_BY_RULE

OBJECTIVES = (
    objective("least", _OK, {"poolRef": {"name": "p"}}),
    objective("priority", _OK, {"poolRef": {"name": "p"}, "priority": 7}),
    objective("negative", _OK, {"poolRef": {"name": "p"}, "priority": -7}),
    objective("highest", _OK, {"poolRef": {"name": "p"}, "priority": 2**31 - 1}),
    objective("lowest", _OK, {"poolRef": {"name": "p"}, "priority": -(2**31)}),
    objective("unset priority", _OK, {"poolRef": {"name": "p"}, "priority": None}),
    objective("core group", _OK, {"poolRef": {"name": "p", "group": ""}}),
    objective("null group", _OK, {"poolRef": {"name": "p", "group": None}}),
    objective("other group and kind", _OK, {"poolRef": {"name": "p", "group": _LABEL, "kind": "Service-2"}}),
    objective("longest name", _OK, {"poolRef": {"name": "n" * 253}}),
    objective("any name", _OK, {"poolRef": {"name": "Not_a DNS name"}}),
    objective("longest kind", _OK, {"poolRef": {"name": "p", "kind": "k" * 63}}),
    objective("unknown field", _OK, {"poolRef": {"name": "p"}, "weight": 3}),
    objective("unknown field below", _OK, {"poolRef": {"name": "p", "namespace": "n"}}),
    objective("no spec", _NO, ABSENT),
    objective("spec is text", _NO, "p"),
    objective("no poolRef", _NO, {"priority": 7}),
    objective("null poolRef", _NO, {"poolRef": None}),
    objective("poolRef is text", _NO, {"poolRef": "p"}),
    objective("no pool name", _NO, {"poolRef": {}}),
    objective("null pool name", _NO, {"poolRef": {"name": None}}),
    objective("empty pool name", _NO, {"poolRef": {"name": ""}}),
    objective("pool name is a number", _NO, {"poolRef": {"name": 7}}),
    objective("name too long", _NO, {"poolRef": {"name": "n" * 254}}),
    objective("group with a version", _NO, {"poolRef": {"name": "p", "group": "example.com/v1"}}),
    objective("group in capitals", _NO, {"poolRef": {"name": "p", "group": "Example.com"}}),
    objective("group with a line end", _NO, {"poolRef": {"name": "p", "group": "example.com\n"}}),
    objective("group too long", _NO, {"poolRef": {"name": "p", "group": "g" * 254}}),
    objective("empty kind", _NO, {"poolRef": {"name": "p", "kind": ""}}),
    objective("kind begins with a digit", _NO, {"poolRef": {"name": "p", "kind": "2Pools"}}),
    objective("kind too long", _NO, {"poolRef": {"name": "p", "kind": "k" * 64}}),
    objective("priority too high", _NO, {"poolRef": {"name": "p"}, "priority": 2**31}),
    objective("priority too low", _NO, {"poolRef": {"name": "p"}, "priority": -(2**31) - 1}),
    objective("priority is text", _NO, {"poolRef": {"name": "p"}, "priority": "7"}),
    objective("priority is a fraction", _NO, {"poolRef": {"name": "p"}, "priority": 1.5}),
    objective("priority is true", _NO, {"poolRef": {"name": "p"}, "priority": True}),
)

REWRITES = (
    rewrite("for all", _OK, _targets(None)),
    rewrite("for one model", _OK, _MATCH | _targets(None)),
    rewrite("exact", _OK, {"matches": [{"model": {"type": "Exact", "value": "m"}}]} | _targets(None)),
    rewrite("weights", _OK, _targets(1, 1_000_000)),
    rewrite("no weights", _OK, _targets(None, None, None)),
    rewrite("empty matches", _OK, {"matches": []} | _targets(None)),
    rewrite("two rules", _OK, _MATCH | _targets(1), _targets(None)),
    rewrite("no targets in the list", _NO, {"targets": []}),
    rewrite(
        "a match by prefix", _NO, {"matches": [{"model": {"type": "Prefix", "value": "m"}}]} | _targets(1)
    ),
    rewrite("a match without a model", _NO, {"matches": [{}]} | _targets(1)),
    rewrite("a match without a value", _NO, {"matches": [{"model": {}}]} | _targets(1)),
    rewrite("a match of nothing", _NO, {"matches": [{"model": {"value": ""}}]} | _targets(1)),
    rewrite("weight zero", _NO, _targets(0)),
    rewrite("weight too high", _NO, _targets(1_000_001)),
    rewrite("weight is text", _NO, {"targets": [{"modelRewrite": "m", "weight": "1"}]}),
    rewrite("a target without a model", _NO, {"targets": [{"weight": 1}]}),
    rewrite("a rule is text", _NO, "m"),
    rewrite("some weights", _RULE, _targets(1, None)),
    rewrite("some weights, the other way", _RULE, _targets(None, None, 3)),
    rewrite("some weights in the second rule", _RULE, _targets(None), _targets(2, None)),
    Case("no rules", "InferenceModelRewrite", {"poolRef": {"name": "p"}}, _NO),
    Case("rules without a pool", "InferenceModelRewrite", {"rules": [_targets(None)]}, _NO),
)

POOLS = (
    pool("all there", _OK),
    pool("no picker", _OK, endpointPickerRef=None),
    pool("fail open", _OK, endpointPickerRef={"name": "e", "port": {"number": 1}, "failureMode": "FailOpen"}),
    pool("picker of another kind", _OK, endpointPickerRef={"name": "e", "group": "x.io", "kind": "Picker"}),
    pool("eight ports", _OK, targetPorts=[{"number": port} for port in range(8000, 8008)]),
    pool("h2c", _OK, appProtocol="kubernetes.io/h2c"),
    pool("nine ports", _NO, targetPorts=[{"number": port} for port in range(8000, 8009)]),
    pool("no ports", _NO, targetPorts=[]),
    pool("port zero", _NO, targetPorts=[{"number": 0}]),
    pool("a port too high", _NO, targetPorts=[{"number": 65536}]),
    pool("no labels", _NO, selector={"matchLabels": {}}),
    pool("a label that is none", _NO, selector={"matchLabels": {"app": "-v-"}}),
    pool("another protocol", _NO, appProtocol="https"),
    pool(
        "fail closed",
        _NO,
        endpointPickerRef={"name": "e", "port": {"number": 1}, "failureMode": "FailClosed"},
    ),
    pool("a port twice", _RULE, targetPorts=[{"number": 8000}, {"number": 8001}, {"number": 8000}]),
    pool("a picker without a port", _RULE, endpointPickerRef={"name": "e"}),
)

ALL = OBJECTIVES + REWRITES + POOLS
