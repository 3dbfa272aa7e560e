"""The lines of a benchmark: what was measured, the bound it is held against, and how both are shown.

A line is measured in several rounds. It is kept if the median is within its bound, or, where the bound is about what
may never happen, if every round is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Unit(Enum):
    """What a measured number is, and so how it is written."""

    RATIO = "ratio"
    SHARE = "share"
    BYTES = "bytes"
    SECONDS = "seconds"
    COUNT = "count"


class Judged(Enum):
    """Which of the rounds counts."""

    MEDIAN = "median"
    EVERY_ROUND = "every round"


@dataclass(frozen=True, slots=True)
class Bound:
    """At most so much."""

    limit: float
    unit: Unit
    of: str = ""
    """What it is a ratio or a share of."""
    judged: Judged = Judged.MEDIAN

    def __str__(self) -> str:
        return f"≤ {written(self.limit, self.unit)} {self.of}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measured quantity."""

    row: str
    """The row of the cost table that it belongs to: what `--only` takes."""
    what: str
    variant: str = ""
    """The transport and the flags of the picker that was measured; '' where no picker was."""
    bound: Bound
    rounds: tuple[float, ...]
    """One measurement of each round."""
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Absolute figures behind the ratio; true for this machine at that moment only."""

    @property
    def median(self) -> float:
        """Of the rounds."""
        return median(self.rounds)

    @property
    def kept(self) -> bool:
        """Whether it stays within its bound."""
        match self.bound.judged:
            case Judged.MEDIAN:
                return self.median <= self.bound.limit
            case Judged.EVERY_ROUND:
                return max(self.rounds) <= self.bound.limit
            case _:
                assert_never(self.bound.judged)

    @property
    def spread(self) -> str:
        """From where to where the rounds reach; '' where there was one."""
        low, high = (written(value, self.bound.unit) for value in (min(self.rounds), max(self.rounds)))
        return f"{low} to {high}" if len(self.rounds) > 1 else ""


@dataclass(frozen=True, slots=True)
class Skip:
    """A line that this machine lacks something for. Nothing is wrong with what would be measured."""

    row: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that could not be measured."""

    row: str
    message: str

    @property
    def last_word(self) -> str:
        """Of the message, which may quote the last lines of a process."""
        return self.message.strip().rpartition("\n")[2].strip()


def written(value: float, unit: Unit) -> str:
    """The number as people read it."""
    match unit:
        case Unit.RATIO:
            return f"{value:.3g}x"
        case Unit.SHARE:
            return f"{value:.1%}"
        case Unit.BYTES:
            return f"{value:,.0f} bytes"
        case Unit.SECONDS:
            return f"{value * 1e3:.3g} ms"
        case Unit.COUNT:
            return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
        case _:
            assert_never(unit)


def microseconds(seconds: float) -> str:
    """A time as facts have it."""
    micros = seconds * 1e6
    return f"{micros:,.0f} us" if micros >= 100 else f"{micros:.3g} us"


def render(lines: Iterable[Line], failures: Iterable[Failure]) -> Table:
    """The table, for a terminal."""
    table = Table(title="What the picker costs", title_justify="left")
    for heading in ("row", "what", "bound", "measured", ""):
        table.add_column(heading, overflow="fold")
    row = ""
    for line in lines:
        what = Text(line.what)
        if line.variant:
            what.append(f" [{line.variant}]", style="bold")
        if line.facts:
            what.append(
                "\n" + ", ".join(f"{name} {value}" for name, value in line.facts.items()), style="dim"
            )
        table.add_row(
            line.row if line.row != row else "",
            what,
            str(line.bound),
            Text(written(line.median, line.bound.unit)).append(
                f"\n{line.spread}" if line.spread else "", "dim"
            ),
            Text("kept", style="green") if line.kept else Text("MISSED", style="bold red"),
        )
        row = line.row
    for failure in failures:
        table.add_row(failure.row, failure.last_word, "", "", Text("FAILED", style="bold red"))
    return table
