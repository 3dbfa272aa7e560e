"""Who of the scored candidates it is. One endpoint is picked: lists of several break more gateways than they help."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Uniform = Callable[[], float]
    """Draws from [0, 1)."""


class Picker(Protocol):
    """Takes one candidate."""

    @property
    def name(self) -> str:
        """The type name that configurations use."""

    def pick(self, scores: list[float], loads: Sequence[float], uniform: Uniform, /) -> int:
        """The index of one candidate; `scores` and `loads` have one entry for each, and at least one."""


@dataclass(frozen=True, slots=True)
class MaxScorePicker:
    """The best score; of equals the least loaded; of those any, with equal chances."""

    name: str = "max-score-picker"

    def pick(self, scores: list[float], loads: Sequence[float], uniform: Uniform, /) -> int:
        """The index of the best candidate."""
        best = max(scores)
        if scores.count(best) == 1:
            return scores.index(best)
        tied = [index for index, score in enumerate(scores) if score == best]
        least = min([loads[index] for index in tied])
        tied = [index for index in tied if loads[index] == least]
        return tied[int(uniform() * len(tied))]


@dataclass(frozen=True, slots=True)
class RandomPicker:
    """Any candidate, with equal chances."""

    name: str = "random-picker"

    def pick(self, scores: list[float], loads: Sequence[float], uniform: Uniform, /) -> int:
        """The index of any candidate."""
        del loads
        return int(uniform() * len(scores))


@dataclass(frozen=True, slots=True)
class WeightedRandomPicker:
    """Any candidate, with chances in proportion to the scores; equal chances if no score is above 0."""

    name: str = "weighted-random-picker"

    def pick(self, scores: list[float], loads: Sequence[float], uniform: Uniform, /) -> int:
        """The index of a candidate, better ones more often."""
        del loads
        reached = list(accumulate([max(score, 0.0) for score in scores]))
        if reached[-1] <= 0:
            return int(uniform() * len(scores))
        # Rounding may carry the product up to the total, which is beyond the last candidate that has a chance.
        return min(bisect_right(reached, uniform() * reached[-1]), bisect_left(reached, reached[-1]))
