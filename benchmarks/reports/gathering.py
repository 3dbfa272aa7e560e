"""From what was played to what is reported: every measure of every play, ratios, curves and verdicts."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.table import written
from benchmarks.load.outcome import Result
from benchmarks.plays.comparison import compare
from benchmarks.plays.measures import MAY_NEVER_COME, OF_TRAFFIC, Measure
from benchmarks.plays.measuring import measured
from benchmarks.reports import description
from benchmarks.reports.report import (
    ClassFigures,
    CostLine,
    Costs,
    Curve,
    Line,
    Never,
    Ratio,
    Round,
    Situation,
    Standing,
    Trouble,
)
from benchmarks.stage.target import is_foreign

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from benchmarks.costs.table import Failure
    from benchmarks.costs.table import Line as MeasuredLine
    from benchmarks.load.outcome import Outcome
    from benchmarks.plays.comparison import Comparison
    from benchmarks.plays.judge import Verdict
    from benchmarks.plays.play import Play
    from benchmarks.plays.runner import Run
    from benchmarks.scenarios.scenario import Kind, PassLine

_MOST_POINTS = 500
_STEPS = 20
_TICKS_PER_HALF = 8
"""Points of a curve while what is left of the requests halves."""
_ONLY_OURS = frozenset({Measure.QUEUED_MAX, Measure.QUEUED_AT_END, Measure.IDLE_ELIGIBLE_SLOT_S})
"""What is read from our own picker's metrics."""


def situation(
    run: Run, verdicts: Iterable[Verdict], *, kinds: Collection[Kind], rounds_asked: int
) -> Situation:
    """All of one scenario."""
    scenario, plays = run.scenario, run.plays
    targets = list(dict.fromkeys(play.target for play in plays))
    step_s = max(1.0, scenario.duration_s / _STEPS)
    shown = {target: next(play.round for play in plays if play.target == target) for target in targets}
    return Situation(
        name=scenario.name,
        question=scenario.question,
        story=scenario.story,
        duration_s=scenario.duration_s,
        seed=scenario.seed,
        rounds_asked=rounds_asked,
        servers=scenario.servers.count,
        traffic={name: description.traffic(each) for name, each in scenario.traffic.items()},
        events=[description.event(each) for each in sorted(scenario.events, key=lambda each: each.at_s)],
        targets=targets,
        step_s=step_s,
        rounds=[
            _round(play, list(scenario.traffic), step_s=step_s, with_points=shown[play.target] == play.round)
            for play in plays
        ],
        curves=[
            _curve([play for play in plays if play.target == target], traffic, target)
            for traffic in scenario.traffic
            for target in targets
        ],
        ratios=[_ratio(each, plays) for each in compare(plays)],
        lines=[_line(each, kinds=kinds, targets=targets, run=run) for each in verdicts],
        skipped=[Trouble(target=each.target, why=each.why) for each in run.skipped],
        failed=[
            Trouble(target=each.target, why=f"round {each.round_number}: {each.why}") for each in run.failed
        ],
    )


def costs(lines: Iterable[MeasuredLine], failures: Iterable[Failure]) -> Costs:
    """The cost table."""
    return Costs(
        lines=[
            CostLine(
                row=line.row,
                what=f"{line.what} [{line.variant}]" if line.variant else line.what,
                bound=str(line.bound),
                measured=written(line.median, line.bound.unit),
                spread=line.spread,
                kept=line.kept,
                rounds=list(line.rounds),
                limit=line.bound.limit,
                unit=line.bound.unit.value,
                facts=dict(line.facts),
            )
            for line in lines
        ],
        failures={failure.row: failure.message for failure in failures},
    )


def _round(play: Play, classes: Sequence[str], *, step_s: float, with_points: bool) -> Round:
    by_class = {name: [each for each in play.outcomes if each.class_name == name] for name in classes}
    evidence = play.evidence
    return Round(
        target=play.target,
        number=play.round,
        classes={
            name: ClassFigures(
                measures={
                    measure.value: measured(play, measure, name)
                    for measure in Measure
                    if measure in OF_TRAFFIC
                },
                reasons=_reasons(outcomes),
                histograms=play.histograms[name].encode() if name in play.histograms else {},
                points=_points(outcomes) if with_points else [],
            )
            for name, outcomes in by_class.items()
        },
        measures={measure.value: measured(play, measure, None) for measure in Measure},
        completed_per_s=_completed_per_s(play.outcomes, duration_s=play.duration_s, step_s=step_s),
        cpu_s={role: usage.cpu_s for role, usage in evidence.usage.items()},
        peak_bytes={role: usage.peak_bytes for role, usage in evidence.usage.items()},
        notes=dict(evidence.notes),
    )


def _reasons(outcomes: Iterable[Outcome]) -> dict[str, int]:
    counted = Counter(
        each.detail or str(each.status) for each in outcomes if each.result in {Result.REFUSED, Result.BROKEN}
    )
    return dict(counted.most_common())


def _points(outcomes: Sequence[Outcome]) -> list[tuple[float, float | None]]:
    """Evenly thinned, in order of time."""
    every = max(1, math.ceil(len(outcomes) / _MOST_POINTS))
    return [
        (round(each.due_s, 3), None if each.ttft_s is None else round(each.ttft_s, 4))
        for each in sorted(outcomes, key=lambda each: each.due_s)[::every]
        if not _was_spared(each)
    ]


def _was_spared(outcome: Outcome) -> bool:
    """Whether nobody knows when it would have got a token, since the scenario hung up before."""
    return outcome.result is Result.HUNG_UP and outcome.first_token_s is None


def _completed_per_s(outcomes: Iterable[Outcome], *, duration_s: float, step_s: float) -> list[float]:
    """Until the last one ended."""
    ends = [each.ended_s for each in outcomes if each.result is Result.COMPLETED]
    steps = math.ceil(max([duration_s, *ends]) / step_s)
    counted = Counter(min(steps - 1, int(end_s / step_s)) for end_s in ends)
    return [round(counted[step] / step_s, 2) for step in range(steps)]


def _curve(plays: Sequence[Play], traffic: str, target: str) -> Curve:
    ttfts = [
        each.ttft_s
        for play in plays
        for each in play.outcomes
        if each.class_name == traffic and not _was_spared(each)
    ]
    came = sorted(ttft_s for ttft_s in ttfts if ttft_s is not None)
    points: list[tuple[float, float]] = []
    for quantile in _quantiles(len(ttfts)):
        rank = max(0, math.ceil(quantile * len(ttfts)) - 1)
        if rank >= len(came):
            break
        points.append((round(quantile, 6), round(came[rank], 6)))
    return Curve(
        traffic=traffic,
        target=target,
        requests=len(ttfts),
        points=points,
        served_share=len(came) / len(ttfts) if ttfts else 0.0,
    )


def _quantiles(count: int) -> Iterable[float]:
    """Closer and closer to 1, as far as so many requests can tell."""
    tick = 0
    while count:
        quantile = 1 - 0.5 ** (tick / _TICKS_PER_HALF)
        if quantile > 1 - 1 / count:
            yield 1 - 1 / count
            return
        yield quantile
        tick += 1


def _ratio(each: Comparison, plays: Sequence[Play]) -> Ratio:
    middle, spread = each.median, each.spread
    assert middle is not None  # `compare` leaves out what has no ratio in any round
    assert spread is not None
    low, high = (_number(value, each) for value in spread)
    return Ratio(
        measure=each.measure.value,
        traffic=each.traffic,
        ours=each.ours,
        other=each.other,
        better=each.better.value,
        rounds=[None if value is None else _number(value, each) for value in each.ratios],
        median=_number(middle, each),
        low=low,
        high=high,
        ours_median=_median(plays, each.ours, each.measure, each.traffic),
        other_median=_median(plays, each.other, each.measure, each.traffic),
    )


def _number(value: float, each: Comparison) -> float | Never:
    if math.isinf(value):
        return Never.OURS
    return Never.OTHER if value == 0 and each.measure in MAY_NEVER_COME else value


def _median(plays: Sequence[Play], target: str, measure: Measure, traffic: str | None) -> float | None:
    """Of the rounds; a time that never came ranks behind every number."""
    values = [measured(play, measure, traffic) for play in plays if play.target == target]
    if measure in MAY_NEVER_COME:
        values = [math.inf if value is None else value for value in values]
    there = [value for value in values if value is not None]
    middle = median(there) if there else None
    return None if middle is None or math.isinf(middle) else middle


def _line(verdict: Verdict, *, kinds: Collection[Kind], targets: Collection[str], run: Run) -> Line:
    line = verdict.line
    standing = {True: Standing.KEPT, False: Standing.MISSED, None: Standing.NOT_JUDGED}[verdict.kept]
    failed = {failed.target for failed in run.failed}
    about = {line.target} | ({line.times.target or line.target} if line.times is not None else set())
    untold = _untold(line, targets) if standing is Standing.NOT_JUDGED else ""
    return Line(
        says=line.says,
        measure=line.measure.value,
        traffic=line.traffic,
        target=line.target,
        kind=line.kind.value,
        standing=standing,
        rounds=list(verdict.rounds),
        bounds=list(verdict.bounds),
        sense="at least" if line.at_least is not None else "at most",
        why=untold or verdict.why,
        excused=standing is Standing.NOT_JUDGED
        and (
            bool(untold)
            or line.kind not in kinds
            or any(name not in targets and name not in failed for name in about)
        ),
    )


def _untold(line: PassLine, targets: Collection[str]) -> str:
    """Why a line can't be judged that needs what a foreign picker, which was played, never tells; else empty."""
    needs = [(line.measure, line.target)]
    if line.times is not None:
        needs.append((line.times.measure, line.times.target or line.target))
    return "; ".join(
        f"only our own picker tells its {measure.value}, {target} doesn't"
        for measure, target in dict.fromkeys(needs)
        if measure in _ONLY_OURS and target in targets and is_foreign(target)
    )
