"""The running requests: what each holds, from its dispatch to the end of its stream, and what it is charged.

What is reserved is given back once, whatever ends it. Then its charge is settled: by the last usage that was seen, by
the time it ran, or not at all, and always by the fairness policy and the weight that it was charged with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.events import Cancelled, DeliveryFailed, Ended

if TYPE_CHECKING:
    from epp.core.drainpass import Decision
    from epp.core.estimates import Estimates
    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.item import Item
    from epp.core.ledger import Ledger


class Running:
    """All running requests of one controller."""

    __slots__ = ("_estimates", "_guard", "_ledger", "requests")

    requests: dict[int, Item]
    """By request id, the earliest dispatched first."""

    def __init__(self, ledger: Ledger, guard: PolicyGuard, estimates: Estimates) -> None:
        self._ledger = ledger
        self._guard = guard
        self._estimates = estimates
        self.requests = {}

    def start(self, decision: Decision, now: float) -> None:
        """Take the item from its band and reserve what it needs."""
        item, endpoint, prefill = decision
        item.start(endpoint, prefill, now)
        item.band.dispatch(item, endpoint, self._guard, now)
        self.requests[item.request_id] = item
        need = item.lane.need
        self._ledger.reserve(endpoint, need=need, tokens=item.tokens, now=now)
        if prefill is not None:
            self._ledger.reserve(prefill, need=need, tokens=item.view.input_tokens, now=now)

    def gone(self, event: Ended | Cancelled | DeliveryFailed, now: float) -> bool:
        """A request's stream is gone. Returns whether it was running."""
        item = self.requests.pop(event.request_id, None)
        if item is None:
            return False
        self._ledger.release(item.endpoint, need=item.lane.need, tokens=item.tokens, now=now)
        if item.prefill is not None:
            self._leave_prefill(item, item.prefill, now)
        item.band.ended(item, self._guard, correction=self._correction(item, event, now), now=now)
        return True

    def first_byte(self, request_id: int, now: float) -> bool:
        """The first byte of a response came. Returns whether its request had been told to give way."""
        item = self.requests.get(request_id)
        if item is None or item.begun:
            return False
        item.begun = True
        if item.prefill is not None:
            self._leave_prefill(item, item.prefill, now)
        if item.need:
            self._ledger.first_byte(
                item.endpoint,
                took_s=now - item.dispatched_s,
                input_tokens=item.view.input_tokens,
                now=now,
            )
        return item.evicting

    def _leave_prefill(self, item: Item, endpoint: Endpoint, now: float) -> None:
        """Its prompt has been processed, so it needs its second endpoint no more."""
        item.prefill = None
        self._ledger.release(endpoint, need=item.need, tokens=item.view.input_tokens, now=now)

    def _correction(self, item: Item, event: Ended | Cancelled | DeliveryFailed, now: float) -> float:
        """By how much more than its charge the request should have cost."""
        if type(event) is not Ended:
            return -item.cost if isinstance(event, DeliveryFailed) else 0.0
        if not item.lane.need:
            return 0.0
        actual = self._estimates.settled(item, event, now)
        item.band.settled_tokens += actual.charge_tokens
        if actual is item.view:
            return 0.0
        return self._guard.fairness_cost(item.fairness, actual) - item.cost
