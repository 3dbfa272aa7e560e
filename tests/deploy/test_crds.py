"""The custom resource definitions: their shape, that they are up to date, and that they judge as our decoding does."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes_validate import utils as kubernetes_validate
from msgspec import Struct, inspect

from deploy.generate import ROOT, generated
from epp.api.crds import INSTALLED, OBJECTIVE, POOL, REWRITE, CustomKind, definition, object_schema
from epp.api.decode import decode
from epp.api.explanations import WORDS
from tests.deploy.specs import ALL, GROUPS, Case, Judged

KINDS = {kind.kind: kind for kind in (*INSTALLED, POOL)}
CASES = pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.kind}: {case.name}")


def _whole(_validator: Any, pattern: str, instance: object, _schema: Any) -> Any:
    # Python's `$` lets a trailing line end pass, which the API server's does not.
    if isinstance(instance, str) and not re.fullmatch(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern}")


Validator = jsonschema.validators.extend(jsonschema.Draft7Validator, {"pattern": _whole})


def without_nulls(value: Any) -> Any:
    """What the API server looks at: a field that is null was dropped before."""
    match value:
        case dict():
            return {key: without_nulls(one) for key, one in value.items() if one is not None}
        case list():
            return [without_nulls(one) for one in value]
        case _:
            return value


def installed() -> list[tuple[CustomKind, str]]:
    """Every definition that we ship."""
    return [(kind, group) for kind in INSTALLED for group in kind.groups]


@CASES
def test_our_decoding_judges_an_object_like_the_api_server(case: Case) -> None:
    """What the schema or a rule across fields refuses, decoding refuses, and nothing else."""
    groups = GROUPS if case.kind in ("InferenceObjective", "InferenceModelRewrite") else ("",)
    for group in groups:
        document = case.document(api_version=f"{group}/v1alpha2" if group else None)
        decoded = decode(document)
        assert decoded.broken == (case.judged is not Judged.TAKEN), decoded.problems


@CASES
def test_the_schema_judges_an_object_by_itself(case: Case) -> None:
    """The generated schema refuses what it must; rules across fields are not its business."""
    errors = list(Validator(object_schema(KINDS[case.kind])).iter_errors(without_nulls(case.document())))
    assert bool(errors) == (case.judged is Judged.REFUSED), errors


@pytest.mark.parametrize("name", sorted(generated()))
def test_what_is_generated_is_up_to_date(name: str) -> None:
    """The committed files are what the code says: run `make manifests` after a change."""
    assert (ROOT / name).read_text(encoding="utf-8") == generated()[name]


def test_there_is_a_file_for_every_kind_and_group_and_no_other() -> None:
    """Four definitions are installed, and none is left over from a kind that is gone."""
    names = {path.name for path in (ROOT / "crds").iterdir()}
    assert names == {f"{group}_{kind.plural}.yaml" for kind, group in installed()}
    assert len(names) == 4


@pytest.mark.parametrize(("kind", "group"), [*installed(), (POOL, "inference.networking.k8s.io")])
def test_a_definition_is_one_to_the_api_server(kind: CustomKind, group: str) -> None:
    """The definitions keep the rules of their own kind, strictly."""
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(definition(kind, group=group), version, strict=True)


@pytest.mark.parametrize(("kind", "group"), installed())
def test_a_definition_is_named_served_and_stored_as_upstream_has_it(kind: CustomKind, group: str) -> None:
    """Names, scope, version, status subresource and columns are those that clients and dashboards know."""
    spec = definition(kind, group=group)["spec"]
    assert spec["group"] == group
    assert spec["scope"] == "Namespaced"
    assert spec["names"] == {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": f"{kind.kind.lower()}s",
        "singular": kind.kind.lower(),
    }
    (version,) = spec["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha2", True, True)
    assert version["subresources"] == {"status": {}}
    columns = [(one["name"], one["jsonPath"], one["type"]) for one in version["additionalPrinterColumns"]]
    priority = [("Priority", ".spec.priority", "string")] if kind is OBJECTIVE else []
    assert columns == [
        ("Inference Pool", ".spec.poolRef.name", "string"),
        *priority,
        ("Age", ".metadata.creationTimestamp", "date"),
    ]


@pytest.mark.parametrize(("kind", "first"), [(OBJECTIVE, "Ready"), (REWRITE, "Accepted")])
def test_the_status_holds_eight_conditions_by_type_and_begins_with_one(kind: CustomKind, first: str) -> None:
    """Conditions merge by type, eight at most; the default is the one that upstream's definitions have."""
    conditions = object_schema(kind)["properties"]["status"]["properties"]["conditions"]
    assert conditions["maxItems"] == 8
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    (default,) = conditions["default"]
    assert default == {
        "type": first,
        "status": "Unknown",
        "reason": "Pending",
        "message": "Waiting for controller",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }
    assert not list(Validator(conditions["items"]).iter_errors(default))


def test_the_fields_of_an_objective_are_those_of_the_reference() -> None:
    """Lengths, patterns, defaults and ranges, word for word; the priority has no default."""
    spec = object_schema(OBJECTIVE)["properties"]["spec"]
    bare = {name: _rules(one) for name, one in spec["properties"]["poolRef"]["properties"].items()}
    assert bare == {
        "group": {
            "type": "string",
            "maxLength": 253,
            "pattern": r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            "default": "inference.networking.k8s.io",
        },
        "kind": {
            "type": "string",
            "minLength": 1,
            "maxLength": 63,
            "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
            "default": "InferencePool",
        },
        "name": {"type": "string", "minLength": 1, "maxLength": 253},
    }
    assert _rules(spec["properties"]["priority"]) == {
        "type": "integer",
        "format": "int32",
        "minimum": -(2**31),
        "maximum": 2**31 - 1,
    }
    assert spec["required"] == ["poolRef"]
    assert spec["properties"]["poolRef"]["required"] == ["name"]


def _rules(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "description"}


@pytest.mark.parametrize("kind", [*INSTALLED, POOL], ids=lambda kind: kind.kind)
def test_kubectl_explain_has_words_for_every_field(kind: CustomKind) -> None:
    """No field is left without a description, and no description without its field."""
    missing = []

    def look(schema: dict[str, Any], path: str) -> None:
        if not schema.get("description"):
            missing.append(path)
        for name, one in schema.get("properties", {}).items():
            look(one, f"{path}.{name}")
        items = schema.get("items")
        if items and items["type"] == "object":
            look(items, f"{path}[]")

    look(object_schema(kind)["properties"]["spec"], "spec")
    assert not missing


def test_no_words_are_left_over() -> None:
    """A field that is renamed takes its description along."""
    for shape, words in WORDS.items():
        assert issubclass(shape, Struct)
        kind = inspect.type_info(shape)
        assert isinstance(kind, inspect.StructType)
        assert set(words) == {field.encode_name for field in kind.fields}


def test_files_are_plain_yaml_without_tags_or_anchors() -> None:
    """What we ship can be read by every YAML parser, and by people."""
    for path in (ROOT / "crds").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*[^#\s].*(!!|&id\d|\*id\d)", text, re.MULTILINE)
        assert yaml.safe_load(text)["kind"] == "CustomResourceDefinition"
