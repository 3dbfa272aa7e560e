"""The net under the policies: whatever one of them does, the core gets a usable answer.

A policy that raises, or answers with the wrong type, a NaN or a stranger, is replaced for that one decision and
counted. Fallbacks: order and turn by arrival, a cost of 1, own accounting for room, 1.0 for ceilings, the least
loaded endpoint. This is promise 10: it never stops the queue.
"""

from __future__ import annotations

from itertools import islice
from math import inf, isfinite
from typing import TYPE_CHECKING

from epp.core.capacity import OWN_ACCOUNTING_FLOOR, own_accounting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epp.core.endpoint import EndpointView
    from epp.core.policy import (
        CapacityPolicy,
        CeilingPolicy,
        EndpointChoice,
        FairnessPolicy,
        ItemView,
        OrderingPolicy,
    )

BROKEN_KEY = -inf
"""The turn of a flow whose policy failed: next, and then the oldest request of all goes instead."""


class PolicyGuard:
    """Asks policies, never raises, and keeps the count of what went wrong."""

    __slots__ = ("faults",)

    faults: dict[tuple[str, str], int]
    """(policy's name, what it did) -> decisions replaced."""

    def __init__(self) -> None:
        self.faults = {}

    def order_key(self, policy: OrderingPolicy, item: ItemView) -> float:
        """The item's place in its flow; its time of arrival if the policy fails."""
        try:
            key = policy.key(item)
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return item.arrived_s
        if type(key) is float and -inf < key < inf:  # the usual answer, told cheaply
            return key
        return key if self._is_number(policy, key) else item.arrived_s

    def fairness_key(self, policy: FairnessPolicy, tag: float, order_key: float, head: ItemView) -> float:
        """The flow's turn; `BROKEN_KEY` if the policy fails."""
        try:
            key = policy.key(tag, order_key, head)
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return BROKEN_KEY
        if type(key) is float and -inf < key < inf:
            return key
        return key if self._is_number(policy, key) else BROKEN_KEY

    def fairness_cost(self, policy: FairnessPolicy, item: ItemView) -> float:
        """What the dispatch costs its flow; 1 if the policy fails."""
        try:
            cost = policy.cost(item)
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return 1.0
        if type(cost) is float and 0.0 <= cost < inf:
            return cost
        if not self._is_number(policy, cost):
            return 1.0
        if cost < 0:
            self._fault(policy, "negative cost")
            return 1.0
        return cost

    def half_life_s(self, policy: FairnessPolicy) -> float:
        """How fast leads are forgotten; never if the policy fails."""
        try:
            half_life_s = policy.half_life_s
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return inf
        if half_life_s == inf:
            return inf
        if not self._is_number(policy, half_life_s):
            return inf
        if half_life_s <= 0:
            self._fault(policy, "half-life not above 0")
            return inf
        return half_life_s

    def has_room(self, policy: CapacityPolicy, endpoint: EndpointView, ceiling: float) -> bool:
        """Whether one more request fits; by own accounting if the policy fails."""
        try:
            answer: object = policy.has_room(endpoint, ceiling)
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return own_accounting(endpoint, ceiling)
        if isinstance(answer, bool):
            return answer
        self._fault(policy, f"answered {type(answer).__name__}")
        return own_accounting(endpoint, ceiling)

    def saturation(self, policy: CapacityPolicy, endpoint: EndpointView) -> float:
        """How full the endpoint is; by own accounting if the policy fails."""
        fallback = endpoint.own_requests / max(OWN_ACCOUNTING_FLOOR, endpoint.proven_requests)
        try:
            answer = policy.saturation(endpoint)
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return fallback
        return answer if self._is_number(policy, answer) else fallback

    def renewable(self, policy: CapacityPolicy, endpoint: EndpointView) -> bool:
        """Whether asking the endpoint early pays; no if the policy fails."""
        try:
            answer: object = policy.renewable(endpoint)
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return False
        if isinstance(answer, bool):
            return answer
        self._fault(policy, f"answered {type(answer).__name__}")
        return False

    def ceilings(self, policy: CeilingPolicy, priorities: tuple[int, ...]) -> list[float]:
        """One ceiling from 0 to 1 each, never above that of a higher priority; 1.0 where the policy fails."""
        try:
            answer = list(islice(policy.ceilings(priorities), len(priorities) + 1))
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return [1.0] * len(priorities)
        if len(answer) != len(priorities):
            self._fault(policy, "wrong number of ceilings")
            return [1.0] * len(priorities)
        ceilings = []
        highest = 1.0
        for value in answer:
            usable = self._is_number(policy, value) and self._in_unit_range(policy, value)
            highest = min(highest, value if usable else 1.0)
            ceilings.append(highest)
        return ceilings

    def choose(
        self, policy: EndpointChoice, candidates: Sequence[EndpointView], facts: object
    ) -> EndpointView:
        """A member of `candidates`; the least loaded if the policy fails."""
        try:
            chosen = policy.choose(candidates, facts)
        except Exception as error:
            self._fault(policy, type(error).__name__)
            return self._least_loaded(candidates)
        for candidate in candidates:
            if candidate is chosen:
                return candidate
        self._fault(policy, "chose a non-member")
        return self._least_loaded(candidates)

    @staticmethod
    def _least_loaded(candidates: Sequence[EndpointView]) -> EndpointView:
        return min(candidates, key=lambda view: (view.load, view.spec.key))

    def _is_number(self, policy: object, value: object) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            self._fault(policy, f"answered {type(value).__name__}")
            return False
        try:
            finite = isfinite(value)
        except OverflowError:
            finite = False
        if not finite:
            self._fault(policy, "not a finite number")
        return finite

    def _in_unit_range(self, policy: object, value: float) -> bool:
        if 0.0 <= value <= 1.0:
            return True
        self._fault(policy, "ceiling outside 0 to 1")
        return False

    def _fault(self, policy: object, what: str) -> None:
        try:
            name: object = getattr(policy, "name", None)
        except Exception:
            name = None
        key = (name if isinstance(name, str) else type(policy).__name__, what)
        self.faults[key] = self.faults.get(key, 0) + 1
