"""Orders of the requests inside one flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.core.policy import ItemView


@dataclass(frozen=True, slots=True)
class FcfsOrdering:
    """First come, first served."""

    name: str = "fcfs-ordering-policy"

    def key(self, item: ItemView, /) -> float:
        """The time of arrival; equal times go by sequence."""
        return item.arrived_s
