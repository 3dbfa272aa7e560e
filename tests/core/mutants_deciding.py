"""Mutants of the decisions: promises 1 to 4 and the turns of 5."""

from __future__ import annotations

from functools import partial
from heapq import heappop
from typing import Any

import pytest

from epp.core import Controller
from epp.core.band import Band
from epp.core.bands import Bands
from epp.core.capacity import UtilizationDetector
from epp.core.drainpass import Decision, DrainPass
from epp.core.endpoint import Knowledge
from epp.core.events import Arrived, DeliveryFailed, Ended
from epp.core.flow import Flow
from epp.core.guard import PolicyGuard
from epp.core.incarnation import Endpoint
from epp.core.lane import Lane
from epp.core.ledger import Ledger
from epp.core.running import Running
from epp.core.virtualtime import VirtualTimes
from tests.core import scenarios, turns
from tests.core.mutants import (
    FAIR,
    IN_FLIGHT,
    PLAIN,
    RANKED,
    RESTLESS,
    RISING,
    SATURATED,
    SCRAPED,
    SCRAPING_DIES,
    UNRULY,
    trap,
)

# ------------------------------------------------------------------------- 1 and 2: whose turn it is


@trap(scenarios.between_two_steps)
def newcomer_overtakes(patch: pytest.MonkeyPatch) -> None:
    """A fast path: an arrival takes a free endpoint before the queue is looked at."""
    arrived = Controller._arrived

    def barge(self: Controller, event: Arrived, actions: list[Any]) -> None:
        arrived(self, event, actions)
        item, band = self._waiting.items[event.request_id], self._bands[event.priority]
        for endpoint in list(self._ledger.room(band.ceiling).views)[:1]:
            self._dispatch(Decision(item, endpoint, None), actions)

    patch.setattr(Controller, "_arrived", barge)


@trap(PLAIN)
def last_come_first_served(patch: pytest.MonkeyPatch) -> None:
    """The newest request of a flow goes first."""
    patch.setattr(PolicyGuard, "order_key", lambda self, ordering, item: -item.sequence)


@trap(PLAIN)
def lower_band_first(patch: pytest.MonkeyPatch) -> None:
    """The drain pass looks at the lowest band first."""
    run = DrainPass.run

    def upside_down(self: DrainPass, budget: int, carry_out: Any) -> int:
        right, self._bands.in_order = self._bands.in_order, self._bands.in_order[::-1]
        try:
            return run(self, budget, carry_out)
        finally:
            self._bands.in_order = right

    patch.setattr(DrainPass, "run", upside_down)


@trap(RISING)
def ceilings_may_rise_downwards(patch: pytest.MonkeyPatch) -> None:
    """A lower band gets more room than a higher one because the policy says so."""
    patch.setattr(
        PolicyGuard,
        "ceilings",
        lambda self, ceiling, priorities: list(ceiling.ceilings(priorities))[: len(priorities)],
    )


@trap(UNRULY)
def arrival_decides_between_lanes(patch: pytest.MonkeyPatch) -> None:
    """A flow's two lanes are compared by arrival, not by the flow's own order."""

    def by_arrival(ready: list[Lane]) -> tuple[Lane, Any]:
        best = min(ready, key=lambda lane: lane.top()[:2])
        return best, best.top()[2]

    patch.setattr(DrainPass, "_next", staticmethod(by_arrival))


@trap(PLAIN)
def old_places_in_a_lanes_heap_stay_good(patch: pytest.MonkeyPatch) -> None:
    """A flow that was charged keeps the place from before, as long as its head is still there."""

    def lasting(self: Lane) -> tuple[float, int, Any]:
        while self._heap[0][1] not in self.items:
            heappop(self._heap)
        key, sequence, *_ = self._heap[0]
        return key, sequence, self.items[sequence]

    patch.setattr(Lane, "top", lasting)


@trap(RESTLESS)
def a_subset_is_resolved_once(patch: pytest.MonkeyPatch) -> None:
    """Queued requests keep the endpoints that they could use when they came."""
    patch.setattr(Bands, "endpoints_changed", lambda self, turnover: None)


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
    drained, apply = Controller._drained, Controller._apply

    def remember(self: Controller, event: Any, actions: list[Any]) -> None:
        seen[id(self)] = event
        apply(self, event, actions)

    def seldom(self: Controller, budget: int, actions: list[Any]) -> int:
        busy = isinstance(seen[id(self)], Arrived | Ended)
        return drained(self, budget, actions) if busy else budget

    seen: dict[int, Any] = {}
    patch.setattr(Controller, "_apply", remember)
    patch.setattr(Controller, "_drained", seldom)


@trap(PLAIN)
def one_decision_per_call(patch: pytest.MonkeyPatch) -> None:
    """The drain pass stops after one dispatch."""
    run = DrainPass.run
    patch.setattr(
        DrainPass,
        "run",
        lambda self, budget, carry_out: budget - 1 + run(self, min(budget, 1), carry_out),
    )


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
    wake = Flow.wake

    def no_lift(self: Flow, *args: Any, **kwargs: Any) -> None:
        tag = self.tag
        wake(self, *args, **kwargs)
        self.tag = tag

    patch.setattr(Flow, "wake", no_lift)


@trap(turns.narrow)
def one_virtual_time_per_band(patch: pytest.MonkeyPatch) -> None:
    """The fast endpoint's time counts on the slow one as well."""
    patch.setattr(VirtualTimes, "_start_of", lambda self, lane: (self.latest, self.latest_at))


@trap(turns.one_at_a_time)
def a_tag_is_dropped_when_its_flow_idles(patch: pytest.MonkeyPatch) -> None:
    """Who sends one at a time starts afresh each time."""
    rest = Band._rest

    def forget(self: Band, flow: Flow, now: float) -> None:
        rest(self, flow, now)
        flow.home = None

    patch.setattr(Band, "_rest", forget)


@trap(turns.joining_endpoint)
def a_new_endpoint_starts_at_zero(patch: pytest.MonkeyPatch) -> None:
    """Virtual time of an endpoint that joins begins at 0."""
    changed = VirtualTimes.endpoints_changed
    patch.setattr(
        VirtualTimes,
        "endpoints_changed",
        lambda self, *, joined, left: changed(self, joined=(), left=left),
    )


@trap(turns.failing)
def a_failed_delivery_keeps_its_charge(patch: pytest.MonkeyPatch) -> None:
    """DeliveryFailed releases the slot and forgets the turn."""
    correction = Running._correction
    patch.setattr(
        Running,
        "_correction",
        lambda self, held, event, now: (
            0.0 if isinstance(event, DeliveryFailed) else correction(self, held, event, now)
        ),
    )


@trap(turns.lifted)
def a_refund_ignores_the_lift(patch: pytest.MonkeyPatch) -> None:
    """Charges from before the last lift are given back on top of it."""
    settle = Flow.settle
    patch.setattr(Flow, "settle", lambda self, correction, epoch: settle(self, correction, self.epoch))


@trap(turns.joining_endpoint)
def every_dispatch_is_free(patch: pytest.MonkeyPatch) -> None:
    """Nothing is charged, so nobody's turn ever passes."""
    patch.setattr(PolicyGuard, "fairness_cost", lambda self, fairness, item: 0.0)


@trap(FAIR)
def settlements_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What was estimated is what is charged, whatever it turned out to be."""
    patch.setattr(Flow, "settle", lambda self, correction, epoch: False)


@trap(FAIR)
def a_settlement_leaves_the_queue_as_it_is(patch: pytest.MonkeyPatch) -> None:
    """The tag is corrected, and whoever is queued already keeps the turn of before."""
    settle = Flow.settle

    def silent(self: Flow, correction: float, epoch: int) -> bool:
        settle(self, correction, epoch)
        return False

    patch.setattr(Flow, "settle", silent)


@trap(FAIR)
def refunds_are_clamped_to_virtual_time(patch: pytest.MonkeyPatch) -> None:
    """A refund never puts a flow before the band's present, so who queues little loses it."""
    ended = Band.ended

    def clamp(self: Band, held: Any, guard: Any, *, correction: float, now: float) -> None:
        lead = held.flow.tag - self.virtual.latest
        ended(self, held, guard, correction=max(correction, min(0.0, -lead)), now=now)

    patch.setattr(Band, "ended", clamp)


@trap(FAIR)
def weights_are_forgotten_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """The charge is divided by the weight, its correction is not."""
    correction = Running._correction
    patch.setattr(
        Running,
        "_correction",
        lambda self, held, event, now: correction(self, held, event, now) * held.view.weight,
    )


@trap(IN_FLIGHT)
def a_cap_in_flight_closes_nothing(patch: pytest.MonkeyPatch) -> None:
    """As many of a flow run as find room."""
    patch.setattr(Band, "_is_at_cap", lambda self, flow: False)


@trap(IN_FLIGHT)
def a_cap_in_flight_opens_never(patch: pytest.MonkeyPatch) -> None:
    """A flow that was at its cap stays closed though one of its requests has ended."""

    def forgetful(self: Band, flow: Flow, guard: Any, now: float) -> None:
        return None

    patch.setattr(Band, "_release", forgetful)


@trap(IN_FLIGHT)
def a_cap_in_flight_banks_credit(patch: pytest.MonkeyPatch) -> None:
    """A flow comes back from its cap with the tag that it had, not as if it had been idle."""
    patch.setattr(Band, "_start", lambda self, flow, lane, guard, now: None)
