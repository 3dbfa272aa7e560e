"""A scenario's YAML as plain data, with the changes for a shorter run laid over it.

Promises:
- A key that stands twice is an error, not the last one's value.
- An overlay changes mappings key by key and everything else whole: a list in it replaces the list that was there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.scenarios.problems import Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(text: str, *, source: str) -> dict[str, Any]:
    """The one mapping that a scenario's file holds. Raises `ScenarioError`."""
    try:
        document = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ScenarioError(f"{source}:{line}", [Problem("", f"is no YAML: {what}")]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ScenarioError(f"{source}:{line}", [Problem("", f"is no YAML: {error.reason}")]) from error
    if not isinstance(document, dict):
        raise ScenarioError(
            source, [Problem("", "holds no scenario: it must be a mapping that begins with name:")]
        )
    return document


def overlaid(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`lower` with what `upper` says otherwise."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = overlaid(below, value)
        else:
            merged[key] = value
    return merged


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # PyYAML itself says that it can't be a key
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands here a second time: keep one", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)
