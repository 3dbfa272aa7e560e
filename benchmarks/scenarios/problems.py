"""What is wrong with a scenario, for the person who wrote it: where, what stands there, and what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Problem(NamedTuple):
    """One thing that keeps a scenario from being run."""

    field: str
    """Where in the file: `traffic.chat.arrivals[0].per_s`; empty for the file as a whole."""
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ScenarioError(ValueError):
    """A scenario that can't be run."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))
