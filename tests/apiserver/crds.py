"""The custom resource definitions that tests install: the project's own from `deploy/crds`, and the pool's, in short.

A definition does in the fake what it does in the real server: it gives defaults, drops unknown fields, and refuses
what its schema forbids.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import yaml

from tests.apiserver.kinds import BUILT_IN, Counting, Kind, Scope, StatusPath
from tests.apiserver.refusal import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parents[2] / "deploy" / "crds"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
GROUPS = ("llm-d.ai", "inference.networking.x-k8s.io")

POOL = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "inferencepools.inference.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://example.com/test-only"},
    },
    "spec": {
        "group": "inference.networking.k8s.io",
        "names": {
            "kind": "InferencePool",
            "listKind": "InferencePoolList",
            "plural": "inferencepools",
            "singular": "inferencepool",
            "shortNames": ["infpool"],
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "spec": {
                                "type": "object",
                                "required": ["selector", "targetPorts"],
                                "properties": {
                                    "selector": {
                                        "type": "object",
                                        "required": ["matchLabels"],
                                        "properties": {
                                            "matchLabels": {
                                                "type": "object",
                                                "minProperties": 1,
                                                "maxProperties": 64,
                                                "additionalProperties": {"type": "string", "maxLength": 63},
                                            }
                                        },
                                    },
                                    "targetPorts": {
                                        "type": "array",
                                        "minItems": 1,
                                        "maxItems": 8,
                                        "x-kubernetes-list-type": "atomic",
                                        "items": {
                                            "type": "object",
                                            "required": ["number"],
                                            "properties": {
                                                "number": {
                                                    "type": "integer",
                                                    "format": "int32",
                                                    "minimum": 1,
                                                    "maximum": 65535,
                                                }
                                            },
                                        },
                                    },
                                    "appProtocol": {
                                        "type": "string",
                                        "default": "http",
                                        "enum": ["http", "kubernetes.io/h2c"],
                                    },
                                    "endpointPickerRef": {
                                        "type": "object",
                                        "required": ["name"],
                                        "properties": {
                                            "group": {"type": "string", "default": ""},
                                            "kind": {"type": "string", "default": "Service"},
                                            "name": {"type": "string", "minLength": 1, "maxLength": 253},
                                            "port": {
                                                "type": "object",
                                                "required": ["number"],
                                                "properties": {
                                                    "number": {
                                                        "type": "integer",
                                                        "format": "int32",
                                                        "minimum": 1,
                                                        "maximum": 65535,
                                                    }
                                                },
                                            },
                                            "failureMode": {
                                                "type": "string",
                                                "default": "FailClose",
                                                "enum": ["FailOpen", "FailClose"],
                                            },
                                        },
                                    },
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def _stand_in(group: str, kind: str, plural: str) -> dict[str, Any]:
    """A definition for a kind that `deploy/crds` does not hold."""
    ref = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "group": {"type": "string", "default": "inference.networking.k8s.io", "maxLength": 253},
            "kind": {"type": "string", "default": "InferencePool", "minLength": 1, "maxLength": 63},
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
        },
    }
    schema = {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "required": ["poolRef"],
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"poolRef": ref},
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": plural[:-1]},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1alpha2",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """Every definition by its name, `inferenceobjectives.llm-d.ai`."""
    found = [POOL]
    for group in GROUPS:
        found.append(_stand_in(group, "InferenceObjective", "inferenceobjectives"))
        found.append(_stand_in(group, "InferenceModelRewrite", "inferencemodelrewrites"))
    for path in sorted(FOLDER.glob("*.yaml")):
        found += [
            document
            for document in yaml.safe_load_all(path.read_text())
            if document and document.get("kind") == "CustomResourceDefinition"
        ]
    return {document["metadata"]["name"]: document for document in found}


@cache
def kind_of(name: str) -> Kind:
    """The kind that a definition adds, in its first served version."""
    spec = definitions()[name]["spec"]
    version = next(version for version in spec["versions"] if version["served"])
    return Kind(
        spec["group"],
        version["name"],
        spec["names"]["plural"],
        spec["names"]["kind"],
        scope=Scope(spec["scope"]),
        status=StatusPath.SUBRESOURCE if "status" in version.get("subresources", {}) else StatusPath.NONE,
        counting=Counting.GENERATION,
    )


def kind_named(resource: str) -> Kind:
    """Any kind that a server may know, by its plural and group: `pods`, `inferenceobjectives.llm-d.ai`."""
    return next((kind for kind in BUILT_IN if kind.resource == resource), None) or kind_of(resource)


def kind_like(obj: Mapping[str, Any]) -> Kind:
    """The kind that an object says it is."""
    kinds = (*BUILT_IN, *map(kind_of, definitions()))
    return next(kind for kind in kinds if (kind.api_version, kind.kind) == (obj["apiVersion"], obj["kind"]))


@cache
def schema_of(kind: Kind) -> dict[str, Any] | None:
    """The schema of a custom kind."""
    document = definitions().get(kind.resource)
    if document is None:
        return None
    version = next(version for version in document["spec"]["versions"] if version["name"] == kind.version)
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def shaped(schema: dict[str, Any], value: Any) -> Any:
    """The value with unknown fields dropped and defaults filled in; null counts as unset where there is a default."""
    if isinstance(value, list):
        items = schema.get("items", {})
        return [shaped(items, item) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties")
    keep = schema.get("x-kubernetes-preserve-unknown-fields") or not (properties or isinstance(others, dict))
    keep = keep or others is True
    result = {}
    for key, item in value.items():
        if key in properties:
            if item is not None or "default" not in properties[key]:
                result[key] = shaped(properties[key], item)
        elif isinstance(others, dict):
            result[key] = shaped(others, item)
        elif keep:
            result[key] = item
    for key, field in properties.items():
        if key not in result and "default" in field:
            result[key] = shaped(field, field["default"])
    return result


def admitted(kind: Kind, obj: dict[str, Any]) -> dict[str, Any]:
    """The object as the definition makes it; refused if the schema forbids it."""
    schema = schema_of(kind)
    if schema is None:
        return obj
    metadata = obj["metadata"]
    obj = shaped({**schema, "properties": {**schema["properties"], "metadata": {}}}, obj) | {
        "metadata": metadata
    }
    problems = []
    for error in _validator(kind).iter_errors(obj):
        where = ".".join(str(step) for step in error.absolute_path)
        problems.append(f"{where or '<root>'}: Invalid value: {error.message}")
    problems += _beyond_schema(schema, obj, "")
    if problems:
        raise invalid(f"{kind.kind}.{kind.group}", metadata.get("name", ""), "; ".join(sorted(problems)))
    return obj


@cache
def _validator(kind: Kind) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema_of(kind) or {})


def _beyond_schema(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    """What JSON Schema does not judge: formats, and lists that are maps by a key of their items."""
    problems = []
    if isinstance(value, list):
        if schema.get("x-kubernetes-list-type") == "map":
            keys = [tuple(item.get(key) for key in schema["x-kubernetes-list-map-keys"]) for item in value]
            problems += [f"{path}: Duplicate value: {key}" for key in keys if keys.count(key) > 1]
        for index, item in enumerate(value):
            problems += _beyond_schema(schema.get("items", {}), item, f"{path}[{index}]")
        return problems
    if isinstance(value, dict):
        for key, item in value.items():
            problems += _beyond_schema(
                schema.get("properties", {}).get(key, {}), item, f"{path}.{key}".lstrip(".")
            )
        return problems
    style = schema.get("format", "")
    bits = {"int32": 31, "int64": 63}.get(style)
    if bits and isinstance(value, int) and not -(2**bits) <= value < 2**bits:
        problems.append(f"{path}: Invalid value: {value}: should be of format {style}")
    if style == "date-time" and isinstance(value, str) and not _TIME.fullmatch(value):
        problems.append(f"{path}: Invalid value: {value}: should be of format {style}")
    return problems
