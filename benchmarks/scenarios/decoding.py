"""From plain data to a `Scenario`: msgspec decides whether it is one, this module says in words why it isn't."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from benchmarks.load.plan import Delivery
from benchmarks.plays.measures import Measure
from benchmarks.scenarios.problems import Problem, ScenarioError
from benchmarks.scenarios.scenario import (
    Burst,
    Fault,
    HangUp,
    Kind,
    Lognormal,
    PassLine,
    Picker,
    Poisson,
    Ramp,
    Recorded,
    Scale,
    Scenario,
    Servers,
    SetObjective,
    TrafficClass,
    Uniform,
    Yardstick,
)
from epp.config.problems import join, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`")
_MISSING = re.compile(r"Object missing required field `(.+)`")
_NO_MEMBER = re.compile(r"Invalid (?:enum )?value '(.+)'")
_TYPES = re.compile(r"Expected `(.+)`, got `.+`")

_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_TAGGED = (Poisson, Burst, Ramp, Recorded, Lognormal, Uniform, Fault, Scale, SetObjective, HangUp)
_SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "traffic": TrafficClass,
    "servers": Servers,
    "picker": Picker,
    "pass": PassLine,
}


class _Place(NamedTuple):
    steps: Sequence[str | int]
    value: Any

    @property
    def names(self) -> list[str]:
        return [step for step in self.steps if isinstance(step, str)]

    def field(self, *more: str) -> str:
        path = ""
        for step in (*self.steps, *more):
            path = f"{path}[{step}]" if isinstance(step, int) else join(path, step)
        return path


def decode(document: Mapping[str, Any], *, source: str) -> Scenario:
    """The scenario that `document` is. Raises `ScenarioError`."""
    try:
        return msgspec.convert(document, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(source, [_problem(document, str(error))]) from error


def _problem(document: Mapping[str, Any], message: str) -> Problem:
    found = _PLACE.match(message)
    assert found is not None, "the pattern matches every text"
    what, place = found["what"], _located(document, message, found["path"] or "")
    if found["key"]:
        return Problem(place.field(), f"has keys that don't belong there: {what[0].lower()}{what[1:]}")
    if unknown := _UNKNOWN.fullmatch(what):
        return Problem(
            place.field(unknown[1]), f"there is no such field{suggest(unknown[1], _fields(place))}"
        )
    if missing := _MISSING.fullmatch(what):
        return Problem(place.field(missing[1]), f"is required{_choices(place, missing[1])}")
    if _NO_MEMBER.fullmatch(what):
        known = _members(place.names[-1], place)
        return Problem(place.field(), f"is {place.value!r}{suggest(str(place.value), known)}")
    if types := _TYPES.fullmatch(what):
        expected = " or ".join(_WORDS.get(name, name) for name in types[1].split(" | "))
        return Problem(place.field(), f"is {place.value!r}: expected {expected}")
    return Problem(place.field(), what)


def _located(document: Mapping[str, Any], message: str, path: str) -> _Place:
    """Where msgspec's path leads. It doesn't tell keys of mappings: one is found by leaving out all others."""
    document = copy.deepcopy(dict(document))
    value: Any = document
    steps: list[str | int] = []
    for step in _STEP.finditer(path):
        key: str | int
        if step["name"] is not None:
            key = step["name"]
        elif step["index"] is not None:
            key = int(step["index"])
        else:
            key = _culprit(document, value, message)
        steps.append(key if isinstance(value, list) else str(key))
        value = value[key]
    return _Place(steps, value)


def _culprit(document: Mapping[str, Any], mapping: dict[str, Any], message: str) -> str:
    """The key of `mapping`, somewhere in `document`, that alone gives the same error; only it is left."""
    entries = dict(mapping)
    for key, value in entries.items():
        mapping.clear()
        mapping[key] = value
        try:
            msgspec.convert(document, Scenario)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return key
    raise AssertionError(f"no entry alone is to blame for: {message}")


def _fields(place: _Place) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(_struct(place)))


def _struct(place: _Place) -> type[msgspec.Struct]:
    """The shape of what stands there."""
    if not place.names:
        return Scenario
    if place.names[-1] == "times":
        return Yardstick
    for struct in _TAGGED:
        config = struct.__struct_config__
        if isinstance(config.tag_field, str) and place.value.get(config.tag_field) == config.tag:
            return struct
    return _SECTIONS[place.names[0]]


def _choices(place: _Place, field: str) -> str:
    known = _members(field, place)
    return f": one of {', '.join(known)}" if known else ""


def _members(field: str, place: _Place) -> tuple[str, ...]:
    """The values that a field can have, where they are few."""
    match field:
        case "measure":
            return tuple(measure.value for measure in Measure)
        case "delivery":
            return tuple(delivery.value for delivery in Delivery)
        case "do":
            return _tags(Fault, Scale, SetObjective, HangUp)
        case "kind" if "pass" in place.names:
            return tuple(kind.value for kind in Kind)
        case "kind" if "arrivals" in place.names:
            return _tags(Poisson, Burst, Ramp, Recorded)
        case "kind":
            return _tags(Lognormal, Uniform)
        case _:
            return ()


def _tags(*structs: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(str(struct.__struct_config__.tag) for struct in structs)
