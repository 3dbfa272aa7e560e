"""What the files give now, and what of it is only kept because they can't be read any more.

Files are written by people and tools that make mistakes, and a mistake must not take a running pool away. So an object
leaves only when its file is readable and plainly does not hold it any more:

- A broken document keeps the last good version of the object that it describes.
- A document that has become so broken that nobody can tell whom it describes keeps every object that its file gave
  before: one of them is the one.
- A file that is unreadable, empty or missing keeps all its objects. To take the last object out of a file, leave an
  empty List in it (`apiVersion: v1, kind: List, items: []`); after that the file can be deleted.

Of several documents for one object the first by (file, document) wins. What a broken document or an unreadable file
keeps has its old place in that order; what a missing file keeps gives way to any document, so that a file can be
renamed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from epp.api import ApiObject, FieldPath, ObjectRef, Problem, Severity, describe
from epp.files.reading import FileProblem, FileReading, FileState, Item
from epp.files.tree import Lines, line_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Delta(NamedTuple):
    """What a reading changed, ready for the reconciler."""

    upserts: tuple[ApiObject, ...]
    """New objects and different ones."""
    deletes: tuple[ObjectRef, ...]
    problems: tuple[FileProblem, ...]
    """What is wrong now and was not before."""

    def __bool__(self) -> bool:
        return bool(self.upserts or self.deletes or self.problems)


class Place(NamedTuple):
    """Where an object stands."""

    file: str
    document: int
    line: int


@dataclass(frozen=True, slots=True)
class _Held:
    """An object in use, and where it was last read."""

    found: ApiObject
    file: str
    position: tuple[int, int]
    lines: Lines
    doubted: bool = False
    """Its file does not show it any more, and is kept from taking it out by a document in doubt."""


_Doubts = Counter[tuple[Problem, ...]]
"""The documents of one file that can't be told apart, by what is wrong with them."""


@dataclass(frozen=True, slots=True)
class LastGood:
    """What is in use after a reading of all files. A value: the next reading makes the next one."""

    held: Mapping[ObjectRef, _Held] = field(default_factory=dict)
    doubts: Mapping[str, _Doubts] = field(default_factory=dict)
    problems: tuple[FileProblem, ...] = ()
    """Everything that is wrong, file by file."""

    def where(self, ref: ObjectRef, path: FieldPath = ()) -> Place | None:
        """Where an object in use stands, or the field of it at `path`; None if no file gives it."""
        held = self.held.get(ref)
        return None if held is None else Place(held.file, held.position[0], line_of(held.lines, path))

    def next(
        self, readings: Mapping[str, FileReading], around: Iterable[FileProblem] = ()
    ) -> tuple[LastGood, Delta]:
        """What is in use when the files say `readings`, by name; `around` is what is wrong around the files."""
        return _Succession(self, readings, around).result()


class _Succession:
    """The step from one reading of all files to the next: every object goes to whoever claims it first."""

    def __init__(
        self, before: LastGood, readings: Mapping[str, FileReading], around: Iterable[FileProblem]
    ) -> None:
        self._before = before
        self._readings = readings
        self._problems = list(around)
        self._claims: dict[ObjectRef, _Held] = {}
        self._doubts: dict[str, _Doubts] = {}
        self._broken: list[tuple[str, Item, ObjectRef]] = []
        """Broken documents of which is known whom they describe, and that it is in use."""

    def result(self) -> tuple[LastGood, Delta]:
        """The new state, and what is different in it."""
        by_file: dict[str, list[ObjectRef]] = {}
        for ref, held in self._before.held.items():
            by_file.setdefault(held.file, []).append(ref)
        for name in sorted(self._readings):
            self._file(self._readings[name], by_file.get(name, []))
        for name in sorted(by_file.keys() - self._readings.keys()):
            self._missing(name, by_file[name])
        for name, item, ref in self._broken:
            if self._claims.setdefault(ref, self._before.held[ref]) is self._before.held[ref]:
                message = f"until this is mended, {ref} stays in use in its last good version"
                self._warn(name, message, document=item.position[0], line=line_of(item.lines))
        return self._settle()

    def _file(self, reading: FileReading, gave: list[ObjectRef]) -> None:
        """Claim what a file gives, and what it keeps of what it `gave` before."""
        self._problems += reading.problems
        if reading.state is not FileState.READ:
            for ref in gave:
                self._claims.setdefault(ref, self._before.held[ref])
            self._doubts[reading.file] = self._before.doubts.get(reading.file, Counter())
            return
        doubts: _Doubts = Counter()
        for item in reading.items:
            held = self._before.held.get(item.identity) if item.identity is not None else None
            if item.found is not None:
                self._give(reading.file, item, item.found)
            elif item.identity is None or held is None:
                doubts[item.errors] += 1
            else:
                self._broken.append((reading.file, item, item.identity))
                if (held.file, held.position) == (reading.file, item.position):
                    self._claims.setdefault(item.identity, held)
        self._doubts[reading.file] = doubts
        if doubts:
            self._doubt(reading.file, doubts, gave)

    def _give(self, file: str, item: Item, found: ApiObject) -> None:
        first = self._claims.get(found.ref)
        if first is None:
            self._claims[found.ref] = _Held(found, file, item.position, item.lines)
            return
        place = f"{first.file}:{line_of(first.lines)} (document {first.position[0]})"
        message = f"{found.ref} is given in {place} already, which is used; remove one of the two"
        problem = Problem(Severity.WARNING, ("metadata", "name"), describe(found.name), message)
        line = line_of(item.lines, problem.path)
        self._problems.append(FileProblem(file, item.position[0], line, problem))

    def _doubt(self, file: str, doubts: _Doubts, gave: list[ObjectRef]) -> None:
        """Keep what may be described by a document that can't be told apart any more, until it can."""
        new = bool(doubts - self._before.doubts.get(file, Counter()))
        # Those that are broken in their own right are not what such a document describes.
        known = self._claims.keys() | {ref for _, _, ref in self._broken}
        kept = [ref for ref in gave if ref not in known and (new or self._before.held[ref].doubted)]
        self._claims.update((ref, replace(self._before.held[ref], doubted=True)) for ref in kept)
        if kept:
            message = (
                f"nobody can tell whom its broken documents describe, so {_listed(kept)} which it gave before and "
                "does not show any more, stay in use until they are mended or removed"
            )
            self._warn(file, message)

    def _missing(self, file: str, gave: list[ObjectRef]) -> None:
        kept = [ref for ref in gave if ref not in self._claims]
        self._claims.update((ref, self._before.held[ref]) for ref in kept)
        if kept:
            message = (
                f"is gone, but {_listed(kept)} which it gave, stay in use; to remove them, put the file back with "
                "an empty List in it (apiVersion: v1, kind: List, items: [])"
            )
            self._warn(file, message)

    def _warn(self, file: str, message: str, *, document: int | None = None, line: int | None = None) -> None:
        problem = Problem(Severity.WARNING, (), "", message)
        self._problems.append(FileProblem(file, document, line, problem))

    def _settle(self) -> tuple[LastGood, Delta]:
        held, known = self._before.held, set(self._before.problems)
        problems = tuple(sorted(self._problems, key=lambda problem: (problem.file, problem.line or 0)))
        delta = Delta(
            upserts=tuple(
                claim.found
                for ref, claim in self._claims.items()
                if ref not in held or held[ref].found != claim.found
            ),
            deletes=tuple(ref for ref in held if ref not in self._claims),
            problems=tuple(problem for problem in problems if problem not in known),
        )
        return LastGood(self._claims, self._doubts, problems), delta


def _listed(refs: list[ObjectRef]) -> str:
    shown = ", ".join(map(str, refs[:3]))
    return f"{len(refs)} objects ({shown}{', ...' if len(refs) > 3 else ''}),"
