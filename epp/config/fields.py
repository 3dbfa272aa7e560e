"""Strict reading of one mapping: every field is asked for by name and kind, and what nobody asked for is a problem.

A wrong value is reported where it stands and its default is handed out, so that one pass finds every problem.
A field that is null counts as absent, as in Kubernetes.
"""

from __future__ import annotations

import re
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from epp.api.problem import describe
from epp.config.document import Listing, Mapping, Scalar, is_null
from epp.config.problems import join, nearest, suggest
from epp.config.quantity import parse_quantity
from epp.core.durations import parse_go_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.config.document import Entry, Node
    from epp.config.problems import Findings

_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][-+]?[0-9]{1,2})?")
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SWITCHES = {True: "on", False: "off"}

LOWEST_PRIORITY, HIGHEST_PRIORITY = -(2**31), 2**31 - 1

E = TypeVar("E", bound=Enum)


class Item(NamedTuple):
    """One text of a list, and where it stands."""

    text: str
    line: int
    path: str


class Fields:
    """One mapping, or the absence of one, which reads as empty."""

    def __init__(
        self, node: Node | None, *, line: int, path: str, findings: Findings, preface: str = ""
    ) -> None:
        """`line` is where to point when there is no mapping; `preface` begins every message from in here."""
        self.given = node is not None and not is_null(node)
        self.line = line
        self.path = path
        self.findings = findings
        self._preface = preface
        self._asked: dict[str, None] = {}
        self._whole = True
        self._mapping = Mapping(line)
        if isinstance(node, Mapping):
            self._mapping = node
        elif node is not None and self.given:
            self._whole = False
            findings.problem(node.line, path, f"{preface}must be a mapping, got {_shown(node)}")

    # ------------------------------------------------------------------ single values

    def text(self, key: str, default: str = "") -> str:
        """Any text."""
        node = self._value(key)
        if node is None:
            return default
        if not isinstance(node, Scalar):
            self.fail(key, f"must be text, got {_shown(node)}")
            return default
        return node.text

    def choice(self, key: str, default: E) -> E:
        """One of the values of `default`'s enum.

        Many a YAML tool writes `on` and `off` as `true` and `false`, so these are understood as well.
        """
        members = {str(member.value): member for member in type(default)}
        text = self.text(key)
        if text in _FLAGS and text not in members:
            text = _SWITCHES[_FLAGS[text]] if _SWITCHES[_FLAGS[text]] in members else text
        if not text or text in members:
            return members.get(text, default)
        near = nearest(text, members)
        hint = f"; did you mean {near!r}?" if near else ""
        self.fail(key, f"must be one of {', '.join(members)}, got {describe(text)}{hint}")
        return default

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        node = self._value(key)
        if node is None:
            return default
        if isinstance(node, Scalar) and not node.quoted and node.text in _FLAGS:
            return _FLAGS[node.text]
        self.fail(key, f"must be true or false, got {_shown(node)}")
        return default

    def number(
        self, key: str, default: float, *, above: float = -inf, least: float = -inf, most: float = inf
    ) -> float:
        """A number that is greater than `above`, and from `least` to `most`."""
        node = self._value(key)
        if node is None:
            return default
        if not (isinstance(node, Scalar) and not node.quoted and _NUMBER.fullmatch(node.text)):
            self.fail(key, f"must be a number{_unquote(node, _NUMBER)}, got {_shown(node)}")
            return default
        return float(self._within(key, node.text, default, above=above, least=least, most=most))

    def whole(
        self, key: str, default: int, *, above: float = -inf, least: float = -inf, most: float = inf
    ) -> int:
        """A whole number that is greater than `above`, and from `least` to `most`."""
        node = self._value(key)
        if node is None:
            return default
        if not (isinstance(node, Scalar) and not node.quoted and _WHOLE.fullmatch(node.text)):
            self.fail(key, f"must be a whole number{_unquote(node, _WHOLE)}, got {_shown(node)}")
            return default
        return int(self._within(key, node.text, default, above=above, least=least, most=most))

    def priority(self, key: str, default: int = 0) -> int:
        """A priority as objectives have it."""
        return self.whole(key, default, least=LOWEST_PRIORITY, most=HIGHEST_PRIORITY)

    def quantity(self, key: str) -> int | None:
        """A Kubernetes quantity, at least 0; None if absent."""
        text = self._scalar(key, 'a quantity such as "1Gi" or "500"')
        if text is None:
            return None
        try:
            value = parse_quantity(text)
        except ValueError as error:
            self.fail(key, f"{describe(text)} {error}")
            return None
        if value < 0:
            self.fail(key, f"{key} must be non-negative, got {value}: leave it out for the default")
            return None
        return value

    def duration_s(self, key: str) -> float | None:
        """A Go duration in seconds, whatever its sign; None if absent."""
        text = self._scalar(key, 'a duration such as "30s" or "1m30s"')
        if text is None:
            return None
        try:
            return parse_go_duration(text)
        except ValueError as error:
            self.fail(key, str(error))
            return None

    # ------------------------------------------------------------------ nested values

    def section(self, key: str, *, preface: str = "") -> Fields:
        """The mapping at `key`; empty, and not `given`, if there is none."""
        entry = self._entry(key)
        return Fields(
            entry.value if entry else None,
            line=entry.line if entry else self.line,
            path=self._path(key),
            findings=self.findings,
            preface=preface or self._preface,
        )

    def sections(self, key: str) -> list[Fields]:
        """The mappings in the list at `key`."""
        return [
            Fields(item, line=item.line, path=path, findings=self.findings, preface=self._preface)
            for path, item in self._items(key)
        ]

    def texts(self, key: str) -> list[Item]:
        """The texts in the list at `key`."""
        found = []
        for path, item in self._items(key):
            if isinstance(item, Scalar):
                found.append(Item(item.text, item.line, path))
            else:
                self.findings.problem(item.line, path, f"{self._preface}must be text, got {_shown(item)}")
        return found

    def text_map(self, key: str) -> dict[str, str]:
        """The mapping of names to text at `key`."""
        section = self.section(key)
        return {name: section.text(name) for name in section.names()}

    def names(self) -> list[str]:
        """The keys, asked for or not."""
        return list(self._mapping.entries)

    def has(self, key: str) -> bool:
        """Whether there is anything at `key`, which need not be read then."""
        return self._value(key) is not None

    # ------------------------------------------------------------------ problems

    def fail(self, key: str, message: str) -> None:
        """Report a problem with the value of `key`, or with its absence."""
        entry = self._mapping.entries.get(key)
        line = entry.value.line if entry else self.line
        self.findings.problem(line, self._path(key), f"{self._preface}{message}")

    def reject(self, message: str) -> None:
        """Report a problem with the mapping as a whole."""
        self.findings.problem(self.line, self.path, f"{self._preface}{message}")

    def require(self, key: str, message: str) -> None:
        """Report `message` if `key` is absent or empty; a mapping that is none has been reported already."""
        value = self._value(key)
        if self._whole and (value is None or (isinstance(value, Scalar) and not value.text)):
            self.fail(key, message)

    def close(self) -> None:
        """Report every field that nobody asked for."""
        for key, entry in self._mapping.entries.items():
            if key not in self._asked:
                hint = suggest(key, self._asked) if self._asked else "; none is known here, remove it"
                self.findings.problem(
                    entry.line, self._path(key), f"{self._preface}unknown field {describe(key)}{hint}"
                )

    # ------------------------------------------------------------------ inside

    def _entry(self, key: str) -> Entry | None:
        self._asked[key] = None
        return self._mapping.entries.get(key)

    def _value(self, key: str) -> Node | None:
        entry = self._entry(key)
        return None if entry is None or is_null(entry.value) else entry.value

    def _scalar(self, key: str, wanted: str) -> str | None:
        node = self._value(key)
        if node is None or isinstance(node, Scalar):
            return None if node is None else node.text
        self.fail(key, f"must be {wanted}, got {_shown(node)}")
        return None

    def _items(self, key: str) -> Iterator[tuple[str, Node]]:
        node = self._value(key)
        if node is not None and not isinstance(node, Listing):
            self.fail(key, f"must be a list, got {_shown(node)}")
        elif node is not None:
            for index, item in enumerate(node.items):
                yield f"{self._path(key)}[{index}]", item

    def _within(
        self, key: str, text: str, default: float, *, above: float, least: float, most: float
    ) -> str | float:
        if float(text) > above and least <= float(text) <= most:
            return text
        bounds = [f"above {above}"] if above > -inf else []
        bounds += [f"at least {least}"] if least > -inf else []
        bounds += [f"at most {most}"] if most < inf else []
        self.fail(key, f"must be {' and '.join(bounds)}, got {text}")
        return default

    def _path(self, key: str) -> str:
        return join(self.path, key)


def _shown(node: Node | None) -> str:
    """A value for a message."""
    match node:
        case Scalar():
            return describe(node.text) if node.quoted or not _NUMBER.fullmatch(node.text) else node.text
        case Listing():
            return "a list"
        case Mapping():
            return "a mapping"
        case None:
            return "nothing"


def _unquote(node: Node, pattern: re.Pattern[str]) -> str:
    """The remedy for a number in quotes."""
    is_quoted = isinstance(node, Scalar) and node.quoted and pattern.fullmatch(node.text) is not None
    return " without quotes" if is_quoted else ""
