"""The times of one class of traffic as HDR histograms, in microseconds: 1 us to 1 h, three significant digits.

Promises:
- A percentile is taken over all requests of a class, but for those that the scenario made hang up. One that never got
  a token, or never its whole answer, ranks behind all that did: leaving it out would reward refusing. It is recorded
  as `NEVER_US`, the top of the scale, so that the rank holds in merged, encoded and foreign hands too; `percentile_s`
  says None where such a one stands.
- The rule of rank is that of the outcomes: the smallest value that at least this share of all does not exceed. The
  value is the upper end of its bucket, so at most a thousandth more.
- `encode` writes the standard compressed form (V2, deflated, base64), which every HdrHistogram library reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from hdrh.histogram import HdrHistogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOWEST_US = 1
NEVER_US = 3_600_000_000
"""What did not happen."""
LONGEST_US = 3_590_000_000
"""What did happen stays below `NEVER_US`, its bucket included."""
DIGITS = 3


class Which(Enum):
    """One of the three."""

    TTFT = "ttft"
    """From when a request was due to its first token; never, if none came."""
    LATENCY = "latency"
    """From when it was due to the end of its whole answer; never, if it was not completed."""
    GAP = "gap"
    """Between a token and the next one. Tokens that come in one read are 0 apart."""


class HistogramError(ValueError):
    """This is no encoded histogram of ours; the message says which one and why."""


def _new() -> Any:
    return HdrHistogram(LOWEST_US, NEVER_US, DIGITS)


@dataclass(frozen=True, slots=True)
class ClassHistograms:
    """All three. The values are frozen as a whole, not what they count: they grow while a round is played."""

    ttft: Any = field(default_factory=_new)
    """An `HdrHistogram`, of a package without types; so are the others."""
    latency: Any = field(default_factory=_new)
    gap: Any = field(default_factory=_new)

    def of(self, which: Which) -> Any:
        """The histogram of that name."""
        return {Which.TTFT: self.ttft, Which.LATENCY: self.latency, Which.GAP: self.gap}[which]

    def record(self, which: Which, value_s: float | None, *, count: int = 1) -> None:
        """Count a time; None is never."""
        self.of(which).record_value(_microseconds(value_s), count)

    def percentile_s(self, which: Which | str, quantile: float) -> float | None:
        """The time that this share of all does not exceed; None if that is never, or if there are none."""
        histogram = self.of(Which(which))
        rank = max(1, math.ceil(quantile * histogram.total_count))
        seen = 0
        for index, count in enumerate(histogram.counts):
            seen += count
            if count and seen >= rank:
                value_us = histogram.get_highest_equivalent_value(histogram.get_value_from_index(index))
                return None if value_us >= NEVER_US else value_us / 1e6
        return None

    def add(self, other: ClassHistograms) -> None:
        """Count those of another round as well."""
        for which in Which:
            self.of(which).add(other.of(which))

    def encode(self) -> dict[str, str]:
        """By name (`ttft`, `latency`, `gap`), in the standard compressed base64 form."""
        return {which.value: self.of(which).encode().decode("ascii") for which in Which}

    @classmethod
    def decode(cls, encoded: Mapping[str, str]) -> ClassHistograms:
        """What `encode` wrote. Raises `HistogramError`."""
        return cls(*(_decoded(which.value, encoded) for which in Which))


def merged(rounds: Iterable[ClassHistograms]) -> ClassHistograms:
    """One that counts all rounds; they stay as they are."""
    total = ClassHistograms()
    for each in rounds:
        total.add(each)
    return total


def _microseconds(value_s: float | None) -> int:
    return NEVER_US if value_s is None else min(LONGEST_US, max(0, round(value_s * 1e6)))


def _decoded(name: str, encoded: Mapping[str, str]) -> Any:
    try:
        histogram = HdrHistogram.decode(encoded[name])
    except KeyError:
        raise HistogramError(f"{name}: missing; expected one of each: ttft, latency, gap") from None
    except Exception as error:  # the package raises whatever base64, zlib and ctypes raise
        raise HistogramError(
            f"{name}: {encoded[name][:40]!r} is no compressed HDR histogram ({error}); give what encode() wrote"
        ) from error
    same = _new()
    if histogram.counts_len != same.counts_len or histogram.significant_figures != DIGITS:
        raise HistogramError(
            f"{name}: it counts {histogram.lowest_trackable_value} to {histogram.highest_trackable_value} with "
            f"{histogram.significant_figures} digits; expected {LOWEST_US} to {NEVER_US} us with {DIGITS}"
        )
    return histogram
