"""A configuration's text as a tree that knows its lines. YAML or JSON; JSON is read as the YAML that it is.

Nothing is given a type here: a scalar is its text and whether it was quoted, so that `fields` can read `1e6` as a
quantity, `010` as a name, and never `no` as false. Duplicate keys, tags and second documents are problems; aliases and
merge keys work as in YAML.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from epp.config.problems import join

if TYPE_CHECKING:
    from epp.config.problems import Findings

_MOST_NODES = 100_000
"""Aliases can unfold a few lines into millions of nodes; no configuration has this many."""
_MERGE_KEY = "<<"
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it is written."""

    line: int
    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence."""

    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, and its value."""

    line: int
    """Where the key is."""
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping, in the order of the text."""

    line: int
    entries: dict[str, Entry] = field(default_factory=dict)


Node = Scalar | Listing | Mapping


def is_null(node: Node) -> bool:
    """Whether the node says that there is no value."""
    return isinstance(node, Scalar) and not node.quoted and node.text in {"", "~", "null", "Null", "NULL"}


def load_document(text: str, findings: Findings) -> Node | None:
    """The text's one document; None if it is empty, or after a problem that nothing can be read behind."""
    # YAML forbids the tabs that JSON allows between its tokens; inside of JSON's strings there can't be any.
    readable = text.replace("\t", " ") if text.lstrip().startswith("{") else text
    try:
        root = yaml.compose(readable, Loader=yaml.BaseLoader)
        return None if root is None else _Unfolding(findings).node(root, "")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        if error.context == "expected a single document in the stream":
            findings.problem(line, "", "a second document begins here: keep one configuration in the file")
        else:
            what = ", ".join(part for part in (error.context, error.problem) if part)
            findings.problem(line, "", f"failed to decode configuration JSON/YAML: {what}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        findings.problem(line, "", f"failed to decode configuration JSON/YAML: {error.reason}")
    except RecursionError:
        findings.problem(1, "", "failed to decode configuration JSON/YAML: it is nested too deeply")
    except _TooLarge as error:
        findings.problem(
            error.line, "", f"the aliases here unfold to more than {_MOST_NODES} values: write them out"
        )
    return None


class _TooLarge(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, line: int) -> None:
        self.line = line


class _Unfolding:
    """Turns PyYAML's graph, in which an alias is the node itself again, into a tree."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._open: set[int] = set()
        self._nodes = 0

    def node(self, raw: yaml.Node, path: str) -> Node:
        """The tree below `raw`."""
        line = raw.start_mark.line + 1
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _TooLarge(line)
        if raw.tag not in _PLAIN_TAGS:
            self._findings.problem(
                line, path, f"the YAML tag {raw.tag!r} is not supported: write the plain value"
            )
        if isinstance(raw, yaml.ScalarNode):
            return Scalar(line, _joined(raw.value), quoted=raw.style is not None)
        if id(raw) in self._open:
            self._findings.problem(
                line, path, "an alias stands inside of what it repeats: write the value out"
            )
            return Scalar(line, "", quoted=False)
        self._open.add(id(raw))
        try:
            if isinstance(raw, yaml.SequenceNode):
                items = enumerate(raw.value)
                return Listing(line, tuple(self.node(item, f"{path}[{index}]") for index, item in items))
            return self._mapping(raw, line, path)
        finally:
            self._open.remove(id(raw))

    def _mapping(self, raw: yaml.Node, line: int, path: str) -> Mapping:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for raw_key, raw_value in raw.value:
            key_line = raw_key.start_mark.line + 1
            if not isinstance(raw_key, yaml.ScalarNode):
                self._findings.problem(key_line, path, "a key must be a name, not a list or a mapping")
                continue
            key = _joined(raw_key.value)
            where = join(path, key)
            value = self.node(raw_value, where)
            if key == _MERGE_KEY and raw_key.style is None:
                self._merge(value, merged, path)
            elif key in own:
                self._findings.problem(
                    key_line, where, f"is given twice, first on line {own[key].line}: keep one"
                )
            else:
                own[key] = Entry(key_line, value)
        return Mapping(line, {**own, **{key: entry for key, entry in merged.items() if key not in own}})

    def _merge(self, value: Node, merged: dict[str, Entry], path: str) -> None:
        """Take in what `<<` brings: a mapping, or a list of them of which the first wins."""
        sources = value.items if isinstance(value, Listing) else (value,)
        for source in sources:
            if not isinstance(source, Mapping):
                self._findings.problem(source.line, path, "what << merges must be a mapping")
                continue
            for key, entry in source.entries.items():
                merged.setdefault(key, entry)


def _joined(text: str) -> str:
    """JSON escapes a character beyond the first plane as two halves, which YAML takes for two characters."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
