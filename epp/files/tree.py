"""Plain values and the lines they stand on, built together from a stream of parse events.

Both syntaxes (`yamltext`, `jsontext`) feed the same builder, so both have the same bounds: how deep a document may be,
how many values it may hold, and how many of them aliases may add. Nothing here recurses and an alias shares its value,
so no document can exhaust the stack or the memory. When the parser gives up halfway, what was built so far is
still there, to tell whom the document was about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, cast

from epp.api import FieldPath, describe, format_path

MAX_DEPTH = 100
MAX_VALUES = 3_000_000
"""In one document; ten thousand pods as kubectl prints them are about two million."""
MAX_ALIASED_VALUES = 100_000
"""How many values aliases may stand for in one document: `&a [*b, *b]` and so on doubles with every line."""
MAX_ERRORS = 20
"""More than this of one document helps nobody."""


class Branch(NamedTuple):
    """Where a mapping or a list stands, and everything in it."""

    line: int
    children: dict[str, Lines] | list[Lines]


Lines = int | Branch
"""The line of a value; parallel to the value itself. Lines count from 1."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file."""

    value: object
    """As much of it as could be read; None if it is empty."""
    lines: Lines
    errors: tuple[SyntaxProblem, ...] = ()
    """Why it can't be used, if it can't."""


class SyntaxProblem(NamedTuple):
    """What a parser or the builder does not accept, and where."""

    line: int
    message: str
    begins: int | None = None
    """The line in which the thing begins that is not complete, if that is the trouble."""


class TreeError(Exception):
    """The document breaks a bound, or says something that makes no sense, and is not read any further."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.problem = SyntaxProblem(line, message)


def line_of(lines: Lines, path: FieldPath = ()) -> int:
    """The line of the field at `path`, or of the innermost thing around it that exists."""
    for key in path:
        inner = _inside(lines, key)
        if inner is None:
            break
        lines = inner
    return lines.line if isinstance(lines, Branch) else lines


def lines_at(lines: Lines, path: FieldPath) -> Lines:
    """The lines of the value at `path`, which exists."""
    for key in path:
        inner = _inside(lines, key)
        assert inner is not None, "lines are parallel to values"
        lines = inner
    return lines


def _inside(lines: Lines, key: str | int) -> Lines | None:
    if not isinstance(lines, Branch):
        return None
    if isinstance(lines.children, dict):
        return lines.children.get(str(key))
    return lines.children[key] if isinstance(key, int) and key < len(lines.children) else None


class _Anchored(NamedTuple):
    """A complete value that aliases may stand for."""

    value: object
    lines: Lines
    values: int
    """How many values it holds, itself included."""


@dataclass(slots=True)
class _Open:
    """A mapping or a list that is not complete yet."""

    value: dict[str, object] | list[object]
    children: dict[str, Lines] | list[Lines]
    lines: Branch
    anchor: str | None
    values: int = 1
    """How many values it holds, itself included; aliases count as what they stand for."""
    key: _Key | None = None
    """Of a mapping: the key whose value comes next."""
    merged: list[tuple[object, Lines]] = field(default_factory=list)
    """Of a mapping: whatever stands under its merge key."""


class _Key(NamedTuple):
    text: str | None
    """None for the merge key."""
    line: int


class Builder:
    """Takes parse events in order; `document` is what came of them."""

    def __init__(self, first_line: int) -> None:
        self._root: object = None
        self._lines: Lines = first_line
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}
        self._values = 0
        self._aliased_values = 0
        self._errors: list[SyntaxProblem] = []

    def document(self, *failures: SyntaxProblem) -> Document:
        """What was built until now; `failures` are why it ended early, if it did."""
        return Document(self._root, self._lines, (*self._errors, *failures))

    def reject(self, line: int, message: str) -> None:
        """The document can't be used, but it goes on."""
        if len(self._errors) < MAX_ERRORS:
            self._errors.append(SyntaxProblem(line, message))

    @property
    def expects_key(self) -> bool:
        """Whether what comes next is the key of a mapping."""
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def key(self, text: str, line: int) -> None:
        """A key of the innermost mapping."""
        mapping = self._open[-1]
        if text in cast("dict[str, object]", mapping.value):
            message = f"{format_path((text,))} is given twice in one mapping; remove one of the two"
            self.reject(line, message)
        mapping.key = _Key(text, line)

    def merge_key(self, line: int) -> None:
        """The key under which the innermost mapping names others whose entries it takes over."""
        self._open[-1].key = _Key(None, line)

    def begin_mapping(self, line: int, anchor: str | None = None) -> None:
        """A mapping begins; what follows is in it, keys and values in turn."""
        self._begin({}, {}, line, anchor)

    def begin_list(self, line: int, anchor: str | None = None) -> None:
        """A list begins; what follows is in it."""
        self._begin([], [], line, anchor)

    def end(self) -> None:
        """The innermost mapping or list is complete."""
        done = self._open.pop()
        for value, lines in done.merged:
            self._merge(done, value, lines)
        if done.anchor is not None:
            self._anchors[done.anchor] = _Anchored(done.value, done.lines, done.values)
        if self._open:
            self._open[-1].values += done.values

    def scalar(self, value: object, line: int, anchor: str | None = None) -> None:
        """A value that holds no others."""
        if anchor is not None:
            self._anchors[anchor] = _Anchored(value, line, 1)
        self._place(value, line)
        if self._open:
            self._open[-1].values += 1

    def alias(self, name: str, line: int) -> None:
        """The value of an anchor, again."""
        anchored = self._anchors.get(name)
        if anchored is None:
            raise TreeError(line, f"alias {describe(name)} has no complete anchor before it")
        self._aliased_values += anchored.values
        if self._aliased_values > MAX_ALIASED_VALUES:
            raise TreeError(
                line, f"its aliases stand for more than {MAX_ALIASED_VALUES} values; write them out"
            )
        self._place(anchored.value, line if isinstance(anchored.lines, int) else anchored.lines)
        if self._open:
            self._open[-1].values += anchored.values

    def _begin(
        self,
        value: dict[str, object] | list[object],
        children: dict[str, Lines] | list[Lines],
        line: int,
        anchor: str | None,
    ) -> None:
        if len(self._open) == MAX_DEPTH:
            raise TreeError(line, f"is nested deeper than {MAX_DEPTH} levels")
        parent = self._open[-1] if self._open else None
        # A field is where its key is, not where the first line of its value is.
        lines = Branch(parent.key.line if parent is not None and parent.key is not None else line, children)
        self._place(value, lines)
        self._open.append(_Open(value, children, lines, anchor))

    def _place(self, value: object, lines: Lines) -> None:
        """Put a value where it belongs; a container before it is filled, so that nothing is lost at a failure."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise TreeError(line_of(lines), f"holds more than {MAX_VALUES} values; split it")
        if not self._open:
            self._root, self._lines = value, lines
            return
        inner = self._open[-1]
        if isinstance(inner.value, list):
            inner.value.append(value)
            cast("list[Lines]", inner.children).append(lines)
            return
        assert inner.key is not None, "the parser gives keys and values in turn"
        if inner.key.text is None:
            inner.merged.append((value, lines))
        else:
            inner.value[inner.key.text] = value
            cast("dict[str, Lines]", inner.children)[inner.key.text] = lines
        inner.key = None

    def _merge(self, target: _Open, value: object, lines: Lines) -> None:
        """Take over the entries that the mapping does not have itself; of several sources the first wins."""
        if isinstance(value, list):
            sources = zip(value, cast("list[Lines]", cast("Branch", lines).children), strict=True)
        else:
            sources = zip((value,), (lines,), strict=True)
        for source, source_lines in sources:
            if not isinstance(source, dict):
                message = "<< takes a mapping or a list of mappings"
                self.reject(line_of(source_lines), message)
                continue
            for key, entry in source.items():
                if key not in target.value:
                    cast("dict[str, object]", target.value)[key] = entry
                    entry_lines = cast("dict[str, Lines]", cast("Branch", source_lines).children)[key]
                    cast("dict[str, Lines]", target.children)[key] = entry_lines
