"""Intake: what becomes of an arrival on its way into the queue.

Here it gets its number, its budgets, an estimate of what it takes, its place in its flow's order, its lane and its
flow. Nothing is decided yet but that it may run at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.eligibility import ANY
from epp.core.item import Item
from epp.core.policy import ItemView

if TYPE_CHECKING:
    from epp.core.band import Band
    from epp.core.bands import Bands
    from epp.core.eligibility import Eligibility
    from epp.core.estimates import Estimates
    from epp.core.events import Arrived
    from epp.core.guard import PolicyGuard
    from epp.core.ledger import Ledger
    from epp.core.policy import FlowControlPolicy
    from epp.core.waitingroom import WaitingRoom


class Intake:
    """Of one controller."""

    __slots__ = ("_bands", "_estimates", "_guard", "_ledger", "_waiting", "sequence")

    sequence: int
    """Of the last request that was queued."""

    def __init__(
        self, bands: Bands, ledger: Ledger, waiting: WaitingRoom, estimates: Estimates, guard: PolicyGuard
    ) -> None:
        self._bands = bands
        self._ledger = ledger
        self._waiting = waiting
        self._estimates = estimates
        self._guard = guard
        self.sequence = 0

    def can_never_run(self, request: Arrived) -> bool:
        """Restricted to endpoints that are not there. An empty pool may still grow one."""
        eligibility, prefill = request.eligibility, request.prefill
        return (eligibility is not ANY and self._excludes_all(eligibility)) or (
            prefill is not None and prefill is not ANY and self._excludes_all(prefill)
        )

    def queue(self, request: Arrived, policy: FlowControlPolicy, now: float) -> None:
        """Put it where it belongs."""
        band = self._bands.get_or_add(request.priority, now)
        self.sequence += 1
        ttl_s, hold_s = _budgets(request, band, policy)
        input_tokens, output_tokens = self._estimates.of(request, policy.estimates)
        view = ItemView(
            self.sequence,
            now,
            now + ttl_s if ttl_s else None,
            request.size_bytes,
            input_tokens,
            output_tokens,
            request.weight,
            None if request.slo_s is None else now + request.slo_s,
        )
        order_key = self._guard.order_key(band.policy.ordering, view)
        lane = self._bands.lane(band, request)
        flow = band.flow_for(request.fairness_id, self._bands.may_mint_flow)
        item = Item(request, view, order_key=order_key, band=band, lane=lane, flow=flow)
        self._waiting.enter(item, ttl_s=ttl_s, hold_s=hold_s, now=now)
        band.add(item, self._guard, now)

    def _excludes_all(self, eligibility: Eligibility) -> bool:
        if not self._ledger.listed:
            return eligibility.is_empty
        return not any(eligibility.admits(each.spec) for each in self._ledger.listed.values())


def _budgets(request: Arrived, band: Band, policy: FlowControlPolicy) -> tuple[float, float]:
    """How long it may wait while the pool has endpoints, and while it has none; 0: any time."""
    ttl_s = request.ttl_s
    if ttl_s is None:
        ttl_s = band.policy.ttl_s
        if ttl_s is None:
            ttl_s = policy.ttl_s
    hold_s = policy.hold_s if band.policy.hold_s is None else band.policy.hold_s
    if request.ttl_s:
        hold_s = min(hold_s, request.ttl_s) if hold_s else request.ttl_s
    return ttl_s, hold_s
