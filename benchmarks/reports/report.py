"""What a run leaves behind, as plain values that fit into one JSON file: tables, figures and pages are made of it.

Promises:
- Single requests are in `outcomes.jsonl`, play by play; here are as many of them as can be told apart in a figure.
- A time that never came is `"never"` in a comparison and null in a measure; a number that doesn't exist is null.
- `compact` is what is worth committing: without single requests, without histograms.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "report.json"
VERSION = 1


class Never(Enum):
    """A ratio that isn't a number."""

    OURS = "never at ours"
    OTHER = "never at the other"


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One class in one round at one target."""

    measures: dict[str, float | None]
    """By the name of `benchmarks.plays.measures.Measure`."""
    reasons: dict[str, int] = {}
    """Why requests were refused or broke, and how many for each reason."""
    histograms: dict[str, str] = {}
    """`ttft`, `latency` and `gap` in HdrHistogram's compressed base64 form, in microseconds."""
    points: list[tuple[float, float | None]] = []
    """Single requests, thinned: when one was due, and its time to first token."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One play."""

    target: str
    number: int
    classes: dict[str, ClassFigures]
    measures: dict[str, float | None]
    """Of the whole round."""
    completed_per_s: list[float] = []
    """Over time: completed requests per second, `step_s` of the scenario apart."""
    cpu_s: dict[str, float] = {}
    """By role."""
    peak_bytes: dict[str, int] = {}
    notes: dict[str, str] = {}


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A class's times to first token at one target, all rounds together."""

    traffic: str
    target: str
    requests: int
    points: list[tuple[float, float]]
    """Quantile and seconds, up to where requests begin that got no token."""
    served_share: float
    """Of the requests: those that got a token."""


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Ours over another target, in one measure."""

    measure: str
    traffic: str | None
    ours: str
    other: str
    better: str
    """`lower` or `higher`."""
    rounds: list[float | Never | None]
    median: float | Never
    low: float | Never
    high: float | Never
    ours_median: float | None
    """The absolute figures, each the median of its own rounds."""
    other_median: float | None


class Standing(Enum):
    """Of a pass line."""

    KEPT = "kept"
    MISSED = "missed"
    NOT_JUDGED = "not judged"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A pass line and what became of it."""

    says: str
    measure: str
    traffic: str | None
    target: str
    kind: str
    standing: Standing
    rounds: list[float | None]
    bounds: list[float | None]
    """What each round was held against."""
    sense: str
    """`at most` or `at least`."""
    why: str = ""
    excused: bool = False
    """Not judged, and no failure: the run was not asked to (another kind of lines, or without a target that it is
    about), or it is of what only our own picker tells."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A target that was not played to the end, and why."""

    target: str
    why: str


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario and everything that was measured of it."""

    name: str
    question: str
    story: str
    duration_s: float
    seed: int
    rounds_asked: int
    servers: int
    traffic: dict[str, str]
    """Each class in words."""
    events: list[str] = []
    targets: list[str]
    """Those that were played."""
    step_s: float = 1.0
    rounds: list[Round]
    curves: list[Curve]
    ratios: list[Ratio]
    lines: list[Line]
    skipped: list[Trouble] = []
    failed: list[Trouble] = []

    @property
    def kept(self) -> bool:
        """Whether nothing failed, and every line that was asked for was judged and kept."""
        return not self.failed and all(line.standing is Standing.KEPT or line.excused for line in self.lines)


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the cost table."""

    row: str
    what: str
    bound: str
    measured: str
    spread: str
    kept: bool
    rounds: list[float]
    limit: float
    unit: str
    facts: dict[str, str] = {}


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """The cost table against the bare server."""

    lines: list[CostLine]
    failures: dict[str, str] = {}
    """By row."""

    @property
    def kept(self) -> bool:
        """Whether every row was measured and within its bound."""
        return not self.failures and all(line.kept for line in self.lines)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    version: int = VERSION
    finished: str
    command: str
    size: str
    machine: dict[str, Any]
    situations: list[Situation]
    costs: Costs | None = None
    """None: not measured in this run."""
    left_out: list[str] = []
    """What was not run that could have been, and how to."""
    interrupted: bool = False
    complaints: dict[str, str] = {}
    """Scenarios that could not be played at all, and why."""

    @property
    def kept(self) -> bool:
        """Whether everything that was asked for was measured and kept."""
        return (
            not self.interrupted
            and not self.complaints
            and (self.costs is None or self.costs.kept)
            and all(situation.kept for situation in self.situations)
        )


def now() -> str:
    """When a run finished."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(report: Report, path: Path) -> None:
    """Write it as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


class ReportError(ValueError):
    """A file that isn't a report; the message says why."""


def read(path: Path) -> Report:
    """The report that was written there. Raises `ReportError`."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ReportError(f"{path} is not a report of this harness: {error}") from error
    if report.version != VERSION:
        raise ReportError(f"{path} is a report of version {report.version}; this harness reads {VERSION}")
    return report


def compact(report: Report) -> Report:
    """The same without single requests and histograms, and with numbers as exact as they are read."""
    return replace(report, situations=[_compact(situation) for situation in report.situations])


def _compact(situation: Situation) -> Situation:
    rounds = [
        replace(
            each,
            classes={
                name: replace(figures, histograms={}, points=[], measures=_rounded(figures.measures))
                for name, figures in each.classes.items()
            },
            measures=_rounded(each.measures),
            completed_per_s=[],
        )
        for each in situation.rounds
    ]
    curves = [
        replace(curve, points=[(quantile, _brief(seconds)) for quantile, seconds in curve.points])
        for curve in situation.curves
    ]
    return replace(situation, rounds=rounds, curves=curves)


def _rounded(measures: dict[str, float | None]) -> dict[str, float | None]:
    """Without those that don't exist: a measure that isn't there is one."""
    return {name: _brief(value) for name, value in measures.items() if value is not None}


def _brief(value: float) -> float:
    return float(f"{value:.4g}")
