"""How far tenants drift apart: the largest gap between two of them, over every interval in which both had work queued.

An interval's gap is what one got in it per weight minus what the other got. Over all intervals inside one stretch the
largest is the running difference's maximum minus its minimum, so one pass over the record finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from benchmarks.fairness.world import What

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.fairness.tenants import Tenant
    from benchmarks.fairness.world import Moment


class Counted(Enum):
    """What a tenant got is counted by."""

    CHARGED = frozenset({What.CHARGED})
    """What was charged on dispatch."""
    CORRECTED = frozenset({What.CHARGED, What.CORRECTED})
    """The same, corrected once the truth is known."""
    DELIVERED = frozenset({What.DELIVERED})
    """Tokens that were answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Two tenants' largest gap."""

    gap: float
    """Tokens per weight."""
    unit: float
    """cmax_f/w_f + cmax_g/w_g, over what requests were taken for and what they took."""
    turns: int
    """Dispatches of either while both were backlogged."""

    @property
    def units(self) -> float:
        """The gap as a multiple of the unit."""
        return self.gap / self.unit


def largest(moments: Iterable[Moment], one: Tenant, other: Tenant, counted: Counted) -> Lag:
    """The largest gap between two tenants."""
    weights = {one.name: one.weight, other.name: -other.weight}
    cmax = {one.name: 1, other.name: 1}
    backlogged: set[str] = set()
    gap = difference = low = high = 0.0
    turns = 0
    for moment in moments:
        weight = weights.get(moment.tenant)
        if weight is None:
            continue
        if moment.what is What.CHARGED or moment.what is What.DELIVERED:
            cmax[moment.tenant] = max(cmax[moment.tenant], moment.tokens)
        if moment.what is What.BACKLOGGED:
            backlogged.add(moment.tenant)
            low = high = difference = 0.0
        elif moment.what is What.IDLE:
            backlogged.discard(moment.tenant)
        elif len(backlogged) == 2:
            turns += moment.what is What.CHARGED
            if moment.what in counted.value:
                difference += moment.tokens / weight
                low, high = min(low, difference), max(high, difference)
                gap = max(gap, high - low)
    unit = cmax[one.name] / one.weight + cmax[other.name] / other.weight
    return Lag(gap=gap, unit=unit, turns=turns)


def received(moments: Iterable[Moment], counted: Counted, *, from_s: float = 0.0) -> dict[str, int]:
    """Tokens that every tenant got from a moment on, whether it was backlogged or not."""
    got: dict[str, int] = {}
    for moment in moments:
        if moment.what in counted.value and moment.at_s >= from_s:
            got[moment.tenant] = got.get(moment.tenant, 0) + moment.tokens
    return got


def jain(shares: Iterable[float]) -> float:
    """Jain's index: 1 if all shares are equal, 1/n if one has everything."""
    values = list(shares)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def course(
    moments: Iterable[Moment], one: Tenant, other: Tenant, counted: Counted
) -> list[tuple[float, float | None]]:
    """(when, how far `one` was ahead, in units), counted anew whenever both come to have work queued.

    None marks when they cease to.
    """
    moments = list(moments)
    unit = largest(moments, one, other, counted).unit
    weights = {one.name: one.weight, other.name: -other.weight}
    backlogged: set[str] = set()
    points: list[tuple[float, float | None]] = []
    ahead = 0.0
    for moment in moments:
        weight = weights.get(moment.tenant)
        if weight is None:
            continue
        if moment.what is What.BACKLOGGED:
            backlogged.add(moment.tenant)
            ahead = 0.0
            if len(backlogged) == 2:
                points.append((moment.at_s, 0.0))
        elif moment.what is What.IDLE:
            if len(backlogged) == 2:
                points.append((moment.at_s, None))
            backlogged.discard(moment.tenant)
        elif moment.what in counted.value and len(backlogged) == 2:
            ahead += moment.tokens / weight
            points.append((moment.at_s, ahead / unit))
    return points
