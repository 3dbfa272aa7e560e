"""The running requests: what each holds, from its dispatch to the end of its stream, and what it is charged.

A reservation is given back once, whatever ends it. Then its charge is settled: by the last usage that was seen, by the
time it ran, or not at all, and always by the fairness policy and the weight that it was charged with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.events import Cancelled, DeliveryFailed, Ended
from epp.core.reservation import Reservation

if TYPE_CHECKING:
    from epp.core.drainpass import Decision
    from epp.core.estimates import Estimates
    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.ledger import Ledger


class Running:
    """All running requests of one controller."""

    __slots__ = ("_estimates", "_guard", "_ledger", "requests")

    requests: dict[int, Reservation]
    """By request id, the earliest dispatched first."""

    def __init__(self, ledger: Ledger, guard: PolicyGuard, estimates: Estimates) -> None:
        self._ledger = ledger
        self._guard = guard
        self._estimates = estimates
        self.requests = {}

    def start(self, decision: Decision, now: float) -> float:
        """Take the item from its band and reserve what it needs. Returns what its flow is charged."""
        item, band, endpoint, prefill = decision
        band.dispatch(item, endpoint, self._guard, now)
        held = Reservation(item, band, endpoint, now=now)
        request, tokens = item.request, held.tokens
        self.requests[request.request_id] = held
        self._ledger.reserve(endpoint, need=request.need, tokens=tokens, now=now)
        if prefill is not None:
            held.prefill = prefill
            self._ledger.reserve(prefill, need=request.need, tokens=item.view.input_tokens, now=now)
        return item.cost

    def gone(self, event: Ended | Cancelled | DeliveryFailed, now: float) -> bool:
        """A request's stream is gone. Returns whether it was running."""
        held = self.requests.pop(event.request_id, None)
        if held is None:
            return False
        self._ledger.release(held.endpoint, need=held.need, tokens=held.tokens, now=now)
        self._leave_prefill(held, now)
        held.band.ended(held, self._guard, correction=self._correction(held, event, now), now=now)
        return True

    def first_byte(self, request_id: int, now: float) -> bool:
        """The first byte of a response came. Returns whether its request had been told to give way."""
        held = self.requests.get(request_id)
        if held is None or held.begun:
            return False
        held.begun = True
        self._leave_prefill(held, now)
        if held.need:
            self._ledger.first_byte(
                held.endpoint,
                took_s=now - held.dispatched_s,
                input_tokens=held.view.input_tokens,
                now=now,
            )
        return held.evicting

    def _leave_prefill(self, held: Reservation, now: float) -> None:
        """Its prompt has been processed, so it needs its second endpoint no more."""
        endpoint: Endpoint | None = held.prefill
        if endpoint is not None:
            held.prefill = None
            self._ledger.release(endpoint, need=held.need, tokens=held.view.input_tokens, now=now)

    def _correction(self, held: Reservation, event: Ended | Cancelled | DeliveryFailed, now: float) -> float:
        """By how much more than its charge the request should have cost."""
        if isinstance(event, DeliveryFailed):
            return -held.cost
        if not held.need or isinstance(event, Cancelled):
            return 0.0
        actual = self._estimates.settled(held, event, now)
        held.band.settled_tokens += actual.charge_tokens
        if actual is held.view:
            return 0.0
        return self._guard.fairness_cost(held.fairness, actual) - held.cost
