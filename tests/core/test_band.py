"""Bands, lanes and flows: coming and going, order, and strictness in small examples."""

from __future__ import annotations

from epp.core.capacity import ConcurrencyDetector
from epp.core.controller import STEP
from epp.core.eligibility import ANY, Subset
from epp.core.events import (
    Arrived,
    Cancelled,
    Draining,
    Ended,
    EndpointsChanged,
    ObjectivesChanged,
    PolicyChanged,
    Resumed,
    Tick,
)
from tests.core.building import (
    GLOBAL_STRICT,
    ROUND_ROBIN,
    A,
    B,
    controller,
    destinations,
    dispatched,
    policy,
    refused,
    request,
    wake_s,
)
from tests.core.policies import ODD_ORDER, RankCeiling

ON_A, ON_B = Subset.of([A.address]), Subset.of([B.address])


def bands(core: object) -> dict[int, float]:
    """Priorities and their ceilings, as shown."""
    return {band.priority: band.ceiling for band in core.statistics(0.0).bands}  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------- strictness


def test_a_newcomer_of_lower_priority_waits_at_the_instant_a_slot_frees() -> None:
    """With a higher request queued, an arrival in the very call that frees room gets none."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1, 10), 0.0)
    core.handle(request(2, 0), 0.0)
    assert dispatched(core.handle(Ended(0), 1.0)) == [1]


def test_priorities_are_global_over_tenants_and_lanes() -> None:
    """Eight requests of all sorts leave in order of priority, whoever sent them and whatever they may use."""
    core = controller(A)
    core.handle(request(0), 0.0)
    priorities = (0, -10, 5, 2**31 - 1, -(2**31), 5, 0, 10)
    for number, priority in enumerate(priorities, start=1):
        eligibility = ON_A if number % 2 else ANY
        core.handle(request(number, priority, f"tenant-{number}", eligibility=eligibility), 0.0)
    order, running = [], 0
    for _ in priorities:
        (running,) = dispatched(core.handle(Ended(running), 1.0))
        order.append(running)
    assert order == sorted(order, key=lambda number: (-priorities[number - 1], number))


def test_a_higher_band_that_cannot_use_the_endpoint_does_not_block_it() -> None:
    """Strict means strict among those who may use the endpoint."""
    core = controller(A, B)
    core.handle(request(0, eligibility=ON_A), 0.0)
    core.handle(request(1, 10, eligibility=ON_A), 0.0)
    assert destinations(core.handle(request(2, -10), 0.0)) == {2: B.address}


def test_a_request_without_a_body_passes_and_holds_nobody_up() -> None:
    """It neither waits for room nor for the queue before it; without endpoints it waits like the others."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1, 10), 0.0)
    assert dispatched(core.handle(request(2, -10, need=0), 0.0)) == [2]
    core.handle(EndpointsChanged(()), 1.0)
    core.handle(request(3, need=0), 1.0)
    core.handle(request(4, 20, need=0), 1.0)
    assert dispatched(core.handle(EndpointsChanged((A,)), 2.0))[:2] == [4, 3]


def test_a_step_that_ran_out_lets_newcomers_of_higher_priority_in_first() -> None:
    """Between two steps of a long drain pass, whoever is of higher priority goes first."""
    core = controller()
    for number in range(STEP + 20):
        core.handle(request(number, 0), 0.0)
    many = tuple(A.__class__(f"10.0.2.{number}:8000") for number in range(200))
    actions = core.handle(EndpointsChanged(many), 1.0)
    assert len(dispatched(actions)) == STEP
    assert wake_s(actions) == 1.0
    actions = core.handle(request(1000, 5), 1.0)
    assert dispatched(actions) == [1000, *range(STEP, STEP + 20)]


# -------------------------------------------------------------------------------- coming and going


def test_bands_come_and_go_with_objectives_and_band_zero_stays() -> None:
    """An objective's priority is a band; without objectives there is still band 0."""
    core = controller(A)
    assert list(bands(core)) == [0]
    core.handle(ObjectivesChanged(frozenset({10, -5})), 0.0)
    assert list(bands(core)) == [10, 0, -5]
    core.handle(ObjectivesChanged(frozenset({7})), 0.0)
    assert list(bands(core)) == [7, 0]


def test_configured_bands_exist_without_objectives() -> None:
    """A band of the configuration is there whatever the objectives say, with its own rules."""
    core = controller(A, bands={3: ODD_ORDER})
    assert list(bands(core)) == [3, 0]
    core.handle(PolicyChanged(policy(bands={4: ROUND_ROBIN})), 0.0)
    assert list(bands(core)) == [4, 0]


def test_a_band_with_work_outlives_its_objective() -> None:
    """The objective goes while requests wait: they keep their place, and the band goes when the last has ended."""
    core = controller(A)
    core.handle(ObjectivesChanged(frozenset({10, -5})), 0.0)
    core.handle(request(0), 0.0)
    core.handle(request(1, -5), 0.0)
    core.handle(request(2, 10), 0.0)
    core.handle(ObjectivesChanged(frozenset()), 0.0)
    assert list(bands(core)) == [10, 0, -5]
    assert dispatched(core.handle(Ended(0), 1.0)) == [2]
    assert list(bands(core)) == [10, 0, -5]
    assert dispatched(core.handle(Ended(2), 1.0)) == [1]
    assert list(bands(core)) == [0, -5]
    core.handle(Ended(1), 1.0)
    assert list(bands(core)) == [0]


def test_a_band_that_goes_lets_its_neighbours_ceilings_rise_and_their_work_run() -> None:
    """When a retiring band moves the ceilings, the work that they held back is dispatched in the same call."""
    core = controller(A, B, ceiling=RankCeiling(0.5), capacity=ConcurrencyDetector(max_concurrency=4))
    core.handle(ObjectivesChanged(frozenset({0, -5})), 0.0)
    for number in range(4):
        core.handle(request(number, eligibility=ON_B), 0.0)
    for number in range(4, 7):
        core.handle(request(number, eligibility=ON_A), 0.0)
    core.handle(request(50, 5, eligibility=ON_B), 0.0)
    assert dispatched(core.handle(request(60, 0, eligibility=ON_A), 0.0)) == []
    assert dispatched(core.handle(Cancelled(50), 0.0)) == [60]


def test_bands_that_go_one_after_the_other_leave_no_work_beside_room() -> None:
    """A band that is cancelled away raises the ceilings of those below, whose work goes in the same call."""
    core = controller(A, B, capacity=ConcurrencyDetector(max_concurrency=8), ceiling=RankCeiling(0.2))
    core.handle(ObjectivesChanged(frozenset({0, -5})), 0.0)
    for number in range(8):
        core.handle(request(number, 0, eligibility=ON_B), 0.0)
    for number in range(10, 16):
        core.handle(request(number, 0, eligibility=ON_A), 0.0)
    core.handle(request(20, 7, eligibility=ON_B), 0.0)
    core.handle(request(21, 0, eligibility=ON_A), 0.0)
    core.handle(request(22, 0, eligibility=ON_A), 0.0)
    assert dispatched(core.handle(Cancelled(20), 0.0)) == [21, 22]


def test_a_lane_that_is_made_anew_starts_clean() -> None:
    """A queue that empties and fills again in the same lane is ranked anew: no entry of its former life wins."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1, tenant="other"), 0.0)
    for number in range(2, 40):
        core.handle(request(number, tenant="ada"), 0.0)
        core.handle(Cancelled(number), 0.0)
        core.check()
    core.handle(request(100, tenant="ada"), 0.0)
    core.check()
    assert dispatched(core.handle(Ended(0), 1.0)) == [1]
    assert dispatched(core.handle(Ended(1), 1.0)) == [100]


def test_another_fairness_takes_over_what_is_queued() -> None:
    """A changed configuration ranks the queued requests anew, and loses none."""
    core = controller(A, default_band=GLOBAL_STRICT)
    core.handle(request(0), 0.0)
    for number, tenant in enumerate(("ada", "ada", "ada", "bob"), start=1):
        core.handle(request(number, tenant=tenant), 0.0)
    core.handle(PolicyChanged(policy(default_band=ROUND_ROBIN)), 0.0)
    order, running = [], 0
    for _ in range(4):
        (running,) = dispatched(core.handle(Ended(running), 1.0))
        order.append(running)
    assert order == [1, 4, 2, 3]


def test_the_ends_of_an_older_band_do_not_touch_its_successor() -> None:
    """A band that went and came back while its requests ran keeps right books."""
    core = controller(A)
    core.handle(ObjectivesChanged(frozenset({10})), 0.0)
    core.handle(request(1, 10), 0.0)
    core.handle(ObjectivesChanged(frozenset()), 0.0)
    core.handle(ObjectivesChanged(frozenset({10})), 0.0)
    core.handle(request(2, 10), 0.0)
    assert dispatched(core.handle(Ended(1), 1.0)) == [2]
    core.check()


# ---------------------------------------------------------------------------------- stopping, events


def test_whoever_comes_after_a_stop_was_called_off_is_served() -> None:
    """Resumed ends the refusing: newcomers queue, and what was not refused yet is served after all."""
    core = controller(A)
    for number in range(STEP + 3):
        core.handle(request(number), 0.0)
    assert len(refused(core.handle(Draining(), 1.0))) == STEP
    assert refused(core.handle(Resumed(), 1.0)) == {}
    assert refused(core.handle(request(1000), 1.0)) == {}
    left = [STEP + 1, STEP + 2, 1000]
    for running, following in zip([0, *left], left, strict=False):
        assert dispatched(core.handle(Ended(running), 2.0)) == [following]
    core.check()


def test_draining_refuses_everybody_in_bounded_steps() -> None:
    """Once stopping, the queue is refused step by step, newcomers at once; what runs may end in peace."""
    core = controller(A)
    for number in range(2 * STEP + 1):
        core.handle(request(number), 0.0)
    actions = core.handle(Draining(), 1.0)
    assert len(refused(actions)) == STEP
    assert {each.value for each in refused(actions).values()} == {"rejected-shutting-down"}
    assert wake_s(actions) == 1.0
    actions = core.handle(request(1000), 1.0)
    assert 1000 in refused(actions)
    while wake_s(actions) is not None:
        actions = core.handle(Tick(), 1.0)
    statistics = core.statistics(1.0)
    assert (statistics.queued_requests, statistics.running_requests) == (0, 1)
    assert core.handle(Ended(0), 2.0) == []


def test_events_about_nobody_change_nothing() -> None:
    """Unknown, ended and never dispatched requests: each event is a no-op."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1), 0.0)
    before = core.statistics(0.0)
    assert dispatched(core.handle(Ended(1), 0.0)) == []
    for event in (Ended(99), Cancelled(99)):
        assert dispatched(core.handle(event, 0.0)) == []
    assert core.statistics(0.0) == before


def test_an_arrival_defaults_to_a_plain_request() -> None:
    """One request's worth of room, a charge of one, every endpoint, the policy's budget."""
    arrival = Arrived(1, 0, "tenant", 10)
    assert (arrival.need, arrival.weight, arrival.ttl_s, arrival.facts) == (1, 1.0, None, None)


def test_statistics_show_the_oldest_wait_and_the_flows() -> None:
    """A snapshot names each flow with what it has queued, and how long the oldest has waited."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1, tenant="ada", size_bytes=7), 2.0)
    core.handle(request(2, tenant="bob", eligibility=ON_A), 3.0)
    (band,) = core.statistics(10.0).bands
    assert band.oldest_wait_s == 8.0
    assert [(flow.fairness_id, flow.queued_requests, flow.queued_bytes) for flow in band.flows] == [
        ("ada", 1, 7),
        ("bob", 1, 10),
    ]
