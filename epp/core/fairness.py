"""Whose turn it is among the flows of one band.

All policies share one mechanism, start-time fair queueing (Goyal, Vin, Cheng 1996): a flow carries a tag, a
dispatch moves it by a cost, and a flow that comes back starts no earlier than the virtual time of the endpoints
it may use. They differ in the key that they sort by and in the cost that they charge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.core.policy import ItemView


@dataclass(frozen=True, slots=True)
class RoundRobinFairness:
    """Every flow with work gets one request in turn."""

    name: str = "round-robin-fairness-policy"

    def key(self, tag: float, order_key: float, head: ItemView, /) -> float:
        """The flow's tag: how many turns it has had."""
        del order_key, head
        return tag

    def cost(self, item: ItemView, /) -> float:
        """One turn."""
        del item
        return 1.0


@dataclass(frozen=True, slots=True)
class GlobalStrictFairness:
    """Flows don't matter: the band is one queue in the order of its ordering policy."""

    name: str = "global-strict-fairness-policy"

    def key(self, tag: float, order_key: float, head: ItemView, /) -> float:
        """The head's own place in the order."""
        del tag, head
        return order_key

    def cost(self, item: ItemView, /) -> float:
        """Nothing."""
        del item
        return 0.0
