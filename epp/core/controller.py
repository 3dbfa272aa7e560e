"""The controller: events in, actions out, and nothing else changes it.

Rules of this file:

- `handle` is the only mutator. It takes the time as an argument, never sleeps, never fails for load.
- Every event is followed by one drain pass: while some queued request may run somewhere, the highest such band,
  whose turn it is in it, its first item, an endpoint with room; reserve; next. There is no fast path: an arrival
  is queued and then the pass runs, so a newcomer can't overtake by construction.
- Bands are drained from the highest down. A lower band is looked at only once no endpoint has room for any item of
  the bands above it; since ceilings never rise downwards, that is strictness (promise 1).
- Caps are enforced after the pass, so a full queue never refuses work that could run.
- One call makes at most `STEP` decisions and then asks to be woken at once, so nothing stalls the loop
  (promise 7). Newcomers of higher priority get in between, as they should.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, assert_never

from epp.core import caps
from epp.core.accounting import accrue
from epp.core.actions import Action, Dispatch, Reason, Refuse, ScrapeNow, WakeAt
from epp.core.band import Item
from epp.core.bands import Bands
from epp.core.check import BrokenPromiseError, check_books, check_ledger, check_served
from epp.core.clocks import Clock, WaitClocks
from epp.core.drainrate import retry_after_s
from epp.core.eligibility import ANY
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    Event,
    FirstByte,
    ObjectivesChanged,
    PolicyChanged,
    Resumed,
    Scraped,
    Tick,
)
from epp.core.guard import PolicyGuard
from epp.core.ledger import Ledger
from epp.core.policy import ItemView
from epp.core.reservation import Reservation
from epp.core.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epp.core.band import Band, Lane
    from epp.core.eligibility import Eligibility
    from epp.core.endpoint import EndpointView
    from epp.core.incarnation import Endpoint
    from epp.core.ledger import Room
    from epp.core.policy import FlowControlPolicy

STEP = 64
"""Decisions (dispatches, expiries, refusals) in one call at most."""


class Controller:
    """Flow control for one pool."""

    def __init__(self, policy: FlowControlPolicy, *, now: float) -> None:
        self._policy = policy
        self._guard = PolicyGuard()
        self._ledger = Ledger(policy, self._guard)
        self._clocks = WaitClocks(now)
        self._now = now
        self._sequence = 0
        self._draining = False
        self._more_to_do = False
        self._overdue_left = False
        self._left = 0
        self._bands = Bands(policy, self._ledger, self._guard, now=now)
        self._queued: dict[int, Item] = {}
        self._by_sequence: dict[int, Item] = {}
        self._running: dict[int, Reservation] = {}
        self._idle_eligible_slot_s = 0.0
        self._ceiling_slot_s = 0.0

    # ================================================================ the one way in

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in what happened at `now` and return what to do about it, in order."""
        if type(event) is Arrived and (event.request_id in self._queued or event.request_id in self._running):
            raise ValueError(f"request_id {event.request_id} is in use: ids must be unique")
        actions: list[Action] = []
        self._advance(now)
        budget = self._expire(STEP, actions)
        self._apply(event, actions)
        budget = self._shut_down(budget, actions) if self._draining else self._drain(budget, actions)
        if type(event) is Arrived:
            self._enforce_caps(event, actions)
        # An empty band that goes may raise the ceilings of others, whose work then has room.
        while self._bands.retire(self._now) and not self._draining:
            budget = self._drain(budget, actions)
        self._more_to_do = budget <= 0 and bool(self._queued)
        if self._queued:
            actions.extend([ScrapeNow(endpoint.spec.key) for endpoint in self._ledger.ask(self._now)])
            wake_s = self._next_wake_s()
            if wake_s < inf:
                actions.append(WakeAt(wake_s))
        return actions

    def _apply(self, event: Event, actions: list[Action]) -> None:
        now = self._now
        match event:
            case Arrived():
                self._arrived(event, actions)
            case Ended() | Cancelled() | DeliveryFailed():
                self._gone(event)
            case Scraped():
                self._ledger.scraped(event, now)
            case EndpointsChanged():
                self._endpoints_changed(event)
            case ObjectivesChanged():
                self._bands.provision(event.priorities, now)
            case PolicyChanged():
                self._policy_changed(event.policy)
            case Draining():
                self._draining = True
            case Resumed():
                self._draining = False
            case Tick() | FirstByte():
                pass
            case _:
                assert_never(event)

    # ===================================================================== the time

    def _advance(self, now: float) -> None:
        elapsed_s = now - self._now
        if elapsed_s > 0:
            if self._queued:
                idle = accrue(self._bands.in_order, self._ledger, elapsed_s)
                self._idle_eligible_slot_s += idle.eligible_s
                self._ceiling_slot_s += idle.ceiling_s
            self._now = now
        self._ledger.expire_knowledge(self._now)

    def _expire(self, budget: int, actions: list[Action]) -> int:
        """Refuse what has waited too long, the longest overdue first."""
        self._overdue_left = False
        if not self._queued:
            return budget
        while (sequence := self._clocks.overdue(self._by_sequence, self._now)) is not None:
            item = self._by_sequence.get(sequence)
            if item is None or budget <= 0:
                self._overdue_left = True
                break
            self._refuse_if_due(item, actions)
            budget -= 1
        return budget

    def _refuse_if_due(self, item: Item, actions: list[Action]) -> bool:
        clock = self._clocks.exhausted(
            busy_key_s=item.busy_key_s, empty_key_s=item.empty_key_s, now=self._now
        )
        match clock:
            case None:
                return False
            case Clock.BUSY:
                self._refuse(item, Reason.TTL_EXPIRED, actions)
            case Clock.EMPTY:
                self._refuse(item, Reason.NO_ENDPOINTS, actions)
            case _:
                assert_never(clock)
        return True

    def _next_wake_s(self) -> float:
        if self._more_to_do or self._overdue_left:
            return self._now
        wake_s = min(
            self._ledger.next_ask_s(),
            self._ledger.next_stale_s(),
            self._clocks.next_due_s(self._by_sequence),
        )
        return max(wake_s, self._now)

    # =================================================================== the events

    def _arrived(self, request: Arrived, actions: list[Action]) -> None:
        if self._draining:
            actions.append(Refuse(request.request_id, Reason.SHUTTING_DOWN, 0.0, 1))
            return
        if self._can_never_run(request.eligibility):
            actions.append(Refuse(request.request_id, Reason.NO_ENDPOINTS, 0.0, None))
            return
        band = self._bands.get_or_add(request.priority, self._now)
        lane = self._bands.lane(band, request.eligibility, request.need)
        self._queue(request, band, lane)

    def _can_never_run(self, eligibility: Eligibility) -> bool:
        """Restricted to a subset that is empty or foreign. An empty pool may still grow one."""
        if eligibility == ANY:
            return False
        if not self._ledger.listed:
            return eligibility.is_empty
        return not any(eligibility.admits(each.spec) for each in self._ledger.listed.values())

    def _queue(self, request: Arrived, band: Band, lane: Lane) -> None:
        now, clocks = self._now, self._clocks
        self._sequence += 1
        ttl_s = self._policy.ttl_s if request.ttl_s is None else request.ttl_s
        hold_s = self._policy.hold_s
        if request.ttl_s:
            hold_s = min(hold_s, request.ttl_s) if hold_s else request.ttl_s
        view = ItemView(
            self._sequence,
            now,
            now + ttl_s if ttl_s else None,
            request.size_bytes,
            request.facts,
            request.input_tokens or max(1, request.body_bytes // 4),
            min(256, request.max_output_tokens or 256) if request.max_output_tokens != 0 else 0,
            request.weight,
            None if request.slo_s is None else now + request.slo_s,
        )
        order_key = self._guard.order_key(band.policy.ordering, view)
        flow = band.flow_for(request.fairness_id, self._bands.may_mint_flow)
        item = Item(request, view, order_key, lane, flow)
        if ttl_s:
            item.busy_key_s = clocks.busy_key(now) + ttl_s
            clocks.busy.add(item.busy_key_s, self._sequence)
        if hold_s:
            item.empty_key_s = clocks.empty_key(now) + hold_s
            clocks.empty.add(item.empty_key_s, self._sequence)
        self._queued[request.request_id] = item
        self._by_sequence[self._sequence] = item
        self._bands.queued_requests += 1
        self._bands.queued_bytes += request.size_bytes
        band.add(item, self._guard)

    def _gone(self, event: Ended | Cancelled | DeliveryFailed) -> None:
        item = self._queued.get(event.request_id)
        if item is not None:
            if not isinstance(event, Ended):
                self._forget(item)
                self._bands[item.request.priority].take(item, self._guard)
            return
        reservation = self._running.pop(event.request_id, None)
        if reservation is None:
            return
        self._ledger.release(
            reservation.endpoint, need=reservation.need, tokens=reservation.tokens, now=self._now
        )
        if isinstance(event, DeliveryFailed):
            reservation.band.refund(reservation.flow, reservation.cost, reservation.lifts, self._guard)

    def _endpoints_changed(self, event: EndpointsChanged) -> None:
        turnover = self._ledger.enlist(event.endpoints, self._now)
        if turnover is not None:
            self._clocks.switch(pool_is_empty=not self._ledger.listed, now=self._now)
            self._bands.endpoints_changed(turnover)

    def _policy_changed(self, policy: FlowControlPolicy) -> None:
        self._policy = policy
        self._bands.adopt(policy, self._now)

    # =============================================================== the drain pass

    def _drain(self, budget: int, actions: list[Action]) -> int:
        everywhere = self._ledger.full_room.views
        for band in self._bands.in_order:
            if not band.queued_requests or not (everywhere or band.queued_free):
                continue
            room = self._ledger.room(band.ceiling)
            while budget > 0 and band.queued_requests:
                ready = self._ready_lanes(band, room)
                if not ready:
                    break
                budget = self._serve(band, room, ready, budget, actions)
        return budget

    def _ready_lanes(self, band: Band, room: Room) -> list[Lane]:
        """The lanes with an item that may run now somewhere."""
        views = room.views
        ready = []
        for lane in band.lanes.values():
            if lane.need:
                usable = (
                    bool(views)
                    if lane.eligible is None
                    else not lane.eligible.keys().isdisjoint(views.keys())
                )
            else:
                usable = bool(self._ledger.listed if lane.eligible is None else lane.eligible)
            if usable:
                ready.append(lane)
        return ready

    def _serve(self, band: Band, room: Room, ready: list[Lane], budget: int, actions: list[Action]) -> int:
        """Decide items of the ready lanes until one of them may have become unready."""
        views = room.views
        while budget > 0:
            lane, item = self._next(ready)
            budget -= 1
            if self._overdue_left and self._refuse_if_due(item, actions):
                if not lane.items:
                    break
                continue
            candidates = self._candidates(lane, room)
            chosen = candidates[0]
            if len(candidates) > 1:
                chosen = self._guard.choose(self._policy.choice, candidates, item.request.facts)
            endpoint = self._ledger.listed[chosen.spec.key]
            self._dispatch(item, band, endpoint, actions)
            if not lane.items or (lane.need and endpoint not in views):
                break
        return budget

    @staticmethod
    def _next(ready: list[Lane]) -> tuple[Lane, Item]:
        """Whose turn it is among the ready lanes, which have work."""
        best_lane, best = ready[0], ready[0].top()
        for lane in ready[1:]:
            top = lane.top()
            if top[:2] < best[:2]:
                best_lane, best = lane, top
        flow = best[2].flow
        if len(flow.queues) == 1:
            return best_lane, best[2]
        # Its turn it is; which of its requests goes is a matter of the flow's own order, over all ready lanes.
        heads = [(lane, lane.head(flow)) for lane in ready if lane in flow.queues]
        return min(heads, key=lambda pair: (pair[1].order_key, pair[1].view.sequence))

    def _candidates(self, lane: Lane, room: Room) -> Sequence[EndpointView]:
        if not lane.need:
            usable = list(lane.eligible or self._ledger.listed.values())
            answering = [each.view for each in usable if not self._ledger.is_shunned(each)]
            return tuple(answering or [each.view for each in usable])
        if lane.eligible is None:
            return tuple(room.views.values())
        return tuple(room.views[each] for each in lane.eligible if each in room.views)

    def _dispatch(self, item: Item, band: Band, endpoint: Endpoint, actions: list[Action]) -> None:
        request = item.request
        self._forget(item)
        cost = band.dispatch(item, endpoint, self._guard)
        reservation = Reservation(item, band, endpoint, cost)
        self._running[request.request_id] = reservation
        self._ledger.reserve(endpoint, need=reservation.need, tokens=reservation.tokens, now=self._now)
        band.drain.count(self._now)
        actions.append(Dispatch(request.request_id, endpoint.spec, self._now - item.view.arrived_s))

    # ================================================================ the refusals

    def _shut_down(self, budget: int, actions: list[Action]) -> int:
        while budget > 0 and self._queued:
            item = next(iter(self._queued.values()))
            self._refuse(item, Reason.SHUTTING_DOWN, actions)
            budget -= 1
        return budget

    def _enforce_caps(self, newcomer: Arrived, actions: list[Action]) -> None:
        item = self._queued.get(newcomer.request_id)
        if item is None:
            return
        match caps.judge(item, self._bands, self._policy, most_victims=STEP):
            case caps.Fits():
                pass
            case caps.Full():
                reason = Reason.SATURATED if self._ledger.listed else Reason.NO_ENDPOINTS
                self._refuse(item, reason, actions)
            case caps.Displaces(victims):
                for victim in victims:
                    self._refuse(victim, Reason.QUEUE_PRESSURE, actions)

    def _refuse(self, item: Item, reason: Reason, actions: list[Action]) -> None:
        band = self._bands[item.request.priority]
        self._forget(item)
        band.take(item, self._guard)
        waited_s = self._now - item.view.arrived_s
        retry_after_s = 1 if reason is Reason.SHUTTING_DOWN else self._retry_after_s(band)
        actions.append(Refuse(item.request.request_id, reason, waited_s, retry_after_s))

    def _retry_after_s(self, band: Band) -> int:
        """What drains from this band or from one below it would go to this band first."""
        rate = sum(each.drain.per_second(self._now) for each in self._bands if each.priority <= band.priority)
        return retry_after_s(band.queued_requests + 1, rate)

    def _forget(self, item: Item) -> None:
        """The item leaves the controller's own tables, its bytes and its deadlines."""
        sequence = item.view.sequence
        del self._queued[item.request.request_id]
        del self._by_sequence[sequence]
        self._bands.queued_requests -= 1
        self._bands.queued_bytes -= item.request.size_bytes
        self._left += 1
        if not (self._left % STEP and self._queued):
            self._tidy_clocks()

    def _tidy_clocks(self) -> None:
        """Rebuild one deadline heap, if it is mostly of items that have left, from those who are still there.

        Going through the dead, or doing both heaps in one call, would stall the loop.
        """
        waiting, count = self._by_sequence.items(), len(self._by_sequence)
        clocks = self._clocks
        if clocks.busy.is_bloated(count):
            clocks.busy.rebuild(
                [(each.busy_key_s, at) for at, each in waiting if each.busy_key_s is not None]
            )
        elif clocks.empty.is_bloated(count):
            clocks.empty.rebuild(
                [(each.empty_key_s, at) for at, each in waiting if each.empty_key_s is not None]
            )

    # ================================================================== the reading

    def statistics(self, now: float) -> Statistics:
        """A snapshot. `now` only ages what is queued; nothing changes."""
        return Statistics(
            bands=tuple(band.statistics(now) for band in self._bands),
            endpoints=self._ledger.statistics(),
            queued_requests=self._bands.queued_requests,
            queued_bytes=self._bands.queued_bytes,
            max_requests=self._policy.max_requests,
            max_bytes=self._policy.max_bytes,
            running_requests=len(self._running),
            lanes=self._bands.restricted_lanes(),
            overflowed_flows=sum(len(band.overflowed) for band in self._bands),
            idle_eligible_slot_s=self._idle_eligible_slot_s,
            ceiling_slot_s=self._ceiling_slot_s,
            policy_faults=dict(self._guard.faults),
            retired_wait_s=self._bands.retired_wait_s(),
        )

    def check(self) -> None:
        """Work everything out from scratch and compare. Raises `BrokenPromiseError`; for tests."""
        check_books(self._bands, self._queued)
        by_sequence = {item.view.sequence: item for item in self._queued.values()}
        if by_sequence != self._by_sequence:
            raise BrokenPromiseError("the tables of queued requests differ")
        reserved: dict[Endpoint, tuple[int, int]] = {}
        for held in self._running.values():
            requests, tokens = reserved.get(held.endpoint, (0, 0))
            reserved[held.endpoint] = (requests + held.need, tokens + held.tokens)
        check_ledger(self._ledger, reserved)
        if not self._more_to_do and not self._draining:
            check_served(self._bands, self._ledger, self._policy)
