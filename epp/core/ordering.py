"""Orders of the requests inside one flow."""

from __future__ import annotations

from dataclasses import dataclass
from sys import float_info
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.core.policy import ItemView

_LAST = float_info.max
"""Requests without a deadline go after all that have one, by arrival."""


@dataclass(frozen=True, slots=True)
class FcfsOrdering:
    """First come, first served."""

    name: str = "fcfs-ordering-policy"

    def key(self, item: ItemView, /) -> float:
        """The time of arrival; equal times go by sequence."""
        return item.arrived_s


@dataclass(frozen=True, slots=True)
class EdfOrdering:
    """Earliest deadline first: the deadline is the arrival plus the waiting budget."""

    name: str = "edf-ordering-policy"

    def key(self, item: ItemView, /) -> float:
        """When its waiting budget ends; last if it has none."""
        return _LAST if item.deadline_s is None else item.deadline_s


@dataclass(frozen=True, slots=True)
class SloDeadlineOrdering:
    """By the time at which a request wants its first token."""

    name: str = "slo-deadline-ordering-policy"

    def key(self, item: ItemView, /) -> float:
        """When it wants its first token; last if it doesn't say."""
        return _LAST if item.slo_deadline_s is None else item.slo_deadline_s
