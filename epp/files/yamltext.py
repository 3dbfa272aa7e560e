"""YAML text as documents of plain values, each with its lines and its own errors.

The text is cut at its `---` lines first, as kubectl does it, so that a mistake in one document does not cost the ones
after it. Scalars are what kubectl takes them for: `yes` is a boolean, `2001-12-14` is text, and so is `12:30`. A key is
always text. Only the tags of YAML itself are known; nothing in a file can make a Python object.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from epp.api import describe
from epp.files.tree import Builder, Document, SyntaxProblem, TreeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEPARATOR = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it; 10 times faster."""

_WORDS: dict[str, object] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
for _word in ("true", "yes", "on"):
    _WORDS |= dict.fromkeys((_word, _word.capitalize(), _word.upper()), True)
for _word in ("false", "no", "off"):
    _WORDS |= dict.fromkeys((_word, _word.capitalize(), _word.upper()), False)

_NUMBER_START = frozenset("+-.0123456789")
_LONGEST_NUMBER = 64
"""A longer one is nothing that anybody means, and Python refuses to convert thousands of digits."""
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_OTHER_BASE = re.compile(r"[-+]?0(?:x[0-9a-fA-F][0-9a-fA-F_]*|o?[0-7][0-7_]*|b[01][01_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float")}


def read_yaml(text: str) -> Iterator[Document]:
    """The documents of a text, in order, broken ones included. Nothing is raised for what the text says."""
    starts = [match.start() for match in _SEPARATOR.finditer(text)]
    if starts and _is_preamble(text[: starts[0]]):
        starts[0] = 0
    elif not starts or starts[0] != 0:
        starts.insert(0, 0)
    line = 0
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield from _read_chunk(text[start:end], line)
        line += text.count("\n", start, end)


def plain(text: str) -> object:
    """What an unquoted scalar stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START or len(text) > _LONGEST_NUMBER:
        return text
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> float | None:
    digits = text.replace("_", "")
    if _DECIMAL.fullmatch(text):
        return int(digits)
    if _OTHER_BASE.fullmatch(text):
        return _other_base(digits)
    if _FLOAT.fullmatch(text):
        return float(digits)
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", "", 1))
    return None


def _other_base(digits: str) -> int:
    base = {"x": 16, "b": 2}.get(digits.lstrip("+-")[1], 8)
    return int(digits, base)


def _is_preamble(text: str) -> bool:
    """Comments, directives and blank lines: before the first separator they belong to the document after it."""
    return all(not line.strip() or line.lstrip()[0] in "#%" for line in text.splitlines())


def _read_chunk(chunk: str, lines_before: int) -> Iterator[Document]:
    builder = Builder(lines_before + 1)
    try:
        for event in yaml.parse(chunk, Loader=_LOADER):
            assert event.start_mark is not None, "every event of a parser has its place"
            line = lines_before + event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                builder = Builder(line)
            elif isinstance(event, yaml.DocumentEndEvent):
                yield builder.document()
                builder = Builder(line)
            else:
                _feed(builder, event, line)
    except TreeError as error:
        yield builder.document(error.problem)
    except yaml.YAMLError as error:
        yield builder.document(_failure(error, chunk, lines_before))


def _feed(builder: Builder, event: yaml.Event, line: int) -> None:
    if isinstance(event, yaml.ScalarEvent):
        _feed_scalar(builder, event, line)
    elif isinstance(event, yaml.CollectionEndEvent):
        builder.end()
    elif isinstance(event, yaml.NodeEvent):
        if builder.expects_key:
            raise TreeError(line, "a key must be text")
        if isinstance(event, yaml.AliasEvent):
            builder.alias(event.anchor or "", line)
        elif isinstance(event, yaml.MappingStartEvent):
            _check_tag(builder, event.tag, "map", line)
            builder.begin_mapping(line, event.anchor)
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(builder, event.tag, "seq", line)
            builder.begin_list(line, event.anchor)


def _feed_scalar(builder: Builder, event: yaml.ScalarEvent, line: int) -> None:
    unquoted = event.implicit[0]
    if not builder.expects_key:
        resolved = unquoted or event.tag in _SCALAR_TAGS
        if not resolved:
            _check_tag(builder, event.tag, "str", line)
        builder.scalar(plain(event.value) if resolved else event.value, line, event.anchor)
    elif unquoted and event.value == "<<":
        builder.merge_key(line)
    else:
        builder.key(event.value, line)


def _check_tag(builder: Builder, tag: str | None, expected: str, line: int) -> None:
    if tag not in (None, "!", f"{_TAG}{expected}"):
        builder.reject(line, f"tag {describe(tag)} is not known; remove it")


def _failure(error: yaml.YAMLError, chunk: str, lines_before: int) -> SyntaxProblem:
    """A parser's complaint, without the piece of text that PyYAML quotes: it may be a secret's."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = lines_before + mark.line + 1 if mark is not None else lines_before + 1
        if not error.context or error.context_mark is None:
            return SyntaxProblem(line, f"is not valid YAML: {error.problem}")
        begins = lines_before + error.context_mark.line + 1
        return SyntaxProblem(line, f"is not valid YAML: {error.problem} {error.context}", begins)
    position = getattr(error, "position", 0)
    line = lines_before + chunk.encode()[:position].count(b"\n") + 1
    return SyntaxProblem(line, f"is not valid YAML: {getattr(error, 'reason', 'it cannot be read')}")
