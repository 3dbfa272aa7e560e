"""Reads a plain document into a class of `manifest`, and reports everything that breaks its rules, not just the first.

msgspec's own decoder stops at the first breach, which is right for a machine; a person who mends a file wants them
all. So the rules are taken from the same classes (`msgspec.inspect`) and applied here: what this module accepts,
msgspec accepts too. As in Kubernetes, a field that is null counts as absent.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from msgspec import inspect

from epp.api.manifest import Closed, Manifest
from epp.api.problem import Problem, Severity, describe

M = TypeVar("M", bound=Manifest)

_Reader = Callable[[object, list[Problem]], Any]
"""Reads one value; adds what is wrong with it, paths relative to the value. Its result counts only without errors."""

MAX_PROBLEMS = 20
"""More than this of one mapping or list helps nobody, and a hostile file could make millions."""


def read(document: object, shape: type[M]) -> tuple[M | None, tuple[Problem, ...]]:
    """`document` as a `shape`, or None if a rule is broken, and all that is wrong with it."""
    problems: list[Problem] = []
    value = _reader_of(shape)(document, problems)
    return (None if has_errors(problems) else cast("M", value)), tuple(problems)


def has_errors(problems: list[Problem] | tuple[Problem, ...]) -> bool:
    """Whether any of these means that the object can't be used."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def nearest(name: str, known: list[str]) -> str:
    """What to append to a message about an unknown name: the known one that was probably meant, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(known)}" if known else ""


def _error(value: object, message: str) -> Problem:
    return Problem(Severity.ERROR, (), describe(value), message)


@functools.cache
def _reader_of(shape: type[Manifest]) -> _Reader:
    return _compile(inspect.type_info(shape), "")


def _compile(kind: inspect.Type, remedy: str) -> _Reader:
    """The reader of one type. What no class of `manifest` uses is refused when the class is first read."""
    if isinstance(kind, inspect.Metadata):
        return _compile(kind.type, (kind.extra or {}).get("remedy", remedy))
    if isinstance(kind, inspect.UnionType):
        # Only "X or null", and null never gets here: a field that is null is absent.
        (kind,) = (one for one in kind.types if not isinstance(one, inspect.NoneType))
        return _compile(kind, remedy)
    compiler = _COMPILERS.get(type(kind))
    if compiler is None:
        raise TypeError(f"a manifest can't hold a {type(kind).__name__}")
    return compiler(kind, remedy)


def _nested(
    reader: _Reader, value: object, key: str | int, problems: list[Problem]
) -> Any:  # whatever the reader makes
    """`reader`'s result for the value at `key`; its problems get their place. Paths cost nothing where all is well."""
    before = len(problems)
    result = reader(value, problems)
    if len(problems) > before:
        problems[before:] = [problem.under(key) for problem in problems[before:]]
    return result


def _struct(kind: inspect.StructType, _remedy: str) -> _Reader:
    shape = kind.cls
    fields = [
        (field.name, field.encode_name, field.required, _compile(field.type, "")) for field in kind.fields
    ]
    known = [field.encode_name for field in kind.fields]
    closed = issubclass(shape, Closed)

    def read_struct(value: object, problems: list[Problem]) -> object:
        if not isinstance(value, Mapping):
            problems.append(_error(value, f"must be a mapping with {', '.join(known)}"))
            return None
        before = len(problems)
        found = {}
        for name, key, required, reader in fields:
            given = value.get(key)
            if given is not None:
                found[name] = _nested(reader, given, key, problems)
            elif required:
                problems.append(_error(None, "is required").under(key)._replace(value=""))
        if closed:
            for key in itertools.islice((key for key in value if key not in known), MAX_PROBLEMS):
                unknown = f"is not a field here and is ignored{nearest(str(key), known)}"
                problems.append(Problem(Severity.WARNING, (str(key),), "", unknown))
        return None if has_errors(problems[before:]) else shape(**found)

    return read_struct


def _mapping(kind: inspect.DictType, _remedy: str) -> _Reader:
    read_value = _compile(kind.value_type, "")
    least, most = kind.min_length or 0, kind.max_length

    def read_mapping(value: object, problems: list[Problem]) -> object:
        if not isinstance(value, Mapping):
            problems.append(_error(value, "must be a mapping of names to text"))
            return None
        if len(value) < least or (most is not None and len(value) > most):
            problems.append(_error(value, f"has {len(value)} entries; must have {least} to {most}"))
            return None
        result = {}
        enough = len(problems) + MAX_PROBLEMS
        for key, given in value.items():
            result[key] = _nested(read_value, given, key, problems)
            if len(problems) >= enough:
                break
        return result

    return read_mapping


def _list(kind: inspect.VarTupleType, _remedy: str) -> _Reader:
    read_item = _compile(kind.item_type, "")
    least, most = kind.min_length or 0, kind.max_length

    def read_list(value: object, problems: list[Problem]) -> object:
        if not isinstance(value, list | tuple):
            problems.append(_error(value, "must be a list"))
            return None
        if len(value) < least or (most is not None and len(value) > most):
            problems.append(_error(value, f"has {len(value)} items; must have {least} to {most}"))
            return None
        result = []
        enough = len(problems) + MAX_PROBLEMS
        for index, given in enumerate(value):
            result.append(_nested(read_item, given, index, problems))
            if len(problems) >= enough:
                break
        return tuple(result)

    return read_list


def _text(kind: inspect.StrType, remedy: str) -> _Reader:
    least, most = kind.min_length or 0, kind.max_length
    pattern = re.compile(kind.pattern) if kind.pattern is not None else None
    wanted = f": {remedy}" if remedy else ""

    def read_text(value: object, problems: list[Problem]) -> object:
        if not isinstance(value, str):
            quote = "; put it in quotes" if isinstance(value, bool | int | float) else ""
            problems.append(_error(value, f"must be text{quote}"))
        elif len(value) < least:
            problems.append(_error(value, f"must not be empty{wanted}"))
        elif most is not None and len(value) > most:
            problems.append(_error(value, f"has {len(value)} characters; at most {most} are allowed"))
        # fullmatch, because Python's `$` lets a trailing newline pass, which Kubernetes does not.
        elif pattern is not None and not pattern.fullmatch(value):
            problems.append(_error(value, f"is not valid{wanted}"))
        return value

    return read_text


def _number(kind: inspect.IntType, _remedy: str) -> _Reader:
    least, most = kind.ge, kind.le
    wanted = "must be a whole number" if least is None else f"must be a whole number from {least} to {most}"

    def read_number(value: object, problems: list[Problem]) -> object:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # as the API server takes it
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or (least is not None and value < least)
            or (most is not None and value > most)
        ):
            problems.append(_error(value, wanted))
        return value

    return read_number


def _choice(kind: inspect.EnumType, _remedy: str) -> _Reader:
    members = {member.value: member for member in kind.cls}

    def read_choice(value: object, problems: list[Problem]) -> object:
        member = members.get(value) if isinstance(value, str) else None
        if member is None:
            problems.append(_error(value, f"must be one of {', '.join(members)}"))
        return member

    return read_choice


_COMPILERS: dict[type[inspect.Type], Callable[[Any, str], _Reader]] = {
    inspect.StructType: _struct,
    inspect.DictType: _mapping,
    inspect.VarTupleType: _list,
    inspect.StrType: _text,
    inspect.IntType: _number,
    inspect.EnumType: _choice,
}
