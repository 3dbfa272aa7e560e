"""Histograms as plain integers: one list per series, one bisection per observation.

The process observes on one loop only, so there is nothing to lock; that makes an observation several times cheaper
than `prometheus_client`'s.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import nan
from operator import add
from typing import TYPE_CHECKING, Self

from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Buckets:
    """The upper bounds of a histogram, rising, and how the two text formats write them."""

    __slots__ = ("bounds", "openmetrics_le", "text_le")

    def __init__(self, *bounds: float) -> None:
        if list(bounds) != sorted(set(bounds)):
            raise ValueError(f"bounds {bounds} do not rise: list each once, smallest first")
        self.bounds = tuple(float(bound) for bound in bounds)
        self.openmetrics_le = (*(_go_float(bound) for bound in self.bounds), "+Inf")
        """As OpenMetrics asks: always with a fraction or an exponent."""
        self.text_le = tuple(bound.removesuffix(".0") for bound in self.openmetrics_le)
        """As Go's client writes them, so that a query for `le="1"` finds its bucket."""


class Distribution:
    """What was observed of one series."""

    __slots__ = ("_bounds", "_counts", "buckets", "total")

    buckets: Buckets
    total: float
    """The sum of all values; not a number where nobody added them up."""

    def __init__(self, buckets: Buckets) -> None:
        self.buckets = buckets
        self.total = 0.0
        self._bounds = buckets.bounds
        self._counts = [0] * (len(buckets.bounds) + 1)

    @classmethod
    def counted(cls, buckets: Buckets, counts: Sequence[int]) -> Self:
        """What somebody else counted in these buckets, one count more than there are bounds, without a sum."""
        distribution = cls(buckets)
        distribution.total = nan
        distribution._counts = list(counts)
        return distribution

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def absorb(self, other: Distribution) -> None:
        """Count everything that `other`, which has the same buckets, has counted."""
        self.total += other.total
        self._counts = list(map(add, self._counts, other._counts))

    def cumulative(self) -> Iterator[int]:
        """For each bound, and at last for infinity: how many values were not above it."""
        return accumulate(self._counts)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was observed."""
        return not any(self._counts)


def _go_float(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call] # the package doesn't say
    return text
