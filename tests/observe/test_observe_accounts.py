"""Our own metrics: waiting time by reason, idle room, bands and endpoints."""

from __future__ import annotations

import random

import pytest

from epp.core.actions import Dispatch
from epp.core.endpoint import Knowledge
from epp.core.events import Cancelled, Ended, EndpointsChanged, ObjectivesChanged, Tick
from epp.core.statistics import DisplacedBy, EvictionStatistics, WaitReason
from epp.observe.accounts import wait_totals
from epp.observe.labels import OTHER, PriorityNames
from tests.core.building import A, B, controller, request
from tests.observe.surroundings import World, band, endpoint, flow

WAITS = "epp_queue_wait_seconds_total"


def totals_by_priority(statistics, names):
    """Waiting seconds by priority."""
    sums = {}
    for (priority, _), seconds in wait_totals(statistics, names).items():
        sums[priority] = sums.get(priority, 0.0) + seconds
    return sums


def test_every_queued_second_has_one_reason(world):
    """Over a real core, with two bands and a pool that is empty for a while: the sum is what was waited."""
    core = controller(A, now=0.0)
    world.pool = "p"
    core.handle(ObjectivesChanged(frozenset({5})), 0.0)
    core.handle(request(1), 0.0)
    core.handle(request(2), 0.0)
    core.handle(request(3, priority=5), 0.0)
    core.handle(EndpointsChanged(()), 2.0)
    core.handle(EndpointsChanged((A, B)), 3.0)
    core.handle(Tick(), 10.0)
    world.statistics = core.statistics(10.0)
    rows = world.rows(WAITS)
    assert {labels["reason"] for labels, _ in rows} == {reason.value for reason in WaitReason}
    # Request 3 goes first, to B, when B comes after 3 s; request 2 goes on waiting.
    assert sum(value for labels, value in rows if labels["priority"] == "5") == pytest.approx(3.0)
    assert sum(value for labels, value in rows if labels["priority"] == "0") == pytest.approx(10.0)
    assert world.value(WAITS, inference_pool="p", priority="0", reason="no_endpoint") == pytest.approx(1.0)


def test_waiting_time_outlives_its_band():
    """Over a real core whose bands come and go with objectives: no counter ever falls."""
    rng = random.Random(11)
    core = controller(A, now=0.0)
    names = PriorityNames(100)
    earlier, running = {}, []
    for step in range(2000):
        now = step * 0.25
        roll = rng.random()
        if roll < 0.2:
            event = ObjectivesChanged(frozenset(rng.sample(range(-3, 9), 3)))
        elif roll < 0.6 or not running:
            event = request(step, priority=rng.choice((-3, 0, 4, 8)))
        else:
            event = Ended(running.pop())
        running += [action.request_id for action in core.handle(event, now) if isinstance(action, Dispatch)]
        later = wait_totals(core.statistics(now), names)
        fallen = {account for account, seconds in earlier.items() if later.get(account, 0.0) < seconds}
        assert fallen == set()
        earlier = later
    waited = totals_by_priority(core.statistics(now), names)
    assert min(waited[priority] for priority in ("-3", "0", "4", "8")) > 0
    assert len(core.statistics(now).bands) < len(waited)


def test_a_band_that_came_and_went_between_two_scrapes_is_counted(world):
    """Nobody looked while it existed, and not a second of its waiting is lost."""
    core = controller(A, now=0.0)
    core.handle(request(1), 0.0)
    core.handle(request(2, priority=7), 1.0)
    core.handle(Cancelled(2), 4.0)
    world.statistics = core.statistics(4.0)
    assert [band.priority for band in world.statistics.bands] == [0]
    assert world.value(WAITS, inference_pool="pool", priority="7", reason="no_room") == pytest.approx(3.0)


def test_too_many_priorities_share_a_name_and_lose_nothing(world):
    """The number of series is bounded, the seconds are all there."""
    world.set(bands=tuple(band(priority, waits={WaitReason.NO_ROOM: 1.0}) for priority in range(10)))
    sums = totals_by_priority(world.statistics, PriorityNames(3))
    assert sums == {"0": 1.0, "1": 1.0, "2": 1.0, OTHER: 7.0}


def test_too_many_priorities_have_no_gauges_of_their_own():
    """Two samples with the same labels would void the whole page."""
    world = World(label_limit=3)
    world.set(bands=tuple(band(priority, requests=1) for priority in range(10)))
    shown = {labels["priority"] for labels, _ in world.rows("epp_band_queue_size")}
    assert shown == {"0", "1", "2"}


def test_how_a_band_stands(world):
    """Each figure of the snapshot is under its name."""
    world.set(
        bands=(band(4, requests=3, size_bytes=70, oldest_wait_s=1.5, ceiling=0.8, drain_rate=2.5),),
    )
    labels = {"inference_pool": "pool", "priority": "4"}
    assert world.value("epp_band_queue_size", **labels) == 3
    assert world.value("epp_band_queue_bytes", **labels) == 70
    assert world.value("epp_band_oldest_wait_seconds", **labels) == 1.5
    assert world.value("epp_band_ceiling", **labels) == 0.8
    assert world.value("epp_band_drain_rate", **labels) == 2.5


def test_what_a_band_expects_and_who_makes_it_up(world):
    """Waits to come, the least that refused clients are told, minted flows and tenants at their own cap."""
    world.set(
        bands=(
            band(
                4,
                running_requests=6,
                in_use=False,
                expected_wait_s=12.5,
                retry_floor_s=8.0,
                flows_created=900,
                overflowed_requests=70,
                flows=(flow("a", 4, at_cap=True), flow("b", 4), flow("c", 4, at_cap=True)),
            ),
            band(0),
        ),
        known_flows=41,
        known_models=3,
    )
    labels = {"inference_pool": "pool", "priority": "4"}
    assert world.value("epp_band_running_requests", **labels) == 6
    assert world.value("epp_band_in_use", **labels) == 0
    assert world.value("epp_expected_wait_seconds", **labels) == 12.5
    assert world.value("epp_retry_floor_seconds", **labels) == 8
    assert world.value("epp_flows_created_total", **labels) == 900
    assert world.value("epp_overflowed_requests_total", **labels) == 70
    assert world.value("epp_flows_at_cap", **labels) == 2
    assert world.value("epp_known_flows", inference_pool="pool") == 41
    assert world.value("epp_known_models", inference_pool="pool") == 3
    assert [row["priority"] for row, _ in world.rows("epp_expected_wait_seconds")] == ["4"]


def test_made_up_ids_show(world):
    """Over a real core: every id is a flow that came to be, until newcomers share one; tenants who stay add none."""
    core = controller(A, now=0.0, max_flows=20)
    core.handle(request(0), 0.0)
    labels = {"inference_pool": "pool", "priority": "0"}
    for number in range(1, 100):
        core.handle(request(number, tenant=f"made-up-{number}"), 1.0)
    world.statistics = core.statistics(2.0)
    created = world.value("epp_flows_created_total", **labels)
    assert 20 <= created <= 22
    assert world.value("epp_overflowed_requests_total", **labels) == 99 - 20
    assert world.value("epp_overflowed_flows", inference_pool="pool") == 79
    for number in range(100, 200):
        core.handle(request(number, tenant="made-up-1"), 3.0)
    world.statistics = core.statistics(3.0)
    assert world.value("epp_flows_created_total", **labels) == created
    assert world.value("epp_overflowed_requests_total", **labels) == 79


def test_who_gave_way(world):
    """Queued ones by what they made room for, running ones by demand and by what came of it."""
    world.set(
        displaced_requests={DisplacedBy.SMALLER_FLOW: 3},
        evictions=EvictionStatistics({10: 5, 0: 1}, confirmed=3, timed_out=1, outstanding=2),
    )
    causes = {labels["cause"]: value for labels, value in world.rows("epp_displaced_requests_total")}
    assert causes == {"higher_priority": 0, "smaller_flow": 3}
    issued = "llm_d_epp_flow_control_revocations_issued_total"
    assert world.value(issued, inference_pool="pool", priority="10") == 5
    rows = world.rows("llm_d_epp_flow_control_revocations_total")
    assert {labels["outcome"]: value for labels, value in rows} == {"confirmed": 3, "timed_out": 1}
    assert world.value("epp_pending_evictions", inference_pool="pool") == 2


def test_limits_that_endpoints_have_and_would_learn(world):
    """Only where there is one: no limit is not a limit of 0."""
    world.set(
        endpoints=(
            endpoint(stated_limit=8),
            endpoint("10.0.0.2:8000", learned_limit=12.5),
            endpoint("10.0.0.3:8000"),
        )
    )
    for name, address, value in (
        ("epp_endpoint_limit", "10.0.0.1:8000", 8),
        ("epp_endpoint_learned_limit", "10.0.0.2:8000", 12.5),
    ):
        assert world.rows(name) == [({"inference_pool": "pool", "endpoint": address}, value)]


def test_how_an_endpoint_stands(world):
    """Each figure of the snapshot is under its name, by address."""
    world.set(
        endpoints=(
            endpoint(own_requests=3, own_tokens=900, foreign_requests=2, saturation=1.25, has_room=False),
            endpoint("10.0.0.2:8000", knowledge=Knowledge.STALE),
        )
    )
    labels = {"inference_pool": "pool", "endpoint": "10.0.0.1:8000"}
    assert world.value("epp_endpoint_inflight_requests", **labels) == 3
    assert world.value("epp_endpoint_inflight_tokens", **labels) == 900
    assert world.value("epp_endpoint_foreign_requests", **labels) == 2
    assert world.value("epp_endpoint_saturation", **labels) == 1.25
    assert world.value("epp_endpoint_has_room", **labels) == 0
    states = {labels["state"]: value for labels, value in world.rows("epp_endpoint_knowledge")}
    assert states == {"fresh": 1, "stale": 1, "unknown": 0}


def test_two_endpoints_with_one_address_are_one_series(world):
    """A pod and its successor may be listed together for a moment; the page stays valid."""
    world.set(endpoints=(endpoint(name="old", own_requests=1), endpoint(name="new", own_requests=2)))
    assert [value for _, value in world.rows("epp_endpoint_inflight_requests")] == [2]


def test_the_core_as_a_whole(world):
    """Promised idleness, ceilings, running requests, flows and lanes are shown as the core counts them."""
    world.set(
        bands=(band(1, flows=(flow("a", 1), flow("b", 1))), band(0, flows=(flow("a"),))),
        running_requests=9,
        lanes=2,
        overflowed_flows=4,
        idle_eligible_slot_s=0.0,
        ceiling_slot_s=3.5,
        policy_faults={("mine", "ValueError"): 2},
    )
    assert world.value("epp_running_requests", inference_pool="pool") == 9
    assert world.value("epp_flows", inference_pool="pool") == 3
    assert world.value("epp_lanes", inference_pool="pool") == 2
    assert world.value("epp_overflowed_flows", inference_pool="pool") == 4
    assert world.value("epp_idle_eligible_slot_seconds_total", inference_pool="pool") == 0
    assert world.value("epp_ceiling_idle_slot_seconds_total", inference_pool="pool") == 3.5
    faults = {"inference_pool": "pool", "policy": "mine", "fault": "ValueError"}
    assert world.value("epp_policy_faults_total", **faults) == 2


def test_faults_without_end_share_a_name():
    """A policy that raises a new kind of error every time can't make series without end."""
    world = World(label_limit=3)
    world.set(policy_faults={("mine", f"Error{number}"): 1 for number in range(50)})
    rows = world.rows("epp_policy_faults_total")
    assert len(rows) == 4
    assert sum(value for _, value in rows) == 50


def test_what_the_shell_counts(world):
    """Refusals by their exact reason, responses by their end, headers, objectives, overflows."""
    world.served()
    world.metrics.header_ignored("x-llm-d-inference-ttl")
    world.metrics.objective_unknown()
    world.metrics.objective_unknown()
    world.seen().undelivered(waited_s=0.1)
    assert world.value("epp_responses_total", inference_pool="pool", outcome="completed") == 1
    assert world.value("epp_ignored_headers_total", header="x-llm-d-inference-ttl") == 1
    assert world.value("epp_unknown_objectives_total") == 2
    assert world.value("epp_undelivered_total", inference_pool="pool") == 1
    assert world.value("epp_label_overflow_total", label="fairness_id") == 0
    assert world.value("epp_new_tenants_total", inference_pool="pool") == 1
