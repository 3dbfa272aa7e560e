"""The known traps, re-introduced: each mutant patches the implementation with one wrong rule.

Every mutant comes with the run that has to go red; `test_mutations` also shows that the same run is green on the
real code, so what turns it red is the mutant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from epp.core import Controller, accounting, caps
from epp.core import controller as controller_module
from epp.core.band import Band, Lane
from epp.core.bands import Bands
from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from epp.core.caps import Displaces, Full
from epp.core.clocks import DeadlineHeap, WaitClocks
from epp.core.drainrate import DrainRate
from epp.core.endpoint import EndpointView, Knowledge
from epp.core.events import Arrived, Cancelled, DeliveryFailed, Ended
from epp.core.guard import PolicyGuard
from epp.core.ledger import Endpoint, Ledger
from tests.core import scenarios, turns
from tests.core.building import LeastLoaded, policy
from tests.core.policies import (
    ODD_ORDER,
    BrokenCapacity,
    BrokenChoice,
    RankCeiling,
    RisingCeiling,
    SteepCeiling,
)
from tests.core.storm import Weather

if TYPE_CHECKING:
    from epp.core.policy import FlowControlPolicy

Run = Callable[[], object]
MUTANTS: dict[str, Mutant] = {}


class Mutant(NamedTuple):
    """One trap."""

    patch: Callable[[pytest.MonkeyPatch], None]
    run: Run


def storms(rules: FlowControlPolicy, **weather: Any) -> Run:
    """A few seeds of a storm under the oracle."""

    def run() -> None:
        for seed in range(3):
            scenarios.storm(rules, seed=seed, steps=500, audit_every=10, weather=Weather(**weather))

    return run


PLAIN = storms(policy(capacity=ConcurrencyDetector(max_concurrency=2), max_requests=60))
UNRULY = storms(
    policy(capacity=ConcurrencyDetector(max_concurrency=2), default_band=ODD_ORDER), tenants=("a", "b")
)
SCRAPED = storms(
    policy(capacity=UtilizationDetector(queue_depth_threshold=2), max_requests=60, staleness_s=0.5),
    weights={"scrape": 40.0},
)
CAPPED = storms(policy(capacity=ConcurrencyDetector(max_concurrency=2), max_requests=8, max_bytes=9000))
RISING = storms(policy(capacity=ConcurrencyDetector(max_concurrency=4), ceiling=RisingCeiling()))
RANKED = storms(policy(capacity=ConcurrencyDetector(max_concurrency=4), ceiling=RankCeiling(0.25)))
CROWDED = storms(policy(max_flows=2, max_lanes=2), subset_share=0.6)
RESTLESS = storms(policy(ttl_s=1.0, hold_s=0.5), weights={"empty": 3.0, "endpoints": 6.0})
BURSTS = storms(policy(), weights={"burst": 1.0, "empty": 1.0}, ttls_s=(1.0,))

SCRAPING_DIES = scenarios.scraping_dies
SATURATED = partial(scenarios.saturated_utilization, seconds=3.0)


def trap(run: Run) -> Callable[[Callable[[pytest.MonkeyPatch], None]], Callable[[pytest.MonkeyPatch], None]]:
    """Register a mutant with the run that must notice it."""

    def register(patch: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
        MUTANTS[patch.__name__] = Mutant(patch, run)
        return patch

    return register


# ------------------------------------------------------------------------- 1 and 2: whose turn it is


@trap(scenarios.between_two_steps)
def newcomer_overtakes(patch: pytest.MonkeyPatch) -> None:
    """A fast path: an arrival takes a free endpoint before the queue is looked at."""
    arrived = Controller._arrived

    def barge(self: Controller, event: Arrived, actions: list[Any]) -> None:
        arrived(self, event, actions)
        item, band = self._queued[event.request_id], self._bands[event.priority]
        for endpoint in list(self._ledger.room(band.ceiling).views)[:1]:
            self._dispatch(item, band, endpoint, actions)

    patch.setattr(Controller, "_arrived", barge)


@trap(PLAIN)
def last_come_first_served(patch: pytest.MonkeyPatch) -> None:
    """The newest request of a flow goes first."""
    patch.setattr(PolicyGuard, "order_key", lambda self, ordering, item: -item.sequence)


@trap(PLAIN)
def lower_band_first(patch: pytest.MonkeyPatch) -> None:
    """The drain pass looks at the lowest band first."""
    drain = Controller._drain

    def upside_down(self: Controller, budget: int, actions: list[Any]) -> int:
        right, self._bands.in_order = self._bands.in_order, self._bands.in_order[::-1]
        try:
            return drain(self, budget, actions)
        finally:
            self._bands.in_order = right

    patch.setattr(Controller, "_drain", upside_down)


@trap(RISING)
def ceilings_may_rise_downwards(patch: pytest.MonkeyPatch) -> None:
    """A lower band gets more room than a higher one because the policy says so."""
    patch.setattr(
        PolicyGuard, "ceilings", lambda self, ceiling, priorities: list(ceiling.ceilings(priorities))
    )


@trap(UNRULY)
def arrival_decides_between_lanes(patch: pytest.MonkeyPatch) -> None:
    """A flow's two lanes are compared by arrival, not by the flow's own order."""

    def by_arrival(ready: list[Lane]) -> tuple[Lane, Any]:
        best = min(ready, key=lambda lane: lane.top()[:2])
        return best, best.top()[2]

    patch.setattr(Controller, "_next", staticmethod(by_arrival))


@trap(PLAIN)
def versions_are_reused_in_a_lanes_heap(patch: pytest.MonkeyPatch) -> None:
    """A queue that is made anew starts at version 0 again, so its former life's entries come alive."""
    rank = Lane.rank

    def forgetful(self: Lane, flow: Any, rules: Any, guard: Any) -> None:
        self._version = flow.queues[self].version
        rank(self, flow, rules, guard)

    patch.setattr(Lane, "rank", forgetful)


@trap(RESTLESS)
def a_subset_is_resolved_once(patch: pytest.MonkeyPatch) -> None:
    """Queued requests keep the endpoints that they could use when they came."""
    patch.setattr(Bands, "endpoints_changed", lambda self: None)


# ------------------------------------------------------------------------------ 3: work-conserving


@trap(SCRAPING_DIES)
def stale_is_full(patch: pytest.MonkeyPatch) -> None:
    """An endpoint whose metrics are old gets nothing."""
    has_room = UtilizationDetector.has_room
    patch.setattr(
        UtilizationDetector,
        "has_room",
        lambda self, view, ceiling: view.knowledge is Knowledge.FRESH and has_room(self, view, ceiling),
    )


@trap(PLAIN)
def only_arrivals_and_ends_drain(patch: pytest.MonkeyPatch) -> None:
    """A lost wake-up: endpoints and scrapes change what is possible, and nobody looks."""
    drain, apply = Controller._drain, Controller._apply

    def remember(self: Controller, event: Any, actions: list[Any]) -> None:
        seen[id(self)] = event
        apply(self, event, actions)

    def seldom(self: Controller, budget: int, actions: list[Any]) -> int:
        busy = isinstance(seen[id(self)], Arrived | Ended)
        return drain(self, budget, actions) if busy else budget

    seen: dict[int, Any] = {}
    patch.setattr(Controller, "_apply", remember)
    patch.setattr(Controller, "_drain", seldom)


@trap(PLAIN)
def one_decision_per_call(patch: pytest.MonkeyPatch) -> None:
    """The drain pass stops after one dispatch."""
    drain = Controller._drain

    def once(self: Controller, budget: int, actions: list[Any]) -> int:
        return budget - 1 + drain(self, min(budget, 1), actions)

    patch.setattr(Controller, "_drain", once)


@trap(RANKED)
def ceilings_move_and_nobody_drains_again(patch: pytest.MonkeyPatch) -> None:
    """A band retires after the pass, ceilings rise, and the work waits for the next event."""
    retire = Bands.retire

    def quietly(self: Bands, now: float) -> bool:
        retire(self, now)
        return False

    patch.setattr(Bands, "retire", quietly)


@trap(partial(scenarios.burst_onto_idle, interval_s=1.0))
def nobody_asks_early(patch: pytest.MonkeyPatch) -> None:
    """A burst onto idle servers is held for the scrape period."""
    patch.setattr(Ledger, "ask", lambda self, now: [])
    patch.setattr(Ledger, "next_ask_s", lambda self: float("inf"))


@trap(SCRAPED)
def going_stale_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    """Work waits beside an endpoint that is only believed to be full."""
    patch.setattr(Ledger, "next_stale_s", lambda self: float("inf"))


# ---------------------------------------------------------------------------------- 4: no overshoot


@trap(SCRAPED)
def stale_is_free(patch: pytest.MonkeyPatch) -> None:
    """An endpoint whose metrics are old takes anything."""
    has_room = UtilizationDetector.has_room
    patch.setattr(
        UtilizationDetector,
        "has_room",
        lambda self, view, ceiling: view.knowledge is not Knowledge.FRESH or has_room(self, view, ceiling),
    )


@trap(SATURATED)
def load_is_what_was_scraped(patch: pytest.MonkeyPatch) -> None:
    """What was sent since the last scrape is forgotten: a burst between two scrapes goes through."""
    patch.setattr(
        UtilizationDetector,
        "has_room",
        lambda self, view, ceiling: view.sample.waiting < self.queue_depth_threshold * ceiling,
    )


@trap(SCRAPED)
def foreign_ignores_what_is_on_its_way(patch: pytest.MonkeyPatch) -> None:
    """Foreign load is the sample minus what we have now: what ended during the scrape becomes somebody else's."""
    patch.setattr(Endpoint, "_remember_peak", lambda self, now: None)


@trap(PLAIN)
def a_dispatch_is_no_reservation(patch: pytest.MonkeyPatch) -> None:
    """Load is counted when the engine reports it, not when we send."""
    patch.setattr(Ledger, "reserve", lambda self, endpoint, *, need, tokens, now: None)
    patch.setattr(Ledger, "release", lambda self, endpoint, *, need, tokens, now: None)


@trap(PLAIN)
def room_is_not_worked_out_anew(patch: pytest.MonkeyPatch) -> None:
    """Within a pass the endpoints with room stay those of its beginning."""
    patch.setattr(
        Ledger, "reserve", lambda self, endpoint, *, need, tokens, now: endpoint.add(need, tokens, now)
    )


@trap(RESTLESS)
def a_successor_pays_for_its_predecessor(patch: pytest.MonkeyPatch) -> None:
    """An end releases whatever endpoint has that address now, not the incarnation that was reserved."""
    release = Ledger.release

    def by_address(self: Ledger, endpoint: Endpoint, *, need: int, tokens: int, now: float) -> None:
        same = [each for each in self.listed.values() if each.spec.address == endpoint.spec.address]
        release(self, (same or [endpoint])[0], need=need, tokens=tokens, now=now)

    patch.setattr(Ledger, "release", by_address)


@trap(RESTLESS)
def a_flap_forgets_what_runs(patch: pytest.MonkeyPatch) -> None:
    """An endpoint that is unready for a moment comes back empty, and is filled a second time."""
    patch.setattr(
        Ledger, "_drop_if_gone", lambda self, gone: gone.listed or self._known.pop(gone.spec.key, None)
    )


# ------------------------------------------------------------------------------------- 5: round robin


@trap(turns.returning)
def idling_banks_credit(patch: pytest.MonkeyPatch) -> None:
    """A flow that comes back keeps its old tag."""
    wake = Band._wake

    def no_lift(self: Band, flow: Any, lane: Lane) -> None:
        tag, lifts = flow.tag, flow.lifts
        wake(self, flow, lane)
        flow.tag, flow.lifts = tag, lifts

    patch.setattr(Band, "_wake", no_lift)


@trap(turns.narrow)
def one_virtual_time_per_band(patch: pytest.MonkeyPatch) -> None:
    """The fast endpoint's time counts on the slow one as well."""
    patch.setattr(Band, "virtual", lambda self, endpoint: self.latest_virtual)


@trap(turns.one_at_a_time)
def a_tag_is_dropped_when_its_flow_idles(patch: pytest.MonkeyPatch) -> None:
    """Who sends one at a time starts afresh each time."""
    rest = Band._rest

    def forget(self: Band, flow: Any) -> None:
        rest(self, flow)
        self.idle_flows.clear()

    patch.setattr(Band, "_rest", forget)


@trap(turns.joining_endpoint)
def a_new_endpoint_starts_at_zero(patch: pytest.MonkeyPatch) -> None:
    """Virtual time of an endpoint that joins begins at 0."""
    changed = Band.endpoints_changed
    patch.setattr(
        Band,
        "endpoints_changed",
        lambda self, count, *, joined, left: changed(self, count, joined=set(), left=left),
    )


@trap(turns.failing)
def a_failed_delivery_keeps_its_charge(patch: pytest.MonkeyPatch) -> None:
    """DeliveryFailed releases the slot and forgets the turn."""
    patch.setattr(Band, "refund", lambda self, flow, cost, lifts, guard: None)


@trap(turns.lifted)
def a_refund_ignores_the_lift(patch: pytest.MonkeyPatch) -> None:
    """Charges from before the last lift are given back on top of it."""
    refund = Band.refund
    patch.setattr(
        Band, "refund", lambda self, flow, cost, lifts, guard: refund(self, flow, cost, flow.lifts, guard)
    )


@trap(turns.joining_endpoint)
def every_dispatch_is_free(patch: pytest.MonkeyPatch) -> None:
    """Nothing is charged, so nobody's turn ever passes."""
    patch.setattr(PolicyGuard, "fairness_cost", lambda self, fairness, item: 0.0)


# -------------------------------------------------------------------------------- 6: exactly one end


@trap(PLAIN)
def expired_requests_are_sent(patch: pytest.MonkeyPatch) -> None:
    """Deadlines are looked at by nobody."""
    patch.setattr(Controller, "_expire", lambda self, budget, actions: budget)
    patch.setattr(Controller, "_refuse_if_due", lambda self, item, actions: False)


@trap(PLAIN)
def expiry_is_a_sweep(patch: pytest.MonkeyPatch) -> None:
    """Deadlines are looked at once a second."""
    expire = Controller._expire
    patch.setattr(
        Controller,
        "_expire",
        lambda self, budget, actions: budget if self._now % 1 else expire(self, budget, actions),
    )


@trap(PLAIN)
def deadlines_wake_nobody(patch: pytest.MonkeyPatch) -> None:
    """The core forgets to ask to be woken for a deadline."""
    patch.setattr(WaitClocks, "next_due_s", lambda self, alive: float("inf"))


@trap(RESTLESS)
def clocks_restart_when_the_pool_changes(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits gets his full budget again each time the pool empties or fills."""
    switch = WaitClocks.switch
    changed = Controller._endpoints_changed

    def restart(self: Controller, event: Any) -> None:
        was_empty = self._clocks.pool_is_empty
        spent = (self._clocks.busy_key(self._now), self._clocks.empty_key(self._now))
        changed(self, event)
        if self._clocks.pool_is_empty is was_empty:
            return
        self._clocks.busy, self._clocks.empty = DeadlineHeap(), DeadlineHeap()
        for sequence, item in self._by_sequence.items():
            if item.busy_key_s is not None:
                item.busy_key_s = max(item.busy_key_s, spent[0] + 1.0)
                self._clocks.busy.add(item.busy_key_s, sequence)
            if item.empty_key_s is not None:
                item.empty_key_s = max(item.empty_key_s, spent[1] + 0.5)
                self._clocks.empty.add(item.empty_key_s, sequence)

    del switch
    patch.setattr(Controller, "_endpoints_changed", restart)


@trap(RESTLESS)
def empty_seconds_count_as_busy(patch: pytest.MonkeyPatch) -> None:
    """One clock for both: time without endpoints uses up the TTL."""
    switch = WaitClocks.switch

    def never_stop(self: WaitClocks, *, pool_is_empty: bool, now: float) -> None:
        switch(self, pool_is_empty=pool_is_empty, now=now)
        self._empty_total_s = 0.0

    patch.setattr(WaitClocks, "switch", never_stop)


@trap(PLAIN)
def the_cancelled_stay_queued(patch: pytest.MonkeyPatch) -> None:
    """A zombie: the client has gone, and its request waits until it is swept."""
    gone = Controller._gone

    def linger(self: Controller, event: Any) -> None:
        if event.request_id not in self._queued:
            gone(self, event)

    patch.setattr(Controller, "_gone", linger)


@trap(PLAIN)
def the_cancelled_keep_their_bytes(patch: pytest.MonkeyPatch) -> None:
    """Half a zombie: the request has left its lane, its bytes are still counted."""
    forget = Controller._forget

    def heavy(self: Controller, item: Any) -> None:
        forget(self, item)
        self._bands.queued_bytes += item.request.size_bytes // 2

    patch.setattr(Controller, "_forget", heavy)


@trap(PLAIN)
def a_failed_delivery_keeps_its_slot(patch: pytest.MonkeyPatch) -> None:
    """DeliveryFailed doesn't undo the reservation."""
    gone = Controller._gone

    def hold(self: Controller, event: Any) -> None:
        if not (isinstance(event, DeliveryFailed) and event.request_id in self._running):
            gone(self, event)

    patch.setattr(Controller, "_gone", hold)


@trap(PLAIN)
def a_running_request_cannot_be_cancelled(patch: pytest.MonkeyPatch) -> None:
    """The slot of a client that went away is kept until the engine is done."""
    gone = Controller._gone

    def deaf(self: Controller, event: Any) -> None:
        if not (isinstance(event, Cancelled) and event.request_id in self._running):
            gone(self, event)

    patch.setattr(Controller, "_gone", deaf)


@trap(PLAIN)
def a_band_retires_with_its_work(patch: pytest.MonkeyPatch) -> None:
    """When its objective goes, so does the band, and whoever waits in it."""
    provision = Bands.provision

    def ruthless(self: Bands, wanted: frozenset[int], now: float) -> None:
        for priority in self._bands.keys() - wanted - {0}:
            del self._bands[priority]
        provision(self, wanted, now)

    patch.setattr(Bands, "provision", ruthless)


# ------------------------------------------------------------------------------------- 7: bounded


@trap(CAPPED)
def caps_come_before_the_pass(patch: pytest.MonkeyPatch) -> None:
    """A full queue refuses work that could run."""
    arrived = Controller._arrived

    def early(self: Controller, event: Arrived, actions: list[Any]) -> None:
        arrived(self, event, actions)
        self._enforce_caps(event, actions)

    patch.setattr(Controller, "_arrived", early)


@trap(CAPPED)
def nobody_minds_the_caps(patch: pytest.MonkeyPatch) -> None:
    """Queues grow without bound."""
    patch.setattr(Controller, "_enforce_caps", lambda self, newcomer, actions: None)


@trap(CAPPED)
def the_highest_give_way(patch: pytest.MonkeyPatch) -> None:
    """Displacement begins with the highest of the lower bands."""
    below = Bands.below
    patch.setattr(Bands, "below", lambda self, band: below(self, band)[::-1])


@trap(CAPPED)
def the_oldest_give_way(patch: pytest.MonkeyPatch) -> None:
    """Displacement takes who has waited longest."""
    newest_first = Band.newest_first
    patch.setattr(Band, "newest_first", lambda self: iter(list(newest_first(self))[::-1]))


@trap(CAPPED)
def some_give_way_in_vain(patch: pytest.MonkeyPatch) -> None:
    """Displacement takes what there is, though the newcomer has to be refused all the same."""
    judge = caps.judge

    def greedy(newcomer: Any, bands: Bands, rules: Any, **limits: int) -> Any:
        verdict = judge(newcomer, bands, rules, **limits)
        lower = [
            item for each in bands.below(bands[newcomer.request.priority]) for item in each.newest_first()
        ]
        return Displaces(tuple(lower)) if isinstance(verdict, Full) and lower else verdict

    patch.setattr(caps, "judge", greedy)


@trap(CAPPED)
def one_more_gives_way_than_needed(patch: pytest.MonkeyPatch) -> None:
    """Displacement takes one too many."""
    judge = caps.judge

    def generous(newcomer: Any, bands: Bands, rules: Any, **limits: int) -> Any:
        verdict = judge(newcomer, bands, rules, **limits)
        if not isinstance(verdict, Displaces):
            return verdict
        lower = [
            item for each in bands.below(bands[newcomer.request.priority]) for item in each.newest_first()
        ]
        others = [item for item in lower if item not in verdict.victims]
        return Displaces((*verdict.victims, *others[:1]))

    patch.setattr(caps, "judge", generous)


@trap(BURSTS)
def a_call_decides_all_there_is(patch: pytest.MonkeyPatch) -> None:
    """Bulk expiry and long passes run in one go and stall the loop."""
    patch.setattr(controller_module, "STEP", 10**9)


@trap(CROWDED)
def every_tenant_gets_a_flow(patch: pytest.MonkeyPatch) -> None:
    """The cap on flows is forgotten."""
    patch.setattr(Bands, "may_mint_flow", lambda self: True)


@trap(CROWDED)
def every_subset_gets_a_lane(patch: pytest.MonkeyPatch) -> None:
    """The cap on lanes is forgotten."""
    patch.setattr(Bands, "restricted_lanes", lambda self: 0)


# -------------------------------------------------------------------------------- 10: fails soft

BROKEN_CHOICE = partial(scenarios.survive, policy(choice=BrokenChoice()), seed=4, steps=300)
BROKEN_DETECTOR = partial(
    scenarios.survive,
    policy(capacity=BrokenCapacity(), ceiling=SteepCeiling()),
    seed=3,
    steps=800,
    room=scenarios.guarded_room,
)


@trap(BROKEN_CHOICE)
def a_stranger_may_be_chosen(patch: pytest.MonkeyPatch) -> None:
    """Whatever looks like an endpoint is sent to, a member or not."""
    choose = PolicyGuard.choose

    def trusting(self: PolicyGuard, choice: Any, candidates: Any, facts: object) -> Any:
        try:
            chosen = choice.choose(candidates, facts)
        except Exception:
            chosen = None
        return chosen if isinstance(chosen, EndpointView) else choose(self, LeastLoaded(), candidates, facts)

    patch.setattr(PolicyGuard, "choose", trusting)


@trap(BROKEN_DETECTOR)
def every_ceiling_is_asked_by_itself(patch: pytest.MonkeyPatch) -> None:
    """A detector that fails at a low ceiling opens it, though the higher one is closed: a lower band overtakes."""
    settle = Ledger._settle_room

    def gullible(self: Ledger, endpoint: Endpoint, now: float) -> None:
        settle(self, endpoint, now)
        for room in self._rooms.values():
            if endpoint.listed and self._guard.has_room(self._policy.capacity, endpoint.view, room.ceiling):
                room.views[endpoint] = endpoint.view

    patch.setattr(Ledger, "_settle_room", gullible)


# ------------------------------------------------------------------- 8 and the books: honest numbers


@trap(CAPPED)
def come_again_at_once(patch: pytest.MonkeyPatch) -> None:
    """A refused client is told to come again in 0 s."""
    patch.setattr(DrainRate, "retry_after_s", lambda self, ahead, now: 0)


@trap(PLAIN)
def waiting_is_explained_twice(patch: pytest.MonkeyPatch) -> None:
    """Some queued seconds are booked under two reasons."""
    accrue = accounting.accrue

    def double(each: Any, books: Ledger, elapsed_s: float) -> Any:
        for band in each:
            band.waits.no_room += elapsed_s * band.queued_requests
        return accrue(each, books, elapsed_s)

    patch.setattr(controller_module, "accrue", double)
