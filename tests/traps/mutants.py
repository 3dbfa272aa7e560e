"""The traps, fallen into: each mutant patches the core with one wrong rule that its trap's test has to notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epp.core import Controller, capacity
from epp.core.band import Band
from epp.core.bands import Bands
from epp.core.capacity import UtilizationDetector
from epp.core.clocks import WaitClocks
from epp.core.drainpass import Decision, DrainPass
from epp.core.endpoint import Knowledge
from epp.core.events import Arrived, Ended
from epp.core.incarnation import Endpoint
from epp.core.learning import LearnedLimit
from tests.traps import test_ends, test_fair_turns, test_learning_traps, test_right_of_way, test_room

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from epp.core.lane import Lane
    from epp.core.ledger import Room

    Patch = Callable[[pytest.MonkeyPatch], None]

MODULES = (test_ends, test_fair_turns, test_learning_traps, test_right_of_way, test_room)
FALLEN: list[tuple[Callable[[], None], Patch]] = []
"""(the test that must turn red, what turns it red)."""


def falls(*tests: Callable[[], None]) -> Callable[[Patch], Patch]:
    """Register a mutant with the tests of the traps that it falls into."""

    def register(patch: Patch) -> Patch:
        FALLEN.extend((test, patch) for test in tests)
        return patch

    return register


# ------------------------------------------------------------------------------------- right of way


@falls(test_right_of_way.test_a_newcomer_waits_at_the_instant_a_slot_frees)
def a_newcomer_is_sent_before_the_queue_is_looked_at(patch: pytest.MonkeyPatch) -> None:
    """A fast path for whoever finds a free endpoint."""
    arrived = Controller._arrived

    def barge(self: Controller, event: Arrived, actions: list[Any]) -> None:
        arrived(self, event, actions)
        item, band = self._waiting.items[event.request_id], self._bands[event.priority]
        for endpoint in list(self._ledger.room(band.ceiling).views)[:1]:
            self._dispatch(Decision(item, endpoint, None), actions)

    patch.setattr(Controller, "_arrived", barge)


@falls(test_right_of_way.test_strictness_is_global)
def bands_take_turns(patch: pytest.MonkeyPatch) -> None:
    """The pass begins with another band each time, as with a round robin over classes."""
    run, turns = DrainPass.run, [0]

    def rotated(self: DrainPass, budget: int, carry_out: Any) -> int:
        right = self._bands.in_order
        turns[0] += 1
        first = turns[0] % len(right)
        self._bands.in_order = right[first:] + right[:first]
        try:
            return run(self, budget, carry_out)
        finally:
            self._bands.in_order = right

    patch.setattr(DrainPass, "run", rotated)


@falls(test_right_of_way.test_a_blocked_head_does_not_stall_its_band)
def a_blocked_head_stalls_its_band(patch: pytest.MonkeyPatch) -> None:
    """Unless the band's oldest request can go, nobody of it goes."""
    ready = DrainPass._ready_lanes

    def patient(self: DrainPass, band: Band, room: Room) -> list[Lane]:
        lanes = ready(self, band, room)
        oldest = min(band.lanes.values(), key=lambda lane: next(iter(lane.items)))
        return lanes if oldest in lanes else []

    patch.setattr(DrainPass, "_ready_lanes", patient)


@falls(test_right_of_way.test_no_order_of_a_few_events_loses_a_wake_up)
def only_arrivals_and_ends_are_followed_by_a_pass(patch: pytest.MonkeyPatch) -> None:
    """An endpoint joins, and nobody looks."""
    drained, apply, last = Controller._drained, Controller._apply, {}

    def remember(self: Controller, event: Any, actions: list[Any]) -> None:
        last[id(self)] = event
        apply(self, event, actions)

    def seldom(self: Controller, budget: int, actions: list[Any]) -> int:
        is_busy = isinstance(last[id(self)], Arrived | Ended)
        return drained(self, budget, actions) if is_busy else budget

    patch.setattr(Controller, "_apply", remember)
    patch.setattr(Controller, "_drained", seldom)


# --------------------------------------------------------------------------------------------- room


@falls(test_room.test_no_slot_idles_beside_a_queue)
def the_queue_is_looked_at_by_a_poll(patch: pytest.MonkeyPatch) -> None:
    """At most once in 20 ms."""
    drained, last = Controller._drained, {}

    def polled(self: Controller, budget: int, actions: list[Any]) -> int:
        tick = int(self._now * 50)
        if last.get(id(self)) == tick:
            return budget
        last[id(self)] = tick
        return drained(self, budget, actions)

    patch.setattr(Controller, "_drained", polled)


@falls(test_room.test_a_burst_between_two_scrapes_overruns_nobody)
def load_is_what_was_scraped(patch: pytest.MonkeyPatch) -> None:
    """What was sent since the last scrape is forgotten."""
    patch.setattr(
        UtilizationDetector,
        "has_room",
        lambda self, view, ceiling: view.sample.waiting < self.queue_depth_threshold * ceiling,
    )


@falls(test_room.test_an_end_during_a_scrape_is_not_counted_twice)
def what_ended_during_a_scrape_is_foreign(patch: pytest.MonkeyPatch) -> None:
    """Foreign load is the sample minus what we have now."""
    patch.setattr(Endpoint, "_remember_peak", lambda self, now: None)


@falls(test_room.test_stale_metrics_stop_nothing)
def stale_is_full(patch: pytest.MonkeyPatch) -> None:
    """An endpoint whose metrics are old or were never seen gets nothing."""
    has_room = UtilizationDetector.has_room
    patch.setattr(
        UtilizationDetector,
        "has_room",
        lambda self, view, ceiling: view.knowledge is Knowledge.FRESH and has_room(self, view, ceiling),
    )


@falls(test_room.test_stale_metrics_keep_what_was_proven)
def stale_is_the_threshold(patch: pytest.MonkeyPatch) -> None:
    """What was seen to fit is forgotten with the sample."""
    below = capacity.below
    patch.setattr(
        capacity,
        "own_accounting",
        lambda view, ceiling, floor=5: below(view.own_requests, floor, ceiling),
    )


@falls(test_room.test_a_large_item_does_not_idle_the_pool)
def an_item_has_to_fit(patch: pytest.MonkeyPatch) -> None:
    """A request is admitted only where all of it stays below the limit on tokens."""
    ready = DrainPass._ready_lanes

    def fitting(self: DrainPass, band: Band, room: Room) -> list[Lane]:
        return [
            lane
            for lane in ready(self, band, room)
            if any(view.own_tokens + lane.top()[2].view.charge_tokens <= 100 for view in room.views.values())
        ]

    patch.setattr(DrainPass, "_ready_lanes", fitting)


# --------------------------------------------------------------------------------------------- ends


@falls(test_ends.test_an_empty_pool_is_not_overload)
def an_empty_pool_is_full(patch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, a newcomer without a place is told that the pool is busy."""
    refuse = Controller._refuse

    def saturated(self: Controller, item: Any, reason: Any, actions: list[Any]) -> None:
        refuse(self, item, type(reason).SATURATED, actions)

    patch.setattr(Controller, "_refuse", saturated)


@falls(test_ends.test_an_empty_pool_is_not_overload)
def empty_seconds_count_as_busy(patch: pytest.MonkeyPatch) -> None:
    """One clock for both: time without endpoints uses up the waiting budget."""
    switch = WaitClocks.switch

    def never_stop(self: WaitClocks, *, pool_is_empty: bool, now: float) -> None:
        switch(self, pool_is_empty=pool_is_empty, now=now)
        self._empty_total_s = 0.0

    patch.setattr(WaitClocks, "switch", never_stop)


@falls(test_ends.test_a_storm_of_cancellations_leaves_nothing)
def the_cancelled_stay_queued(patch: pytest.MonkeyPatch) -> None:
    """A request whose client has gone waits until it is swept."""
    gone = Controller._gone

    def linger(self: Controller, event: Any) -> None:
        if event.request_id not in self._waiting.items:
            gone(self, event)

    patch.setattr(Controller, "_gone", linger)


@falls(test_ends.test_abandoned_tenants_are_forgotten)
def idle_flows_are_kept_for_good(patch: pytest.MonkeyPatch) -> None:
    """A flow's state goes only with its band."""
    patch.setattr(Band, "_sweep", lambda self: None)


@falls(test_ends.test_minted_tenants_make_no_series)
def every_tenant_gets_a_flow(patch: pytest.MonkeyPatch) -> None:
    """The cap on flows is forgotten."""
    patch.setattr(Bands, "may_mint_flow", lambda self: True)


# ------------------------------------------------------------------------------------------ learning


@falls(test_learning_traps.test_a_learned_limit_comes_back_after_a_long_overload)
def the_baseline_follows_the_load(patch: pytest.MonkeyPatch) -> None:
    """What a prompt takes is learned from every sample, whatever the load."""
    observe = LearnedLimit.observe

    def gullible(self: LearnedLimit, *args: Any, **kwargs: Any) -> Any:
        answer = observe(self, *args, **kwargs)
        self.line.add(max(1, kwargs["input_tokens"]), kwargs["took_s"])
        return answer

    patch.setattr(LearnedLimit, "observe", gullible)
    patch.setattr(LearnedLimit, "_probe", lambda self, policy, load, now: None)
