"""The tables' contents, row by row as text: the terminal, the HTML report and the docs set them in type."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.plays.measures import MAY_NEVER_COME, Measure
from benchmarks.reports import words
from benchmarks.reports.report import Standing

if TYPE_CHECKING:
    from benchmarks.reports.report import Line, Ratio, Situation

SUMMARY_HEADS = (
    "sent",
    "done",
    "refused",
    "gave up",
    "broken",
    "TTFT p50",
    "p95",
    "p99",
    "gap p99",
    "tokens/s",
)
COST_HEADS = (
    "picker CPU per request",
    "picker CPU per chunk",
    "picker peak memory",
    "Envoy CPU per request",
    "Envoy CPU per chunk",
    "Envoy peak memory",
)
RATIO_HEADS = ("ours", "other", "ratio", "spread")

_SUMMARY = (
    Measure.SENT,
    Measure.COMPLETED,
    Measure.REFUSED,
    Measure.GAVE_UP,
    Measure.BROKEN,
    Measure.TTFT_P50_S,
    Measure.TTFT_P95_S,
    Measure.TTFT_P99_S,
    Measure.GAP_P99_S,
)
_NEVER = frozenset(measure.value for measure in MAY_NEVER_COME)
_NOTABLE_LAG_S = 0.05


class Row(NamedTuple):
    """A row of a table: what it is about, and its figures."""

    group: str
    target: str
    cells: tuple[str, ...]


def summary(situation: Situation) -> list[Row]:
    """Every class at every target: what became of requests, and how long they waited; medians of the rounds."""
    return [
        Row(
            name,
            target,
            (
                *(
                    words.figure(measure.value, middle(situation, target, measure.value, name))
                    for measure in _SUMMARY
                ),
                _tokens_per_s(situation, target, name),
            ),
        )
        for name in situation.traffic
        for target in situation.targets
    ]


def costs(situation: Situation) -> list[Row]:
    """What picker and Envoy took at every target; none where nobody's cost is known."""
    rows = [
        Row(
            "",
            target,
            (
                _cost(situation, target, Measure.PICKER_CPU_PER_REQUEST_S),
                _cost(situation, target, Measure.PICKER_CPU_PER_CHUNK_S),
                _memory(situation, target, "picker"),
                _cost(situation, target, Measure.ENVOY_CPU_PER_REQUEST_S),
                _cost(situation, target, Measure.ENVOY_CPU_PER_CHUNK_S),
                _memory(situation, target, "envoy"),
            ),
        )
        for target in situation.targets
    ]
    return [row for row in rows if any(cell != words.NOTHING for cell in row.cells)]


def ratios(situation: Situation) -> list[Row]:
    """Ours beside every other target."""
    return [Row(ratio_title(each), each.other, ratio_cells(each)) for each in situation.ratios]


def ratio_title(each: Ratio) -> str:
    """What is compared, and which way is better where that is up."""
    name = words.title(each.measure)
    about = name if each.traffic is None else f"{each.traffic}: {name}"
    return about if each.better == "lower" else f"{about} (more is better)"


def ratio_cells(each: Ratio) -> tuple[str, ...]:
    """Both medians, the ratio's, and from where to where it reaches."""
    return (
        words.figure(each.measure, each.ours_median),
        words.figure(each.measure, each.other_median),
        words.ratio(each.median),
        words.spread(each.low, each.high) if len(each.rounds) > 1 else "",
    )


def line_figures(line: Line) -> str:
    """What was measured for a pass line, and what that was held against."""
    if not line.rounds:
        return line.why
    times = [words.figure(line.measure, value) for value in line.rounds]
    if line.standing is Standing.NOT_JUDGED:
        return f"{', '.join(times)} ({line.why})"
    bounds = [words.figure(line.measure, value) for value in line.bounds]
    told = f"{', '.join(times)}; {line.sense} {', '.join(dict.fromkeys(bounds))}"
    return f"{told} ({line.why})" if line.why else told


def line_about(line: Line) -> str:
    """Of what."""
    who = f"{line.traffic}, {line.target}" if line.traffic else line.target
    return f"{words.title(line.measure)}, {who}"


def tally(situation: Situation) -> str:
    """How many lines were kept, missed, not judged."""
    counted = Counter(line.standing for line in situation.lines)
    parts = [f"{counted[each]} {words.standing(each)}" for each in Standing if counted[each]]
    if situation.failed:
        parts.append(f"{len(situation.failed)} FAILED")
    return ", ".join(parts)


def reasons(situation: Situation) -> list[str]:
    """Why requests were refused or broke, over all rounds, class by class and target by target."""
    told = []
    for name in situation.traffic:
        for target in situation.targets:
            counted: Counter[str] = Counter()
            for each in situation.rounds:
                if each.target == target and name in each.classes:
                    counted.update(each.classes[name].reasons)
            if counted:
                why = ", ".join(f"{count:,} x {reason}" for reason, count in counted.most_common(4))
                told.append(f"{name}, {target}: {why}")
    return told


def notes(situation: Situation) -> list[str]:
    """What the harness has to say about single rounds, each thing once."""
    told = {
        f"{each.target}, {name}: {note}": None
        for each in situation.rounds
        for name, note in each.notes.items()
    }
    behind = [
        f"{each.target}, round {each.number}: the generator was {words.seconds(lag_s)} behind its plan (p99), which is "
        "part of every time to first token"
        for each in situation.rounds
        if (lag_s := each.measures.get(Measure.SEND_LAG_P99_S.value) or 0.0) > _NOTABLE_LAG_S
    ]
    return [*told, *behind]


def headline(situation: Situation) -> str | None:
    """The class that the scenario is about: that of its first pass line which speaks of one, else the first."""
    of_lines = (line.traffic for line in situation.lines if line.traffic in situation.traffic)
    return next(of_lines, next(iter(situation.traffic), None))


def middle(situation: Situation, target: str, measure: str, traffic: str | None = None) -> float | None:
    """The median of the rounds; a time that never came ranks behind every number, what doesn't exist nowhere."""
    values = []
    for each in situation.rounds:
        if each.target == target:
            measures = each.measures if traffic is None else each.classes[traffic].measures
            values.append(measures.get(measure))
    if measure in _NEVER:
        values = [math.inf if value is None else value for value in values]
    there = [value for value in values if value is not None]
    found = median(there) if there else None
    return None if found is None or math.isinf(found) else found


def _tokens_per_s(situation: Situation, target: str, traffic: str) -> str:
    tokens = middle(situation, target, Measure.OUTPUT_TOKENS.value, traffic)
    return words.NOTHING if tokens is None else words.count(tokens / situation.duration_s)


def _cost(situation: Situation, target: str, measure: Measure) -> str:
    return words.figure(measure.value, middle(situation, target, measure.value))


def _memory(situation: Situation, target: str, role: str) -> str:
    peaks = [
        each.peak_bytes[role]
        for each in situation.rounds
        if each.target == target and role in each.peak_bytes
    ]
    return words.megabytes(max(peaks)) if peaks else words.NOTHING
