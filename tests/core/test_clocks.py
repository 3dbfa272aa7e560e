"""The two clocks of waiting: exact deadlines, nothing restarts, no tombstone survives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from epp.core.actions import Reason
from epp.core.clocks import DeadlineHeap, WaitClocks
from epp.core.controller import STEP
from epp.core.events import Cancelled, Ended, EndpointsChanged, Tick
from tests.core.building import A, controller, dispatched, endpoint, refused, request, wake_s

if TYPE_CHECKING:
    from epp.core import Controller


def test_a_deadline_is_met_to_the_instant() -> None:
    """Just before its deadline a request is queued, at the deadline it is refused, and the core asked for that."""
    core = controller(A)
    core.handle(request(1), 0.0)
    actions = core.handle(request(2, ttl_s=5.0), 1.0)
    assert wake_s(actions) == 6.0
    assert refused(core.handle(Tick(), 5.999)) == {}
    assert refused(core.handle(Tick(), 6.0)) == {2: Reason.TTL_EXPIRED}


def test_nothing_is_dispatched_at_its_deadline() -> None:
    """Room that appears at the very instant of the deadline comes too late."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(request(2, ttl_s=5.0), 0.0)
    actions = core.handle(Ended(1), 5.0)
    assert refused(actions) == {2: Reason.TTL_EXPIRED}
    assert dispatched(actions) == []


def test_room_just_before_the_deadline_is_used() -> None:
    """An instant earlier the request is dispatched."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(request(2, ttl_s=5.0), 0.0)
    assert dispatched(core.handle(Ended(1), 4.999)) == [2]


def test_the_policy_gives_the_budget_and_the_request_may_give_another() -> None:
    """None means the policy's TTL, a number its own, 0 no limit."""
    core = controller(A, ttl_s=10.0)
    core.handle(request(0), 0.0)
    core.handle(request(1), 0.0)
    core.handle(request(2, ttl_s=3.0), 0.0)
    core.handle(request(3, ttl_s=0.0), 0.0)
    assert set(refused(core.handle(Tick(), 3.0))) == {2}
    assert set(refused(core.handle(Tick(), 10.0))) == {1}
    assert set(refused(core.handle(Tick(), 1e9))) == set()


def test_a_pool_without_endpoints_has_a_budget_of_its_own() -> None:
    """While the pool is empty the hold budget counts, and the refusal says that there was no endpoint."""
    core = controller(ttl_s=1.0, hold_s=30.0)
    core.handle(request(1), 0.0)
    assert refused(core.handle(Tick(), 29.999)) == {}
    assert refused(core.handle(Tick(), 30.0)) == {1: Reason.NO_ENDPOINTS}


def test_a_requests_own_budget_bounds_the_hold_as_well() -> None:
    """A client that gives itself 2 s isn't held for 30 in an empty pool."""
    core = controller(hold_s=30.0)
    core.handle(request(1, ttl_s=2.0), 0.0)
    assert refused(core.handle(Tick(), 2.0)) == {1: Reason.NO_ENDPOINTS}


def test_no_clock_restarts_when_the_pool_flaps() -> None:
    """Busy seconds add up over every time that the pool had endpoints, empty ones over every time it had none."""
    core = controller(A, ttl_s=10.0, hold_s=7.0)
    core.handle(request(0), 0.0)
    core.handle(request(1), 0.0)
    core.handle(EndpointsChanged(()), 4.0)  # 4 s busy
    core.handle(EndpointsChanged((A,)), 10.0)  # 6 s empty
    actions = core.handle(Tick(), 15.999)  # almost 10 s busy
    assert refused(actions) == {}
    assert wake_s(actions) == 16.0
    assert refused(core.handle(Tick(), 16.0)) == {1: Reason.TTL_EXPIRED}


def test_empty_seconds_add_up_too() -> None:
    """6 s without endpoints, some with, and 1 more without make up a hold budget of 7."""
    core = controller(A, ttl_s=100.0, hold_s=7.0)
    core.handle(request(0), 0.0)
    core.handle(request(1), 0.0)
    core.handle(EndpointsChanged(()), 4.0)
    core.handle(EndpointsChanged((A,)), 10.0)
    core.handle(EndpointsChanged(()), 20.0)
    assert refused(core.handle(Tick(), 20.999)) == {}
    assert refused(core.handle(Tick(), 21.0)) == {1: Reason.NO_ENDPOINTS}


def test_what_ran_out_of_its_hold_is_not_dispatched_to_endpoints_that_come_in_the_same_instant() -> None:
    """More requests than one step decides expire while the pool is empty; those left over are refused, not sent."""
    core = controller(hold_s=5.0)
    for number in range(STEP + 36):
        core.handle(request(number), 0.0)
    actions = core.handle(EndpointsChanged(tuple(endpoint(number) for number in range(1, 101))), 5.0)
    while wake_s(actions) is not None:
        assert dispatched(actions) == []
        actions = core.handle(Tick(), 5.0)
    assert dispatched(actions) == []
    assert core.statistics(5.0).queued_requests == 0


def test_bulk_expiry_is_worked_off_in_bounded_steps() -> None:
    """Hundreds of deadlines at one instant: no call decides more than a step, and each asks to be continued at once."""
    core = controller(A, ttl_s=5.0)
    for number in range(1 + 5 * STEP):
        core.handle(request(number), 0.0)
    steps = []
    actions = core.handle(Tick(), 5.0)
    while actions:
        steps.append(len(refused(actions)))
        assert wake_s(actions) in {5.0, None}
        actions = core.handle(Tick(), 5.0)
    assert steps == [STEP] * 5


def test_the_longest_overdue_goes_first() -> None:
    """Deadlines that passed while nobody called are worked off in their order."""
    core = controller(A)
    core.handle(request(0), 0.0)
    for number, ttl_s in ((1, 3.0), (2, 1.0), (3, 2.0)):
        core.handle(request(number, ttl_s=ttl_s), 0.0)
    assert list(refused(core.handle(Tick(), 9.0))) == [2, 3, 1]


def test_time_that_runs_backwards_is_ignored() -> None:
    """A call with an earlier time counts as now."""
    core = controller(A)
    core.handle(request(0), 10.0)
    core.handle(request(1, ttl_s=1.0), 10.0)
    assert refused(core.handle(Tick(), 3.0)) == {}
    core.handle(request(2, ttl_s=1.0), 3.0)
    assert set(refused(core.handle(Tick(), 11.0))) == {1, 2}


@pytest.mark.parametrize("ttl_s", [0.1, 0.3, 1 / 3, 7.77])
def test_waking_at_the_asked_time_makes_progress_whatever_the_rounding(ttl_s: float) -> None:
    """A driver that sleeps exactly until `WakeAt` never has to call twice for one deadline."""
    core = controller(A, ttl_s=ttl_s, hold_s=ttl_s)
    now = 0.1
    for number in range(200):
        now += 0.0137 * (number % 7)
        if number % 10 == 9:
            core.handle(EndpointsChanged(() if number % 20 == 9 else (A,)), now)
        at_s = wake_s(core.handle(request(number), now))
        assert at_s is None or at_s > now
        if number % 3 == 0 and at_s is not None:
            now = at_s
            assert refused(core.handle(Tick(), now))


def test_a_heap_drops_what_is_no_longer_alive() -> None:
    """The first deadline is that of the living, in order of their keys."""
    heap = DeadlineHeap()
    for key_s, sequence in ((3.0, 1), (1.0, 2), (2.0, 3)):
        heap.add(key_s, sequence)
    assert heap.first({1, 2, 3}) == (1.0, 2)
    assert heap.first({1, 3}) == (2.0, 3)
    assert heap.first({1}) == (3.0, 1)
    assert heap.first(set()) is None


def test_a_clock_shows_only_its_own_regime() -> None:
    """The busy clock stands still while the pool is empty, and the empty one while it isn't."""
    clocks = WaitClocks(100.0)
    clocks.switch(pool_is_empty=False, now=103.0)
    assert clocks.empty_key(105.0) == 3.0
    assert clocks.busy_key(105.0) - clocks.busy_key(104.0) == 1.0
    clocks.switch(pool_is_empty=True, now=110.0)
    assert clocks.busy_key(111.0) == clocks.busy_key(115.0)
    assert clocks.empty_key(112.0) == 5.0


def _hold_over_tombstones() -> Controller:
    """A pool without endpoints since 1 s: 70 requests run out of their hold at 6 s, behind 230 that were cancelled."""
    core = controller(endpoint(1, max_concurrency=0), hold_s=5.0)
    for number in range(300):
        core.handle(request(number), 0.0)
    for number in range(230):
        core.handle(Cancelled(number), 0.0)
    core.handle(EndpointsChanged(()), 1.0)
    return core


def test_a_driver_that_overslept_is_not_sent_into_the_past() -> None:
    """However much is left to forget, the core asks to be called now or later."""
    core = _hold_over_tombstones()
    actions, calls = core.handle(Tick(), 20.0), 1
    gone = set(refused(actions))
    while wake_s(actions) is not None:
        assert wake_s(actions) == 20.0
        actions, calls = core.handle(Tick(), 20.0), calls + 1
        gone |= set(refused(actions))
    assert gone == set(range(230, 300))
    assert calls <= 10


def test_what_ran_out_on_the_clock_that_stops_is_worked_off_at_once() -> None:
    """Endpoints come just as a hold ends: whoever is behind the cancelled is refused now, not in a minute."""
    core = _hold_over_tombstones()
    actions = core.handle(EndpointsChanged((endpoint(1, max_concurrency=0),)), 6.0)
    gone = set(refused(actions))
    while wake_s(actions) == 6.0:
        actions = core.handle(Tick(), 6.0)
        gone |= set(refused(actions))
    assert gone == set(range(230, 300))


def test_a_cancelled_requests_deadline_wakes_nobody() -> None:
    """Once the request is gone, so is its deadline."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1, ttl_s=1.0), 0.0)
    core.handle(request(2, ttl_s=50.0), 0.0)
    assert wake_s(core.handle(Cancelled(1), 0.5)) == 50.0
