"""The controller: events in, actions out, and nothing else changes it.

Rules of this file:

- `handle` is the only mutator. It takes the time as an argument, never sleeps, never fails for load.
- Every event is followed by one drain pass (`drainpass`). There is no fast path: an arrival is queued and then the pass
  runs, so a newcomer can't overtake by construction.
- Caps are enforced after the pass, so a full queue never refuses work that could run.
- One call makes at most `STEP` decisions and then asks to be woken at once, so nothing stalls the loop
  (promise 7). Newcomers of higher priority get in between, as they should.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, assert_never

from epp.core import accounting, caps, inspection
from epp.core.actions import Action, Dispatch, Entry, Evict, Reason, Refuse, ScrapeNow, WakeAt
from epp.core.bands import Bands
from epp.core.check import check
from epp.core.clocks import Clock
from epp.core.demand import demand
from epp.core.drainpass import CarryOut, DrainPass
from epp.core.estimates import Estimates
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
from epp.core.eviction import Begun, Evictor
from epp.core.guard import PolicyGuard
from epp.core.intake import Intake
from epp.core.ledger import Ledger
from epp.core.policy import EarlyRefusal
from epp.core.prospects import Prospects
from epp.core.running import Running
from epp.core.statistics import DisplacedBy, EvictionStatistics, Statistics
from epp.core.waitingroom import WaitingRoom

if TYPE_CHECKING:
    from epp.core.band import Band
    from epp.core.drainpass import Decision
    from epp.core.eviction import EvictionPolicy
    from epp.core.insight import Story
    from epp.core.item import Item
    from epp.core.policy import FlowControlPolicy

STEP = 64
"""Decisions (dispatches, expiries, refusals) in one call at most."""
_ESTIMATED_ONE_IN = 8
"""Queued requests whose wait is estimated, where it doesn't decide anything."""


class Controller:
    """Flow control for one pool."""

    def __init__(self, policy: FlowControlPolicy, *, now: float) -> None:
        self._policy = policy
        self._guard = PolicyGuard()
        self._ledger = Ledger(policy, self._guard)
        self._bands = Bands(policy, self._ledger, self._guard, now=now)
        self._waiting = WaitingRoom(self._bands, now=now)
        self._drain = DrainPass(self._bands, self._ledger, self._guard, policy.choice)
        self._estimates = Estimates()
        self._intake = Intake(self._bands, self._ledger, self._waiting, self._estimates, self._guard)
        self._running = Running(self._ledger, self._guard, self._estimates)
        self._evictor = Evictor()
        self._prospects = Prospects(self._bands, self._ledger)
        self._now = now
        self._due_s = now
        self._draining = False
        self._more_to_do = False
        self._idle_eligible_slot_s = 0.0
        self._ceiling_slot_s = 0.0
        self._displaced = dict.fromkeys(DisplacedBy, 0)

    @property
    def policy(self) -> FlowControlPolicy:
        """The configuration in force."""
        return self._policy

    @property
    def queued_requests(self) -> int:
        """How many wait, over all bands."""
        return len(self._waiting.items)

    @property
    def running_requests(self) -> int:
        """How many are on endpoints, from their dispatch to the end of their stream."""
        return len(self._running.requests)

    @property
    def known_flows(self) -> int:
        """Of how many flows anything is remembered, over all bands: queued and running counts twice."""
        return sum(
            len(band.flows) + len(band.idle_flows) + len(band.running_flows) for band in self._bands.in_order
        )

    # ================================================================ the one way in

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in what happened at `now` and return what to do about it, in order."""
        waiting, bands = self._waiting, self._bands
        if type(event) is Arrived and (
            event.request_id in waiting.items or event.request_id in self._running.requests
        ):
            raise ValueError(f"request_id {event.request_id} is in use: ids must be unique")
        actions: list[Action] = []
        if now > self._now:
            if waiting.items:
                self._accrue(now - self._now)
            self._now = now
        budget = STEP if self._now < self._due_s else self._catch_up(actions)
        self._apply(event, actions)
        adopting = bool(bands.to_adopt) and bands.adopt_next(self._now)
        if self._draining:
            budget = self._shut_down(budget, actions)
        elif waiting.items:
            budget = self._drained(budget, actions)
        if type(event) is Arrived and event.request_id in waiting.items:
            self._settle_in(waiting.items[event.request_id], event, actions)
        # A band that goes may raise the ceilings of others, whose work then has room.
        while bands.are_more_than_provided and bands.retire(self._now) and not self._draining:
            budget = self._drained(budget, actions)
        self._more_to_do = (budget <= 0 and bool(waiting.items)) or adopting
        if waiting.items:
            if self._policy.eviction is not None and budget > 0 and not self._draining:
                self._make_way(self._policy.eviction, actions)
            if asked := self._ledger.ask(self._now):
                actions.extend([ScrapeNow(endpoint.spec.key) for endpoint in asked])
        self._note_next(actions, is_awaited=adopting or bool(waiting.items))
        return actions

    def _apply(self, event: Event, actions: list[Action]) -> None:
        now = self._now
        match event:
            case Arrived():
                self._arrived(event, actions)
            case Ended() | Cancelled() | DeliveryFailed():
                self._gone(event)
            case FirstByte(request_id):
                self._first_byte(request_id)
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
            case Tick():
                pass
            case _:
                assert_never(event)

    # ===================================================================== the time

    def _accrue(self, elapsed_s: float) -> None:
        """Requests have waited for so long."""
        idle = accounting.accrue(self._bands.in_order, self._ledger, elapsed_s)
        self._idle_eligible_slot_s += idle.eligible_s
        self._ceiling_slot_s += idle.ceiling_s

    def _catch_up(self, actions: list[Action]) -> int:
        """Do what has become due, whatever the event. Returns what is left of this step's decisions."""
        self._bands.refresh_use(self._now)
        self._ledger.expire_knowledge(self._now)
        return self._expire(STEP, actions)

    def _expire(self, budget: int, actions: list[Action]) -> int:
        """Refuse what has waited too long, the longest overdue first."""
        waiting = self._waiting
        if not waiting.items:
            waiting.overdue_left = False
            return budget
        while (item := waiting.overdue(self._now)) is not None:
            if budget <= 0:
                waiting.overdue_left = True
                break
            self._refuse_if_due(item, actions)
            budget -= 1
        return budget

    def _refuse_if_due(self, item: Item, actions: list[Action]) -> bool:
        clock = self._waiting.exhausted(item, self._now)
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

    def _note_next(self, actions: list[Action], *, is_awaited: bool) -> None:
        """Work out when the next thing is due, and ask to be woken then if somebody waits for it."""
        now, ledger, waiting = self._now, self._ledger, self._waiting
        due_s = ledger.next_stale_s()
        if waiting.overdue_left:
            due_s = now
        elif is_awaited:
            due_s = min(due_s, waiting.clocks.next_due_s(waiting.by_sequence))
        if is_awaited:
            wake_s = now
            if not self._more_to_do:
                wake_s = min(due_s, ledger.next_ask_s(), self._bands.next_use_s())
                if self._policy.eviction is not None:
                    wake_s = min(wake_s, self._evictor.next_s(now))
            if wake_s < inf:
                actions.append(WakeAt(max(now, wake_s)))
        self._due_s = min(due_s, self._bands.look_s)

    # =================================================================== the events

    def _arrived(self, request: Arrived, actions: list[Action]) -> None:
        if self._draining:
            actions.append(Refuse(request.request_id, Reason.SHUTTING_DOWN, 0.0, 1))
            return
        if self._intake.can_never_run(request):
            actions.append(Refuse(request.request_id, Reason.NO_ENDPOINTS, 0.0, None))
            return
        self._intake.queue(request, self._policy, self._now)

    def _gone(self, event: Ended | Cancelled | DeliveryFailed) -> None:
        item = self._waiting.items.get(event.request_id)
        if item is None:
            if self._running.gone(event, self._now):
                self._evictor.ended(event.request_id, self._now)
        elif not isinstance(event, Ended):
            self._waiting.leave(item)
            item.band.take(item, self._guard, self._now)

    def _first_byte(self, request_id: int) -> None:
        eviction = self._policy.eviction
        if self._running.first_byte(request_id, self._now) and eviction and eviction.begun is Begun.SPARED:
            # It has begun to answer, so it will not give way after all.
            self._evictor.ended(request_id, self._now)

    def _endpoints_changed(self, event: EndpointsChanged) -> None:
        turnover = self._ledger.enlist(event.endpoints, self._now)
        if turnover is not None:
            self._waiting.clocks.switch(pool_is_empty=not self._ledger.listed, now=self._now)
            self._bands.endpoints_changed(turnover)

    def _policy_changed(self, policy: FlowControlPolicy) -> None:
        self._policy = policy
        self._drain.choice = policy.choice
        self._bands.adopt(policy, self._now)

    # ============================================================= coming and going

    def _drained(self, budget: int, actions: list[Action]) -> int:
        if not (self._ledger.full_room.views or self._bands.queued_free) or not self._waiting.items:
            return budget

        def skip(item: Item) -> bool:
            return self._refuse_if_due(item, actions)

        def dispatch(decision: Decision) -> None:
            self._dispatch(decision, actions)

        return self._drain.run(budget, CarryOut(skip if self._waiting.overdue_left else None, dispatch))

    def _dispatch(self, decision: Decision, actions: list[Action]) -> None:
        item, endpoint, prefill = decision
        now, band = self._now, item.band
        self._waiting.leave(item)
        self._running.start(decision, now)
        band.drain.count(now, item.cost)
        waited_s = now - item.view.arrived_s
        if item.expected_s is not None:
            band.outlook.learn(estimated_s=item.expected_s, waited_s=waited_s, now=now)
        actions.append(
            Dispatch(
                item.request_id,
                endpoint.spec,
                waited_s,
                _entry(item),
                None if prefill is None else prefill.spec,
            )
        )

    def _settle_in(self, item: Item, newcomer: Arrived, actions: list[Action]) -> None:
        """A newcomer that has to wait may find no place, or no hope of its turn in time."""
        band = item.band
        item.position = self._prospects.queued_down_to(band) - 1
        item.blocked_by = accounting.reason(item, band, self._bands.in_order, self._ledger)
        # Estimates are held against what comes of them, which takes a few; an early refusal takes everybody's.
        is_early = self._policy.early_refusal is not EarlyRefusal.OFF
        is_asked = is_early or not item.view.sequence % _ESTIMATED_ONE_IN
        # Of who is restricted, or held back by its own flow, what drains elsewhere says nothing.
        is_typical = newcomer.need and not item.lane.is_restricted and not item.flow.at_cap
        if is_asked and is_typical and self._ledger.listed:
            item.expected_s = self._prospects.wait_s(item, band, self._now)
        verdict = caps.judge(item, self._bands, self._policy, most_victims=STEP)
        match verdict:
            case caps.Full():
                reason = Reason.SATURATED if self._ledger.listed else Reason.NO_ENDPOINTS
                self._refuse(item, reason, actions)
            case caps.Fits() | caps.Displaces() if is_early and self._is_hopeless(item, band):
                self._refuse(item, Reason.WOULD_EXPIRE, actions)
            case caps.Fits():
                pass
            case caps.Displaces(victims, cause):
                for victim in victims:
                    self._refuse(victim, Reason.QUEUE_PRESSURE, actions)
                self._displaced[cause] += len(victims)
            case _:
                assert_never(verdict)

    def _is_hopeless(self, item: Item, band: Band) -> bool:
        """Whether its budget will surely run out before its turn comes."""
        deadline_s, expected_s = item.view.deadline_s, item.expected_s
        if deadline_s is None or expected_s is None:
            return False
        return deadline_s - self._now < expected_s < inf and band.outlook.is_good(self._now)

    def _make_way(self, policy: EvictionPolicy, actions: list[Action]) -> None:
        """Evict running requests for the highest band that waits for room."""
        wanted = demand(self._bands, self._ledger)
        if wanted is None:
            return
        running = self._running.requests
        victims = self._evictor.decide(
            policy,
            priority=wanted.priority,
            endpoints=wanted.endpoints,
            running=running,
            now=self._now,
            wanted=wanted.requests,
        )
        for request_id in victims:
            running[request_id].evicting = True
            actions.append(Evict(request_id))

    # ================================================================ the refusals

    def _shut_down(self, budget: int, actions: list[Action]) -> int:
        while budget > 0 and self._waiting.items:
            item = next(iter(self._waiting.items.values()))
            self._refuse(item, Reason.SHUTTING_DOWN, actions)
            budget -= 1
        return budget

    def _refuse(self, item: Item, reason: Reason, actions: list[Action]) -> None:
        band, now = item.band, self._now
        waited_s = now - item.view.arrived_s
        if item.expected_s is not None and reason is Reason.TTL_EXPIRED:
            band.outlook.learn_expiry(estimated_s=item.expected_s, waited_s=waited_s, now=now)
        if reason is Reason.SHUTTING_DOWN:
            retry_after_s = 1
        else:
            retry_after_s = band.outlook.retry_after_s(
                estimated_s=self._prospects.return_s(item, band, self._now, self._policy.ttl_s),
                sequence=item.view.sequence,
                now=now,
            )
        self._waiting.leave(item)
        band.take(item, self._guard, now)
        actions.append(Refuse(item.request_id, reason, waited_s, retry_after_s, _entry(item)))

    # ================================================================== the reading

    def statistics(self, now: float) -> Statistics:
        """A snapshot. `now` only ages what is queued; nothing changes."""
        bands = self._bands
        return Statistics(
            bands=tuple(
                band.statistics(
                    now,
                    expected_wait_s=self._prospects.newcomers_wait_s(band, now),
                    in_use=bands.is_used(band),
                )
                for band in bands
            ),
            endpoints=self._ledger.statistics(),
            queued_requests=bands.queued_requests,
            queued_bytes=bands.queued_bytes,
            max_requests=self._policy.max_requests,
            max_bytes=self._policy.max_bytes,
            running_requests=len(self._running.requests),
            lanes=bands.restricted_lanes(),
            overflowed_flows=sum(len(band.overflowed) for band in bands),
            idle_eligible_slot_s=self._idle_eligible_slot_s,
            ceiling_slot_s=self._ceiling_slot_s,
            policy_faults=dict(self._guard.faults),
            retired_wait_s=bands.retired_wait_s(),
            estimate_errors=self._estimates.errors(),
            evictions=EvictionStatistics(
                issued=dict(self._evictor.issued),
                confirmed=self._evictor.confirmed,
                timed_out=self._evictor.timed_out,
                outstanding=self._evictor.outstanding,
            ),
            displaced_requests=dict(self._displaced),
            known_flows=sum(len(band.flows) + len(band.idle_flows) for band in bands),
            known_models=len(self._estimates.models),
        )

    def story(self, request_id: int, now: float) -> Story:
        """What becomes of one request, and why: see `inspection`."""
        return inspection.story(self, request_id, now)

    def check(self) -> None:
        """Work everything out from scratch and compare. Raises `BrokenPromiseError`; for tests."""
        check(
            self._bands,
            self._ledger,
            self._waiting,
            self._running,
            self._policy,
            is_settled=not self._more_to_do and not self._draining,
        )


def _entry(item: Item) -> Entry | None:
    return None if item.blocked_by is None else Entry(item.position, item.blocked_by)
