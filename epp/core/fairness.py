"""Whose turn it is among the flows of one band.

All policies share one mechanism, start-time fair queueing (Goyal, Vin, Cheng 1996): a flow carries a tag, a
dispatch moves it by a cost, and a flow that comes back starts no earlier than the virtual time of the endpoints
it may use. They differ in the key that they sort by and in the cost that they charge.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.core.policy import ItemView


@dataclass(frozen=True, slots=True)
class RoundRobinFairness:
    """Every flow with work gets one request in turn."""

    name: str = "round-robin-fairness-policy"
    half_life_s: float = inf

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
    half_life_s: float = inf

    def key(self, tag: float, order_key: float, head: ItemView, /) -> float:
        """The head's own place in the order."""
        del tag, head
        return order_key

    def cost(self, item: ItemView, /) -> float:
        """Nothing."""
        del item
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFairness:
    """Tokens, divided by weight: what every flow got stays within a bound that doesn't grow with time (promise 5)."""

    input_cost: float = 1.0
    """What a token of the prompt costs."""
    output_cost: float = 1.0
    name: str = "token-fairness-policy"
    half_life_s: float = inf

    def key(self, tag: float, order_key: float, head: ItemView, /) -> float:
        """The flow's tag: the tokens charged to it, per weight."""
        del order_key, head
        return tag

    def cost(self, item: ItemView, /) -> float:
        """Its tokens per weight, at least one."""
        tokens = self.input_cost * item.input_tokens + self.output_cost * item.output_tokens
        return (max(1.0, tokens)) / item.weight


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramAwareFairness:
    """Least attained service, as upstream's: a token of output counts twice, and what is long ago is forgotten.

    Unlike upstream it charges at dispatch, so a burst isn't free until its first response ends, and aborted work is
    not free at all.
    """

    half_life_s: float = 60.0
    name: str = "program-aware-fairness"

    def key(self, tag: float, order_key: float, head: ItemView, /) -> float:
        """The flow's tag: the service that it attained."""
        del order_key, head
        return tag

    def cost(self, item: ItemView, /) -> float:
        """Prompt and twice the output."""
        return float(max(1, item.input_tokens + 2 * item.output_tokens))
