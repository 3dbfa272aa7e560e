"""HdrHistogram's percentile files (.hgrm): what its plotters read, in milliseconds.

A line for each value that was counted, with the share of all that it doesn't exceed. What never came is an hour.
The histogram's own writer makes the same, but goes through every value that there might be, several times.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

from benchmarks.load.histograms import Which, merged
from benchmarks.plays.runner import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.plays.play import Play

_US_PER_MS = 1000


def write(plays: Sequence[Play], directory: Path) -> tuple[Path, ...]:
    """One file for each target, class and time, all rounds together, as `TARGET/CLASS-TIME.hgrm`."""
    written = []
    for target in dict.fromkeys(play.target for play in plays):
        place = directory / plain(target)
        place.mkdir(parents=True, exist_ok=True)
        rounds = [play.histograms for play in plays if play.target == target]
        for name in dict.fromkeys(name for histograms in rounds for name in histograms):
            total = merged(histograms[name] for histograms in rounds if name in histograms)
            for which in Which:
                counted = _counted(total.of(which))
                if counted:
                    path = place / f"{plain(name)}-{which.value}.hgrm"
                    path.write_text("".join(_lines(counted)), encoding="ascii")
                    written.append(path)
    return tuple(written)


def _counted(histogram: Any) -> list[tuple[float, int]]:
    """Values in milliseconds, the upper ends of their buckets, and how many had them."""
    return [
        (histogram.get_highest_equivalent_value(histogram.get_value_from_index(index)) / _US_PER_MS, count)
        for index, count in enumerate(histogram.counts)
        if count
    ]


def _lines(counted: Sequence[tuple[float, int]]) -> Iterable[str]:
    total = sum(count for _, count in counted)
    yield f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}\n\n"
    seen = 0
    for value_ms, count in counted:
        seen += count
        behind = f" {total / (total - seen):14.2f}" if seen < total else ""
        yield f"{value_ms:12.3f} {seen / total:2.12f} {seen:10d}{behind}\n"
    mean = sum(value_ms * count for value_ms, count in counted) / total
    deviation = sqrt(sum(count * (value_ms - mean) ** 2 for value_ms, count in counted) / total)
    yield f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]\n"
    yield f"#[Max     = {counted[-1][0]:12.3f}, TotalCount     = {total:12d}]\n"
