"""One file, read: the objects in it, what is wrong with them, and what is left in doubt.

Everything that a file can do wrong ends here as a problem with its place. Files are bounded (`MAX_FILE_BYTES` and
the bounds of `tree`), must be regular files, and must be UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, cast

from epp.api import KINDS, ApiObject, Decoded, FieldPath, ObjectRef, Pod, Problem, Severity, decode, describe
from epp.files.jsontext import read_json
from epp.files.tree import Document, Lines, SyntaxProblem, line_of, lines_at
from epp.files.yamltext import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_DOCUMENTS = 100_000
MAX_PROBLEMS = 200
"""More than this of one file helps nobody."""

EMPTY_FILE = (
    "holds no document; whatever it gave before stays in use: to take the last object out of a file, "
    "leave an empty List in it (apiVersion: v1, kind: List, items: [])"
)

_LISTS = {"List": "", **{f"{kind}List": kind for kind in KINDS}}


class FileProblem(NamedTuple):
    """Something that is wrong in a file, and where."""

    file: str
    document: int | None
    """Its place in the file, from 1; None if it is about the file as a whole."""
    line: int | None
    problem: Problem

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        document = f"document {self.document}: " if self.document is not None else ""
        return f"{place}: {document}{self.problem}"


class Item(NamedTuple):
    """One object of a file, or the document that should have been one."""

    position: tuple[int, int]
    """The number of its document, from 1, and its place in the document's list, from 0."""
    lines: Lines
    """Of its fields; of a pod only its own, because pods are many."""
    identity: ObjectRef | None
    """Whom it describes; None if that can't be read."""
    found: ApiObject | None
    """None if it is broken."""
    errors: tuple[Problem, ...]
    """Why it is broken, in words that stay the same while it moves about in its file."""


class FileState(Enum):
    """What can be said of a file as a whole."""

    READ = "read"
    EMPTY = "empty"
    """It holds no document, not even an empty List."""
    UNREADABLE = "unreadable"
    """What is in it can't be manifests."""
    FAILED = "failed"
    """The operating system did not give it. It may next time, though nothing about the file has changed."""


@dataclass(frozen=True, slots=True)
class FileReading:
    """Everything that one file says."""

    file: str
    state: FileState
    items: tuple[Item, ...] = ()
    """Objects and broken documents, in order; other kinds are left out."""
    problems: tuple[FileProblem, ...] = ()


def read_file(path: Path, *, name: str) -> FileReading:
    """What the file at `path` says; problems call it `name`. Raises nothing for what is in it or wrong with it."""
    try:
        if not path.is_file():
            return _unreadable(name, "is not a regular file")
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        failed = _unreadable(name, f"can't be read: {error.strerror or error}")
        return replace(failed, state=FileState.FAILED)
    if len(content) > MAX_FILE_BYTES:
        return _unreadable(name, f"is larger than {MAX_FILE_BYTES >> 20} MiB; split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _unreadable(name, "is not UTF-8 text", line=content.count(b"\n", 0, error.start) + 1)
    return read_text(text, name=name)


def read_text(text: str, *, name: str) -> FileReading:
    """What a file with this text says. Its name decides whether it must be JSON."""
    items: list[Item] = []
    problems: list[FileProblem] = []
    state = FileState.EMPTY
    for number, document in enumerate(_documents(text, name), start=1):
        if number > MAX_DOCUMENTS:
            return _unreadable(name, f"holds more than {MAX_DOCUMENTS} documents; split it")
        if document.value is None and not document.errors:
            continue
        state = FileState.READ
        for item, found in _read_document(document, number):
            if item is not None:
                items.append(item)
            problems += (FileProblem(name, number, line, problem) for line, problem in found)
        if len(problems) > 10 * MAX_PROBLEMS:
            problems = _worst(problems)
    if state is FileState.EMPTY:
        problems = [FileProblem(name, None, None, Problem(Severity.WARNING, (), "", EMPTY_FILE))]
    return FileReading(name, state, tuple(items), tuple(_worst(problems)))


def _unreadable(name: str, message: str, line: int | None = None) -> FileReading:
    problem = FileProblem(name, None, line, _error(f"{message}; whatever it gave before stays in use"))
    return FileReading(name, FileState.UNREADABLE, problems=(problem,))


def _documents(text: str, name: str) -> Iterator[Document]:
    if name.endswith(".json"):
        return iter((read_json(text),) if text.strip() else ())
    if text.lstrip().startswith("{"):
        document = read_json(text)  # whose escapes and tabs YAML does not take
        if not document.errors:
            return iter((document,))
    return read_yaml(text)


def _worst(problems: list[FileProblem]) -> list[FileProblem]:
    """All problems, or the worst of too many, in the order of the file."""
    if len(problems) <= MAX_PROBLEMS:
        return problems
    ranks = list(Severity)
    ranked = sorted(range(len(problems)), key=lambda index: ranks.index(problems[index].problem.severity))
    return [problems[index] for index in sorted(ranked[:MAX_PROBLEMS])]


_Found = tuple[Item | None, list[tuple[int, Problem]]]
"""An object of a document, if it is one of ours, and what is wrong with it by line."""


def _read_document(document: Document, number: int) -> Iterator[_Found]:
    if document.errors:
        decoded = decode(document.value)
        located = [(error.line, _syntax_error(error)) for error in document.errors]
        # What can be read of it may still say that it is none of our business.
        foreign = not decoded.broken and decoded.identity is None and _listed_kind(document.value) is None
        errors = tuple(_error(error.message) for error in document.errors)
        yield None if foreign else Item((number, 0), document.lines, decoded.identity, None, errors), located
        return
    for index, (decoded, lines, path) in enumerate(_objects(document)):
        located = [
            (line_of(lines, problem.path), problem._replace(path=path + problem.path))
            for problem in (*decoded.problems, *_missing_address(decoded.found))
        ]
        if decoded.found is None and not decoded.broken:
            yield None, located
            continue
        kept = line_of(lines) if isinstance(decoded.found, Pod) else lines
        errors = tuple(problem for problem in decoded.problems if problem.severity is Severity.ERROR)
        yield Item((number, index), kept, decoded.identity, decoded.found, errors), located


def _objects(document: Document) -> Iterator[tuple[Decoded, Lines, FieldPath]]:
    """The document's object, or those of its list; with each its lines and its place in the document."""
    kind = _listed_kind(document.value)
    if kind is None:
        yield decode(document.value), document.lines, ()
        return
    listing = cast("dict[str, object]", document.value)
    items = listing.get("items") or []
    if not isinstance(items, list):
        problem = Problem(Severity.ERROR, ("items",), describe(items), "must be a list of objects")
        yield Decoded(None, None, (problem,)), document.lines, ()
        return
    for index, item in enumerate(items):
        path = ("items", index)
        lines = lines_at(document.lines, path)
        if _listed_kind(item) is not None:
            problem = _error("is a list in a list, which is not read; take its objects out of it")
            yield Decoded(None, None, (problem,)), lines, path
        elif kind and isinstance(item, dict):
            # An API server's typed list leaves out of its items what it says of itself.
            yield decode({"apiVersion": listing.get("apiVersion"), "kind": kind, **item}), lines, path
        else:
            yield decode(item), lines, path


def _listed_kind(value: object) -> str | None:
    """The kind of a list's items, empty if they may be of any; None if it is no list."""
    kind = value.get("kind") if isinstance(value, dict) else None
    return _LISTS.get(kind) if isinstance(kind, str) else None


def _missing_address(found: ApiObject | None) -> Iterator[Problem]:
    """A pod in a cluster gets its address later; one in a file surely was meant to have it."""
    if isinstance(found, Pod) and not found.ip and not found.terminating:
        message = "is missing, so the pod gives no endpoint; add the address at which it serves"
        yield Problem(Severity.WARNING, ("status", "podIP"), "", message)


def _syntax_error(error: SyntaxProblem) -> Problem:
    begins = "" if error.begins is None else f" that begins in line {error.begins}"
    return _error(error.message + begins)


def _error(message: str) -> Problem:
    return Problem(Severity.ERROR, (), "", message)
