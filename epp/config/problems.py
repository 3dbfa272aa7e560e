"""What is wrong with a configuration: every problem with its line, its field and its remedy, all of them at once."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NamedTuple

from epp.api.problem import describe

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN_KEY = re.compile(r"[\w./-]+", re.ASCII)


class Problem(NamedTuple):
    """One thing that keeps a configuration from being used."""

    line: int
    """Where in the text, from 1."""
    field: str
    """Where in the document: `flowControl.priorityBands[0].maxBytes`; empty for the document itself."""
    message: str
    """What is wrong, and what to write instead."""

    def __str__(self) -> str:
        return f"{self.line}: {self.field}: {self.message}" if self.field else f"{self.line}: {self.message}"


class ConfigError(Exception):
    """A configuration that can't be used."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        """Where the text came from: a file's name, or a flag's."""
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(f"{source}:{problem}" for problem in self.problems))


def join(path: str, key: str) -> str:
    """The path of the field `key` in the mapping at `path`; a key that is no plain name is quoted."""
    name = key if _PLAIN_KEY.fullmatch(key) else describe(key)
    return f"{path}.{name}" if path else name


class Findings:
    """Collects problems and notes while a document is read, so that the reading can go on."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know although nothing is wrong."""
        return tuple(self._notes)

    def note(self, text: str) -> None:
        """Take down one note, once."""
        self._notes[text] = None

    def problem(self, line: int, field: str, message: str) -> None:
        """Take down one problem."""
        self._found.append(Problem(line, field, message))

    def raise_if_any(self, source: str) -> None:
        """Raise `ConfigError` with everything found, if anything was."""
        if self._found:
            raise ConfigError(source, self._found)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, if any is near."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_folded, n=1)
    return by_folded[close[0]] if close else None


def suggest(name: str, known: Iterable[str]) -> str:
    """What to append to a message about an unknown name: the nearest known one, or else all of them."""
    names = tuple(known)
    near = nearest(name, names)
    if near is not None:
        return f"; did you mean {near!r}?"
    return f"; known are {', '.join(names)}" if names else ""
