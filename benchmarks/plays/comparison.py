"""One target beside the others: ratios within a round, since only those are the machine's business no more.

Promises:
- A ratio is made of two plays of the same round, never of two medians: what slowed one round slowed both.
- A time that never came ranks behind every number, so it makes its own target infinitely worse and the other
  infinitely better; where it came at neither, or where a quantity doesn't exist, there is no ratio.
- The median is a ratio that was measured or lies between two that were; a round without a ratio doesn't count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from benchmarks.plays.measures import MAY_NEVER_COME, Measure
from benchmarks.plays.measuring import measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plays.play import Play


class Better(Enum):
    """Which way a measure is better."""

    LOWER = "lower"
    HIGHER = "higher"


COMPARED_OF_TRAFFIC = {
    Measure.TTFT_P50_S: Better.LOWER,
    Measure.TTFT_P95_S: Better.LOWER,
    Measure.TTFT_P99_S: Better.LOWER,
    Measure.LATENCY_P50_S: Better.LOWER,
    Measure.LATENCY_P95_S: Better.LOWER,
    Measure.GAP_P99_S: Better.LOWER,
    Measure.COMPLETED_SHARE: Better.HIGHER,
    Measure.COMPLETED_PER_S: Better.HIGHER,
    Measure.OUTPUT_TOKENS: Better.HIGHER,
    Measure.JAIN: Better.HIGHER,
}
"""Compared class by class."""

COMPARED_OF_ROUND = {
    Measure.COMPLETED_PER_S: Better.HIGHER,
    Measure.OUTPUT_TOKENS: Better.HIGHER,
    Measure.PICKER_CPU_PER_REQUEST_S: Better.LOWER,
    Measure.PICKER_CPU_PER_CHUNK_S: Better.LOWER,
    Measure.PICKER_PEAK_BYTES: Better.LOWER,
    Measure.ENVOY_CPU_PER_REQUEST_S: Better.LOWER,
    Measure.ENVOY_CPU_PER_CHUNK_S: Better.LOWER,
    Measure.ENGINE_WAITING_MAX: Better.LOWER,
    Measure.ENGINE_IDLE_SLOT_SHARE: Better.LOWER,
}
"""Compared over everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One measure of one target over that of another, round by round."""

    measure: Measure
    traffic: str | None
    """The class; None: the whole round."""
    ours: str
    other: str
    ratios: tuple[float | None, ...]
    """0 where it never came at the other, infinite where it never came at ours, None where there is no ratio."""

    @property
    def better(self) -> Better:
        """Which way is better for ours."""
        return COMPARED_OF_ROUND[self.measure] if self.traffic is None else COMPARED_OF_TRAFFIC[self.measure]

    @property
    def median(self) -> float | None:
        """Of the rounds that have a ratio; None if none has."""
        return middle(self.ratios)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The least and the greatest ratio."""
        there = [ratio for ratio in self.ratios if ratio is not None]
        return (min(there), max(there)) if there else None


def compare(plays: Sequence[Play]) -> tuple[Comparison, ...]:
    """The first target that is ours (else the first) beside all others that were played in the same rounds."""
    targets = tuple(dict.fromkeys(play.target for play in plays))
    if len(targets) < 2:
        return ()
    ours = reference(targets)
    found = {(play.target, play.round): play for play in plays}
    pairs = {
        other: [
            (found[ours, play.round], play)
            for play in plays
            if play.target == other and (ours, play.round) in found
        ]
        for other in targets
        if other != ours
    }
    classes = tuple(dict.fromkeys(name for play in plays for name in play.histograms))
    asked: list[tuple[Measure, str | None]] = [
        (measure, traffic) for traffic in classes for measure in COMPARED_OF_TRAFFIC
    ]
    asked += [(measure, None) for measure in COMPARED_OF_ROUND]
    comparisons = (
        Comparison(
            measure=measure,
            traffic=traffic,
            ours=ours,
            other=other,
            ratios=tuple(_ratio(mine, its, measure, traffic) for mine, its in pairs[other]),
        )
        for measure, traffic in asked
        for other in pairs
    )
    return tuple(each for each in comparisons if each.median is not None)


def reference(targets: Sequence[str]) -> str:
    """The target that the others are compared with: our picker, else the first one."""
    return next((name for name in targets if name.partition(":")[0] == "picker"), targets[0])


def middle(values: Sequence[float | None]) -> float | None:
    """The median of those that aren't None; nothing lies between a number and 0 or infinity: then the greater one."""
    ranked = sorted(value for value in values if value is not None)
    if not ranked:
        return None
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return high if low == 0 or math.isinf(high) else (low + high) / 2


def _ratio(mine: Play, its: Play, measure: Measure, traffic: str | None) -> float | None:
    first, second = measured(mine, measure, traffic), measured(its, measure, traffic)
    if measure in MAY_NEVER_COME and _sent(mine, traffic) and _sent(its, traffic):
        first, second = (math.inf if each is None else each for each in (first, second))
    if first is None or second is None or second == 0 or (math.isinf(first) and math.isinf(second)):
        return None
    return first / second


def _sent(play: Play, traffic: str | None) -> float:
    return measured(play, Measure.SENT, traffic) or 0.0
