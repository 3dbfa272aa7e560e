"""Merge patches (RFC 7396) and JSON patches (RFC 6902), applied to copies."""

from __future__ import annotations

import copy
from typing import Any

from tests.apiserver.refusal import Refusal, bad_request

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def merged(target: Any, patch: Any) -> Any:
    """The target with a merge patch applied."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def operated(target: Any, operations: Any) -> Any:
    """The target with a JSON patch applied."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document = {"": copy.deepcopy(target)}
    for operation in operations:
        try:
            _operate(document, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            why = f"the server rejected our request due to an error in our request: {operation!r}: {error!r}"
            raise Refusal(422, "Invalid", why) from None
    return document[""]


def _operate(document: dict[str, Any], operation: dict[str, Any]) -> None:
    path = operation["path"]
    match operation["op"]:
        case "add":
            _add(document, path, copy.deepcopy(operation["value"]))
        case "remove":
            _take(document, path)
        case "replace":
            _take(document, path)
            _add(document, path, copy.deepcopy(operation["value"]))
        case "move":
            _add(document, path, _take(document, operation["from"]))
        case "copy":
            _add(document, path, copy.deepcopy(_look(document, operation["from"])))
        case "test":
            if _look(document, path) != operation["value"]:
                raise ValueError(f"testing path {path} value failed")
        case other:
            raise ValueError(f"unknown op {other!r}")


def _walk(document: Any, path: str) -> tuple[Any, str | int]:
    """The container that `path` ends in, and the key or index within it."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]
    at = document
    for step in steps[:-1]:
        at = at[int(step)] if isinstance(at, list) else at[step]
    last = steps[-1]
    if isinstance(at, list):
        return at, len(at) if last == "-" else int(last)
    return at, last


def _look(document: Any, path: str) -> Any:
    container, key = _walk(document, path)
    return container[key]


def _take(document: Any, path: str) -> Any:
    container, key = _walk(document, path)
    return container.pop(key)


def _add(document: Any, path: str, value: Any) -> None:
    container, key = _walk(document, path)
    if isinstance(container, list):
        if int(key) > len(container):
            raise IndexError(f"index {key} is beyond the end of {path}")
        container.insert(int(key), value)
    else:
        container[key] = value
