"""Which share of every endpoint's limit each band may fill.

Who gives low bands a lower ceiling keeps room for the higher ones before they ask for it: an endpoint never fills up
with work that would have to end first. The price is room that stands empty, which is counted (`ceiling_slot_s`). Only
bands in use are asked about, so an objective that nobody uses takes nothing from anybody.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class StaticCeiling:
    """One ceiling for all bands; 1.0, the default, holds nothing back."""

    threshold: float = 1.0
    name: str = "static-usage-limit-policy"

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """The threshold, once for each priority."""
        return [self.threshold] * len(priorities)


class HoldbackDomain(Enum):
    """What a band's place between the lowest and the highest ceiling goes by."""

    RANK = "rank"
    """Its place among the bands: equal steps, whatever the numbers."""
    VALUE = "value"
    """Its priority as a number: 100, 90 and 0 leave a small step and a large one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityHoldback:
    """The highest band gets `max_ceiling`, the lowest `min_ceiling`, the others lie on the line between them."""

    domain: HoldbackDomain = HoldbackDomain.RANK
    min_ceiling: float
    max_ceiling: float = 1.0
    name: str = "priority-holdback-policy"

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """A band that is alone is the highest."""
        if len(priorities) < 2:
            return [self.max_ceiling] * len(priorities)
        highest, lowest = priorities[0], priorities[-1]
        match self.domain:
            case HoldbackDomain.RANK:
                below_highest = [rank / (len(priorities) - 1) for rank in range(len(priorities))]
            case HoldbackDomain.VALUE:
                below_highest = [(highest - priority) / (highest - lowest) for priority in priorities]
        span = self.max_ceiling - self.min_ceiling
        # Rounding may take the last one below the least.
        return [max(self.min_ceiling, self.max_ceiling - share * span) for share in below_highest]


@dataclass(frozen=True, slots=True)
class ExplicitCeilings:
    """Ceilings by priority, as an operator wrote them down."""

    named: tuple[tuple[int, float], ...]
    """(priority, ceiling), in any order."""
    name: str = "priority-holdback-policy"

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """A priority that isn't named gets that of the next higher one that is; 1.0 above all of them."""
        named = sorted(self.named)
        steps = [priority for priority, _ in named]
        at = [bisect_left(steps, priority) for priority in priorities]
        return [named[place][1] if place < len(named) else 1.0 for place in at]


@dataclass(frozen=True, slots=True)
class SoftReflectiveCeiling:
    """The fuller an endpoint is, the fewer bands it is open to: band i of N while its fill x < 1 - i * x / (N - 1).

    Upstream works x out over the pool and lets a band that is past its ceiling through every few dispatch cycles. How
    often a cycle comes depends on the rate of arrivals, so that share means nothing by itself. Judged for each
    endpoint, with x being what fills it, the inequality can be solved: x < (N - 1) / (N - 1 + i), from 1 for the
    highest band down to a half for the lowest. A band beyond its ceiling waits until the endpoint has emptied that far.
    """

    name: str = "soft-reflective-ceiling-policy"

    def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
        """Between 1 and a half, by rank."""
        steps = max(1, len(priorities) - 1)
        return [steps / (steps + rank) for rank in range(len(priorities))]
