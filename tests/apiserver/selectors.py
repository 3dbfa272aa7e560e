"""Label and field selectors as the API server reads them from a query, written anew so that they can judge ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.apiserver.kinds import EVENTS, PODS
from tests.apiserver.refusal import bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.apiserver.kinds import Kind

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?{_NAME}"
_ONE = re.compile(
    rf"""\s*(?:
        !\s*(?P<absent>{_KEY})
      | (?P<set_key>{_KEY})\s+(?P<set_op>in|notin)\s*\((?P<values>[^)]*)\)
      | (?P<key>{_KEY})\s*(?P<op>==|=|!=|>|<)\s*(?P<value>(?:{_NAME})?)
      | (?P<present>{_KEY})
    )\s*(?:,|$)""",
    re.VERBOSE,
)


class Requirement(NamedTuple):
    """One term: all of them must hold."""

    key: str
    op: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.op:
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case _:
                return _compare(self.op, value, next(iter(self.values)))


def _compare(op: str, value: str | None, bound: str) -> bool:
    try:
        return int(value or "") > int(bound) if op == ">" else int(value or "") < int(bound)
    except ValueError:
        return False


LabelSelector = tuple[Requirement, ...]
FieldSelector = tuple[Requirement, ...]


def read_labels(text: str) -> LabelSelector:
    """The terms of a `labelSelector` parameter."""
    requirements: list[Requirement] = []
    at = 0
    while at < len(text):
        found = _ONE.match(text, at)
        if found is None:
            raise bad_request(f"unable to parse requirement: found {text[at:]!r}")
        at = found.end()
        if key := found["absent"]:
            requirements.append(Requirement(key, "absent"))
        elif key := found["present"]:
            requirements.append(Requirement(key, "exists"))
        elif key := found["set_key"]:
            values = frozenset(value.strip() for value in found["values"].split(","))
            requirements.append(Requirement(key, found["set_op"], values))
        else:
            op = {"=": "in", "==": "in", "!=": "notin"}.get(found["op"], found["op"])
            requirements.append(Requirement(found["key"], op, frozenset([found["value"]])))
    if text.rstrip().endswith(","):
        raise bad_request("unable to parse requirement: found '', expected: identifier after ','")
    return tuple(requirements)


_FIELDS = {
    PODS: ("spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP"),
    EVENTS: (
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "reason",
        "type",
    ),
}


def read_fields(text: str, kind: Kind) -> FieldSelector:
    """The terms of a `fieldSelector` parameter, for fields by which this kind can be selected."""
    requirements = []
    for term in filter(None, text.split(",")):
        found = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        field, op, value = found.groups()
        if field not in {"metadata.name", "metadata.namespace", *_FIELDS.get(kind, ())}:
            raise bad_request(f"field label not supported: {field}")
        requirements.append(Requirement(field, "notin" if op == "!=" else "in", frozenset([value])))
    return tuple(requirements)


class Selection(NamedTuple):
    """What a list or a watch wants to see."""

    namespace: str = ""
    labels: LabelSelector = ()
    fields: FieldSelector = ()

    @property
    def is_partial(self) -> bool:
        return bool(self.labels or self.fields)

    def takes(self, obj: Mapping[str, Any]) -> bool:
        metadata = obj["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        if self.labels:
            labels = metadata.get("labels") or {}
            if not all(requirement.holds(labels) for requirement in self.labels):
                return False
        return all(
            requirement.holds({requirement.key: _field(obj, requirement.key)}) for requirement in self.fields
        )


def _field(obj: Mapping[str, Any], path: str) -> str:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return "" if value is None else str(value)
