"""The custom resource definitions of the kinds that we read, made from the classes of `manifest`.

What the API server refuses by these definitions is what `decode` refuses, because both have the same source: lengths,
patterns, ranges, enums and defaults stand in the classes; rules that tie several fields together stand here as CEL and
in `decode` as code; and the words that `kubectl explain` shows are in `explanations`.

Definitions are plain data, ready to be written as YAML. `deploy/crds` holds those that an installation needs; the
InferencePool's is not among them, for gateways bring their own, and ours is for API servers in tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from msgspec import NODEFAULT, Struct, inspect

from epp.api.explanations import WORDS
from epp.api.manifest import (
    OBJECTIVE_GROUPS,
    POOL_GROUP,
    EndpointPickerRef,
    Manifest,
    ObjectiveManifest,
    PoolManifest,
    PoolSpec,
    RewriteManifest,
    RewriteRule,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json = dict[str, Any]
"""A mapping as YAML has it."""

MAX_CONDITIONS = 8
"""As many as the status of one object can hold."""

_NO_DEFAULT = (NODEFAULT, None, ())
"""What a field that is absent counts as in our classes, with nothing for the API server to fill in."""

_INT32_LEAST, _INT32_MOST = -(2**31), 2**31 - 1


class Rule(NamedTuple):
    """A rule that ties fields together, in the API server's expression language."""

    expression: str
    message: str


class Column(NamedTuple):
    """What `kubectl get` shows of an object besides its name."""

    name: str
    path: str
    type: str = "string"


class Status(Enum):
    """What the status of a kind looks like."""

    READY_UNTIL_JUDGED = "Ready"
    """Conditions; a new object has one of type Ready that nobody has looked at."""
    ACCEPTED_UNTIL_JUDGED = "Accepted"
    """Conditions; a new object has one of type Accepted that nobody has looked at."""
    NOT_OURS = ""
    """Anything: others write it, and we never look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomKind:
    """One kind of custom resource."""

    manifest: type[Manifest]
    kind: str
    plural: str
    groups: tuple[str, ...]
    """The groups that serve it; each gets a definition of its own."""
    version: str
    columns: tuple[Column, ...]
    status: Status
    short_names: tuple[str, ...] = ()

    @property
    def singular(self) -> str:
        """What people may type for one of them."""
        return self.kind.lower()


_POOL_COLUMN = Column("Inference Pool", ".spec.poolRef.name")
_AGE = Column("Age", ".metadata.creationTimestamp", "date")

OBJECTIVE = CustomKind(
    manifest=ObjectiveManifest,
    kind="InferenceObjective",
    plural="inferenceobjectives",
    groups=OBJECTIVE_GROUPS,
    version="v1alpha2",
    # The priority as text: a number column shows an unset one as 0, and whoever wrote none should see that.
    columns=(_POOL_COLUMN, Column("Priority", ".spec.priority"), _AGE),
    status=Status.READY_UNTIL_JUDGED,
)
REWRITE = CustomKind(
    manifest=RewriteManifest,
    kind="InferenceModelRewrite",
    plural="inferencemodelrewrites",
    groups=OBJECTIVE_GROUPS,
    version="v1alpha2",
    columns=(_POOL_COLUMN, _AGE),
    status=Status.ACCEPTED_UNTIL_JUDGED,
)
POOL = CustomKind(
    manifest=PoolManifest,
    kind="InferencePool",
    plural="inferencepools",
    groups=(POOL_GROUP,),
    version="v1",
    columns=(_AGE,),
    status=Status.NOT_OURS,
    short_names=("infpool",),
)

INSTALLED = (OBJECTIVE, REWRITE)
"""The kinds whose definitions we ship."""


def definition(kind: CustomKind, *, group: str) -> Json:
    """The CustomResourceDefinition of `kind` in one of its groups."""
    names: Json = {"kind": kind.kind, "listKind": f"{kind.kind}List", "plural": kind.plural}
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    names["singular"] = kind.singular
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced",
            "versions": [
                {
                    "name": kind.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": column.name, "type": column.type, "jsonPath": column.path}
                        for column in kind.columns
                    ],
                    "schema": {"openAPIV3Schema": object_schema(kind)},
                }
            ],
        },
    }


def object_schema(kind: CustomKind) -> Json:
    """The structural schema of one object of `kind`."""
    schema = _schema(inspect.type_info(kind.manifest))
    properties = {
        "apiVersion": {
            "type": "string",
            "description": "The group and version that the object is written in.",
        },
        "kind": {"type": "string", "description": f"Always {kind.kind}."},
        # The API server has its own rules for this one, and takes no others but for the name.
        "metadata": {"type": "object"},
        "spec": schema["properties"]["spec"],
        "status": _status(kind.status),
    }
    return {
        "description": schema["description"],
        "type": "object",
        "required": ["spec"],
        "properties": properties,
    }


def _schema(kind: inspect.Type) -> Json:
    """The schema of one type. What no class of `manifest` uses is refused."""
    if isinstance(kind, inspect.Metadata):
        return _schema(kind.type)
    if isinstance(kind, inspect.UnionType):
        # Only "X or null": the API server drops a null, so the field is then absent.
        (kind,) = (one for one in kind.types if not isinstance(one, inspect.NoneType))
        return _schema(kind)
    translate = _TRANSLATIONS.get(type(kind))
    if translate is None:
        raise TypeError(f"a custom resource can't hold a {type(kind).__name__}")
    return {name: value for name, value in translate(kind).items() if value is not None}


def _struct(kind: inspect.StructType) -> Json:
    words = WORDS.get(kind.cls, {})
    properties: Json = {}
    for field in kind.fields:
        name = field.encode_name
        schema = _schema(field.type)
        described = {"description": words[name]} if name in words else {}
        default = {} if field.default in _NO_DEFAULT else {"default": _plain(field.default)}
        properties[name] = {**schema, **described, **default}
    return {
        "description": _first_line(kind.cls),
        "type": "object",
        "required": [field.encode_name for field in kind.fields if field.required] or None,
        "properties": properties,
        "x-kubernetes-validations": [
            {"rule": rule.expression, "message": rule.message} for rule in RULES.get(kind.cls, ())
        ]
        or None,
    }


def _mapping(kind: inspect.DictType) -> Json:
    return {
        "type": "object",
        "minProperties": kind.min_length,
        "maxProperties": kind.max_length,
        "additionalProperties": _schema(kind.value_type),
    }


def _list(kind: inspect.VarTupleType) -> Json:
    return {
        "type": "array",
        "minItems": kind.min_length,
        "maxItems": kind.max_length,
        "items": _schema(kind.item_type),
    }


def _text(kind: inspect.StrType) -> Json:
    return {
        "type": "string",
        "minLength": kind.min_length,
        "maxLength": kind.max_length,
        "pattern": kind.pattern,
    }


def _number(kind: inspect.IntType) -> Json:
    least, most = kind.ge, kind.le
    if least is None or most is None:
        raise TypeError("a whole number in a custom resource needs both its bounds")
    # The format is a hint for clients; the API server enforces the bounds only.
    fits = least >= _INT32_LEAST and most <= _INT32_MOST
    return {
        "type": "integer",
        "format": "int32" if fits else "int64",
        "minimum": least,
        "maximum": most,
    }


def _choice(kind: inspect.EnumType) -> Json:
    return {"type": "string", "enum": [member.value for member in kind.cls]}


_TRANSLATIONS: Mapping[type[inspect.Type], Callable[[Any], Json]] = {
    inspect.StructType: _struct,
    inspect.DictType: _mapping,
    inspect.VarTupleType: _list,
    inspect.StrType: _text,
    inspect.IntType: _number,
    inspect.EnumType: _choice,
}


def _plain(default: object) -> object:
    return default.value if isinstance(default, Enum) else default


def _first_line(shape: type) -> str:
    return (shape.__doc__ or "").strip().partition("\n")[0]


def _status(status: Status) -> Json:
    match status:
        case Status.NOT_OURS:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        case Status.READY_UNTIL_JUDGED | Status.ACCEPTED_UNTIL_JUDGED:
            return {
                "description": "What became of the object.",
                "type": "object",
                "properties": {"conditions": _conditions(status.value)},
            }
        case _:
            assert_never(status)


def _conditions(first: str) -> Json:
    return {
        "description": "What is known of the object. Accepted says whether its pool's picker goes by it, or why not.",
        "type": "array",
        "maxItems": MAX_CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "default": [
            {
                "type": first,
                "status": "Unknown",
                "reason": "Pending",
                "message": "Waiting for controller",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            }
        ],
        "items": _CONDITION,
    }


_CONDITION: Json = {
    "description": "One thing that is true of the object, or not, or not known to be.",
    "type": "object",
    "required": ["lastTransitionTime", "message", "reason", "status", "type"],
    "properties": {
        "type": {
            "description": "What it is about.",
            "type": "string",
            "maxLength": 316,
            "pattern": (
                r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
                r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
            ),
        },
        "status": {
            "description": "Whether it is so.",
            "type": "string",
            "enum": ["True", "False", "Unknown"],
        },
        "reason": {
            "description": "Why, in one word for programs.",
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        "message": {"description": "Why, in words for people.", "type": "string", "maxLength": 32768},
        "observedGeneration": {
            "description": "The metadata.generation that was looked at; an older one means that this is out of date.",
            "type": "integer",
            "format": "int64",
            "minimum": 0,
        },
        "lastTransitionTime": {
            "description": "When the status last changed.",
            "type": "string",
            "format": "date-time",
        },
    },
}
"""metav1.Condition, by the rules that every controller keeps."""

RULES: Mapping[type[Struct], tuple[Rule, ...]] = {
    PoolSpec: (
        Rule(
            "self.targetPorts.all(one, self.targetPorts.exists_one(other, one.number == other.number))",
            "port number must be unique",
        ),
    ),
    EndpointPickerRef: (
        Rule(
            "self.kind != 'Service' || has(self.port)",
            "port is required when kind is Service or unspecified",
        ),
    ),
    RewriteRule: (
        Rule(
            "!has(self.targets) || self.targets.all(one, has(one.weight)) "
            "|| self.targets.all(one, !has(one.weight))",
            "either all targets have a weight or none has one",
        ),
    ),
}
"""By the class whose fields a rule ties together; `decode` checks the same."""
