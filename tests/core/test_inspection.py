"""Inspection: stories that come true, lists that lose nothing, and nobody who notices that somebody looked."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from epp.core import Controller, inspection
from epp.core import turns as turns_module
from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from epp.core.eligibility import Subset
from epp.core.endpoint import Contact
from epp.core.events import Ended, EndpointsChanged, FirstByte, ObjectivesChanged, Scraped, Tick
from epp.core.eviction import EvictionPolicy
from epp.core.fairness import GlobalStrictFairness, RoundRobinFairness, TokenFairness
from epp.core.insight import Obstacle, PositionBasis, QueuedStory, RunningEntry, UnknownStory
from epp.core.ordering import EdfOrdering, FcfsOrdering
from epp.core.policy import BandPolicy
from epp.core.statistics import WaitReason
from tests.core.building import A, B, C, controller, dispatched, endpoint, policy, request, scraped
from tests.core.policies import (
    HONEST,
    BrokenCapacity,
    BrokenFairness,
    BrokenOrdering,
    CheapestFirst,
    SteepCeiling,
)
from tests.core.storm import Storm, Weather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.insight import EndpointEntry, FlowEntry, Page, QueuedEntry

ON_A = Subset.of([A.address])
CAPPED = policy(
    capacity=ConcurrencyDetector(max_concurrency=3),
    default_band=BandPolicy(TokenFairness(), FcfsOrdering(), flow_max_in_flight=2),
)


# ------------------------------------------------------------------------------------------------------- the pages


def all_flows(core: Controller, limit: int, between: Callable[[], object] = lambda: None) -> list[Any]:
    """Every page of flows, put together."""
    return list(pages(lambda after: inspection.flows(core, after=after, limit=limit), _flow_key, between))


def all_running(
    core: Controller, now: float, limit: int, between: Callable[[], object] = lambda: None
) -> list[Any]:
    """Every page of running requests."""

    def page(after: Any) -> Page[Any]:
        return inspection.running(core, now, limit=limit, after=-1 if after is None else after)

    return list(pages(page, lambda entry: entry.request_id, between))


def all_endpoints(
    core: Controller, now: float, limit: int, between: Callable[[], object] = lambda: None
) -> list[Any]:
    """Every page of endpoints."""

    def page(after: Any) -> Page[Any]:
        return inspection.endpoints(core, now, after=after, limit=limit)

    return list(pages(page, lambda entry: (entry.address, entry.uid), between))


def all_bands(core: Controller, now: float, limit: int) -> list[Any]:
    """Every page of bands."""
    return list(
        pages(
            lambda below: inspection.bands(core, now, below=below, limit=limit), lambda entry: entry.priority
        )
    )


def all_queued(
    core: Controller, now: float, limit: int, between: Callable[[], object] = lambda: None, **filters: Any
) -> list[QueuedEntry]:
    """Every page of queued requests."""
    found: list[QueuedEntry] = []
    after = 0
    while True:
        page, after = inspection.queued(core, now, after_sequence=after, limit=limit, **filters)
        assert len(page.entries) <= limit
        found += page.entries
        if not page.more:
            return found
        between()


def pages(
    page_after: Callable[[Any], Page[Any]],
    key: Callable[[Any], Any],
    between: Callable[[], object] = lambda: None,
) -> Iterator[Any]:
    """The entries of one page after the other."""
    after = None
    while True:
        page = page_after(after)
        yield from page.entries
        if not page.more:
            return
        after = key(page.entries[-1])
        between()


def _flow_key(entry: FlowEntry) -> tuple[int, str]:
    return entry.priority, entry.fairness_id


@pytest.mark.parametrize("seed", range(4))
def test_pages_put_together_are_everything_once(seed: int) -> None:
    """Whatever a page's size, the lists hold what there is: nothing twice, nothing left out, in their order."""
    core = Controller(policy(), now=0.0)
    storm = Storm(core.handle, seed=seed, weather=Weather(policies=HONEST))
    for step in range(300):
        storm.step()
        now, limit = storm.now, 1 + step % 7
        queued = all_queued(core, now, limit)
        assert sorted(entry.request_id for entry in queued) == sorted(storm.queued)
        assert [entry.sequence for entry in queued] == sorted(entry.sequence for entry in queued)
        assert [entry.request_id for entry in all_running(core, now, limit)] == sorted(storm.running)
        snapshot = core.statistics(now)
        flows = all_flows(core, limit)
        assert {_flow_key(entry): entry.queued_requests for entry in flows if entry.queued_requests} == {
            (flow.priority, flow.fairness_id): flow.queued_requests
            for band in snapshot.bands
            for flow in band.flows
        }
        assert [_flow_key(entry) for entry in flows] == sorted(
            {_flow_key(entry) for entry in flows}, key=lambda each: (-each[0], each[1])
        )
        assert sum(entry.in_flight for entry in flows) <= len(storm.running)
        bands = all_bands(core, now, limit)
        assert [(entry.priority, entry.queued_requests, entry.ceiling) for entry in bands] == [
            (band.priority, band.queued_requests, band.ceiling) for band in snapshot.bands
        ]
        listed = all_endpoints(core, now, limit)
        assert [(entry.address, entry.uid) for entry in listed] == sorted(
            each.view.spec.key for each in snapshot.endpoints
        )


@pytest.mark.parametrize("seed", range(3))
def test_pages_under_change_show_nothing_twice_and_all_that_stayed(seed: int) -> None:
    """While requests, flows and endpoints come and go between pages, whatever was there all the time is shown once."""
    core = Controller(policy(), now=0.0)
    storm = Storm(core.handle, seed=seed, weather=Weather(policies=HONEST, tenants=tuple("abcdefghij")))
    storm.run(50)
    for _ in range(40):
        storm.run(3)
        stayed: list[set[Any]] = []

        def shown(
            look: Callable[[Callable[[], object]], list[Any]],
            there: Callable[[], set[Any]],
            key: Callable[[Any], Any],
            stayed: list[set[Any]] = stayed,
        ) -> None:
            stayed[:] = [there()]

            def between() -> None:
                storm.step()
                stayed.append(there())

            keys = [key(entry) for entry in look(between)]
            assert len(keys) == len(set(keys))
            assert set.intersection(*stayed) <= set(keys)

        shown(
            lambda between: all_queued(core, storm.now, 2, between),
            lambda: set(storm.queued),
            lambda entry: entry.request_id,
        )
        shown(
            lambda between: all_running(core, storm.now, 1, between),
            lambda: set(storm.running),
            lambda entry: entry.request_id,
        )
        shown(
            lambda between: all_endpoints(core, storm.now, 1, between),
            lambda: {each.view.spec.key for each in core.statistics(storm.now).endpoints},
            lambda entry: (entry.address, entry.uid),
        )
        shown(
            lambda between: all_flows(core, 2, between),
            lambda: {
                (flow.priority, flow.fairness_id)
                for band in core.statistics(storm.now).bands
                for flow in band.flows
            },
            _flow_key,
        )


def test_filters_show_what_they_name() -> None:
    """By band, by tenant and by both; a tenant also by the name that is shown for it."""
    core = controller(A)
    core.handle(ObjectivesChanged(frozenset({5})), 0.0)
    for number in range(1, 30):
        core.handle(request(number, 5 * (number % 2), f"tenant-{number % 3}"), 0.0)
    everything = all_queued(core, 1.0, 5)
    for priority in (None, 0, 5, 7):
        for tenant in (None, "tenant-1", "shown tenant-1", "nobody"):
            found = all_queued(
                core, 1.0, 3, priority=priority, fairness_id=tenant, naming=lambda name: f"shown {name}"
            )
            assert [entry.request_id for entry in found] == [
                entry.request_id
                for entry in everything
                if priority in {None, entry.priority}
                and (tenant is None or tenant.removeprefix("shown ") == entry.fairness_id)
            ]
    for chosen in (0, 5, 7):
        page = inspection.flows(core, chosen, limit=10)
        assert {entry.priority for entry in page.entries} == ({chosen} if chosen != 7 else set())


def test_a_filter_looks_at_so_many_requests_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may be empty and yet have a next one, so a filter that nothing passes stalls nobody."""
    monkeypatch.setattr(inspection, "MOST_LOOKS", 10)
    core = controller(A)
    for number in range(1, 102):
        core.handle(request(number, tenant="rare" if number == 95 else "usual"), 0.0)
    page, last = inspection.queued(core, 0.0, fairness_id="rare", limit=50)
    assert (page.entries, page.more) == ((), True)
    page, after = inspection.queued(core, 0.0, fairness_id="rare", after_sequence=last, limit=50)
    assert after - last == 10
    assert [entry.request_id for entry in all_queued(core, 0.0, 50, fairness_id="rare")] == [95]


def test_a_page_of_endpoints_shrinks_with_the_number_of_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ceiling's room is explained, so many ceilings make a page shorter, not longer in the making."""
    monkeypatch.setattr(inspection, "MOST_ROOMS", 6)
    pool = [endpoint(number) for number in range(1, 9)]
    core = controller(*pool, ceiling=SteepCeiling())
    for number, priority in enumerate((5, 0, -5)):
        core.handle(request(number, priority, eligibility=ON_A), 0.0)
    page = inspection.endpoints(core, 0.0, limit=100)
    assert (len(page.entries), page.more) == (2, True)
    assert len(all_endpoints(core, 0.0, 100)) == 8


# ----------------------------------------------------------------------------------------------------- the stories


def story(core: Controller, request_id: int, now: float = 0.0) -> QueuedStory:
    """The story of a request that must be queued."""
    told = inspection.story(core, request_id, now)
    assert isinstance(told, QueuedStory)
    return told


@pytest.mark.parametrize(
    "fairness", [RoundRobinFairness(), GlobalStrictFairness(), TokenFairness()], ids=lambda each: each.name
)
@pytest.mark.parametrize("ordering", [FcfsOrdering(), EdfOrdering(), CheapestFirst()], ids=lambda e: e.name)
@pytest.mark.parametrize("seed", range(3))
def test_positions_come_true(fairness: Any, ordering: Any, seed: int) -> None:
    """If nobody else comes, requests are dispatched in the order that their positions said."""
    random = Random(seed)
    core = controller(A, default_band=BandPolicy(fairness, ordering))
    for number in range(1, 41):
        core.handle(
            request(
                number,
                tenant=random.choice("aaabbc"),
                charge_tokens=random.randrange(1, 50),
                eligibility=random.choice((ON_A, Subset.of([A.address, B.address]), Subset.of([A.host]))),
                ttl_s=random.choice((None, 20.0, 30.0)),
                need=0 if number % 10 == 0 else 1,
            ),
            number / 100,
        )
    (running,) = {1}
    positions = {
        entry.request_id: story(core, entry.request_id, 1.0).position for entry in all_queued(core, 1.0, 9)
    }
    told = sorted(positions, key=lambda each: positions[each])
    assert sorted(positions.values()) == list(range(len(told)))
    came = []
    while told[len(came) :]:
        assert story(core, told[len(came)], 1.0).position == 0
        (running,) = dispatched(core.handle(Ended(running), 1.0))
        came.append(running)
    assert came == told


def test_the_first_of_the_highest_band_goes_next() -> None:
    """Whoever is told that nobody is before it, in no band, is the next to go."""
    core = controller(A, B)
    weather = Weather(
        subset_share=0.0, bodiless_share=0.0, largest_burst=12, weights={"end": 20.0, "empty": 0.0}
    )
    storm = Storm(core.handle, seed=5, weather=weather)
    proven = 0
    for _ in range(600):
        storm.step()
        firsts = [
            entry.request_id
            for entry in all_queued(core, storm.now, 500)
            if (told := story(core, entry.request_id, storm.now)).position == 0
            and told.ahead_in_higher_bands == 0
        ]
        if not storm.running or not storm.queued:
            continue
        assert len(firsts) == 1
        went = dispatched(core.handle(Ended(running := storm.running[0]), storm.now))
        storm.running.remove(running)
        for each in went:
            storm.queued.remove(each)
            storm.running.append(each)
        if went:
            assert went[0] == firsts[0]
            proven += 1
    assert proven > 50


def test_a_long_way_back_the_position_is_by_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where telling turns would take too long, the requests that came before are counted, and it is said so."""
    monkeypatch.setattr(turns_module, "MOST_TURNS", 10)
    core = controller(A)
    for number in range(40):
        core.handle(request(number, tenant=f"tenant-{number % 2}"), 0.0)
    near, far = story(core, 10), story(core, 39)
    assert (near.position, near.position_basis) == (9, PositionBasis.TURNS)
    assert (far.position, far.position_basis) == (38, PositionBasis.ARRIVAL)
    for number in range(40, 60):
        core.handle(request(number, tenant=f"tenant-{number}"), 0.0)
    many_flows = story(core, 10)
    assert (many_flows.position, many_flows.position_basis) == (9, PositionBasis.ARRIVAL)


def test_a_queued_request_tells_where_it_stands() -> None:
    """Its flow, its place, what it waits for, and what is left of both of its budgets."""
    core = controller(A, B, ttl_s=30.0, hold_s=20.0, default_band=BandPolicy(TokenFairness(), FcfsOrdering()))
    core.handle(ObjectivesChanged(frozenset({5})), 0.0)
    core.handle(request(1, eligibility=ON_A, charge_tokens=70), 0.0)
    core.handle(request(2, tenant="other", charge_tokens=50), 0.0)
    core.handle(request(3, 5, eligibility=ON_A), 1.0)
    core.handle(request(4, tenant="other"), 2.0)
    core.handle(request(5, eligibility=ON_A, ttl_s=9.0, charge_tokens=33, model="llama"), 3.0)
    told = story(core, 5, 7.0)
    entry = told.request
    assert (entry.request_id, entry.priority, entry.fairness_id, entry.flow) == (5, 0, "tenant", "tenant")
    assert (entry.sequence, entry.model, entry.input_tokens, entry.output_tokens) == (5, "llama", 33, 0)
    assert (entry.arrived_at_s, entry.waited_s, entry.ttl_left_s, entry.hold_left_s) == (3.0, 4.0, 5.0, 9.0)
    assert (entry.eligible_endpoints, entry.endpoints_with_room) == (1, 0)
    assert entry.wait_reason is WaitReason.HIGHER_PRIORITY
    assert (told.position, told.ahead_in_higher_bands) == (1, 1)
    assert (told.flow.fairness_id, told.flow.queued_requests, told.flow.in_flight) == ("tenant", 1, 1)
    assert (told.position_in_flow, told.position_at_entry) == (0, 2)
    assert told.blocked_at_entry is WaitReason.HIGHER_PRIORITY
    core.handle(EndpointsChanged(()), 7.0)
    assert story(core, 5, 9.0).request.hold_left_s == 7.0
    assert story(core, 5, 9.0).request.ttl_left_s == 5.0


def test_a_running_request_tells_where_it_runs() -> None:
    """Its endpoint, how long it waited and has run, and what it was charged."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(request(2, 0, "ada", charge_tokens=40, model="llama"), 1.0)
    core.handle(Ended(1), 4.0)
    told = inspection.story(core, 2, 10.0)
    assert isinstance(told, RunningEntry)
    assert (told.request_id, told.priority, told.flow, told.model) == (2, 0, "ada", "llama")
    assert (told.endpoint, told.prefill_endpoint) == (A.address, None)
    assert (told.dispatched_at_s, told.running_s, told.waited_s) == (4.0, 6.0, 3.0)
    assert (told.charge_tokens, told.cost) == (40, 1.0)
    assert (told.first_byte_seen, told.being_evicted) == (None, False)


def test_nobody_knows_a_request_that_ended_or_never_was() -> None:
    """Both are told apart from what is there, not from each other."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(Ended(1), 0.0)
    assert inspection.story(core, 1, 0.0) == UnknownStory(1)
    assert inspection.story(core, 99, 0.0) == UnknownStory(99)


def test_an_estimate_needs_a_pace() -> None:
    """Nobody can say how long it takes if nothing left the queue lately; else it follows from what is ahead."""
    core = controller(A)
    for number in range(1, 20):
        core.handle(request(number), 0.0)
    near, far = story(core, 2, 1.0).estimated_wait_s, story(core, 19, 1.0).estimated_wait_s
    assert near is not None
    assert far is not None
    assert 0.0 < near < far
    assert story(core, 2, 40.0).estimated_wait_s is None
    core.handle(EndpointsChanged(()), 1.0)
    assert story(core, 2, 1.0).estimated_wait_s is None


def test_a_flow_tells_what_it_was_charged() -> None:
    """Its tag, and how far that is ahead: the one that had least goes next."""
    core = controller(A, default_band=BandPolicy(TokenFairness(), FcfsOrdering()))
    for number, tenant, tokens in ((1, "ada", 10), (2, "ada", 70), (3, "bob", 5), (4, "ada", 1)):
        core.handle(request(number, tenant=tenant, charge_tokens=tokens), 0.0)
    assert dispatched(core.handle(Ended(1), 1.0)) == [2]
    ada, bob = story(core, 4).flow, story(core, 3).flow
    assert (ada.tag - bob.tag, ada.lead - bob.lead) == (70.0, 70.0)
    assert (ada.in_flight, bob.in_flight) == (1, 0)
    assert (story(core, 4).position, story(core, 4).position_in_flow) == (1, 0)
    assert dispatched(core.handle(Ended(2), 2.0)) == [3]


def test_a_flow_at_its_cap_holds_its_requests_back() -> None:
    """They wait for one of their own to end, and nobody can say how long; others pass them."""
    core = controller(
        A, B, default_band=BandPolicy(RoundRobinFairness(), FcfsOrdering(), flow_max_in_flight=1)
    )
    for number, tenant in ((1, "ada"), (2, "ada"), (3, "bob"), (4, "ada"), (5, "cyd")):
        core.handle(request(number, tenant=tenant), 0.0)
    held = story(core, 4)
    assert held.request.wait_reason is WaitReason.FLOW_CAP
    assert (held.flow.capped, held.flow.in_flight, held.position_in_flow) == (True, 1, 1)
    assert (held.position, held.position_basis) == (1, PositionBasis.ARRIVAL)
    assert held.estimated_wait_s is None
    free = story(core, 5)
    assert (free.position, free.position_basis) == (0, PositionBasis.TURNS)
    assert free.request.wait_reason is WaitReason.NO_ROOM
    assert dispatched(core.handle(Ended(3), 1.0)) == [5]


def test_tenants_that_share_a_flow_are_counted() -> None:
    """The overflow flow says how many it stands for; requests say whose they are, and in which flow."""
    core = controller(A, max_flows=1)
    for number, tenant in enumerate(("ada", "ada", "bob", "cyd", "cyd")):
        core.handle(request(number, tenant=tenant), 0.0)
    flows = {entry.fairness_id: entry.tenants for entry in all_flows(core, 10)}
    assert flows == {"ada": 1, "overflow": 2}
    assert (story(core, 3).request.fairness_id, story(core, 3).request.flow) == ("cyd", "overflow")


def test_a_pair_of_endpoints_is_told() -> None:
    """Whoever needs two says so while it waits, and where both are until its prompt is processed."""
    core = controller(A, B, eviction=EvictionPolicy())
    for number in (1, 2):
        core.handle(request(number, prefill=Subset.of([B.address]), eligibility=ON_A), 0.0)
    assert story(core, 2).request.needs_prefill_endpoint
    running = inspection.story(core, 1, 0.0)
    assert isinstance(running, RunningEntry)
    assert (running.endpoint, running.prefill_endpoint, running.first_byte_seen) == (
        A.address,
        B.address,
        False,
    )
    core.handle(FirstByte(1), 1.0)
    running = inspection.story(core, 1, 1.0)
    assert isinstance(running, RunningEntry)
    assert (running.prefill_endpoint, running.first_byte_seen) == (None, True)


def test_whoever_has_to_give_way_says_so() -> None:
    """A running request that was told to end for a higher one."""
    core = controller(A, eviction=EvictionPolicy(below_priority=1))
    core.handle(request(1), 0.0)
    core.handle(request(2, 5), 0.0)
    told = inspection.story(core, 1, 0.0)
    assert isinstance(told, RunningEntry)
    assert told.being_evicted


# ----------------------------------------------------------------------------------------------------- the reasons


@pytest.mark.parametrize("seed", range(4))
def test_reasons_are_those_that_the_time_is_booked_under(seed: int) -> None:
    """Over random storms every queued second is booked under the reason that was told of the request."""
    core = Controller(policy(), now=0.0)
    last_s = 0.0
    told: set[WaitReason] = set()

    def handle(event: Event, now: float) -> list[Action]:
        nonlocal last_s
        elapsed_s = now - last_s
        expected: Counter[tuple[int, WaitReason]] = Counter()
        if elapsed_s > 0:
            for entry in all_queued(core, last_s, 1000):
                expected[entry.priority, entry.wait_reason] += 1
        before = booked(core, now)
        actions = core.handle(event, now)
        after = booked(core, now)
        for key in after.keys() | expected.keys():
            grown = after.get(key, 0.0) - before.get(key, 0.0)
            assert grown == pytest.approx(expected[key] * elapsed_s, abs=1e-6), (key, event)
        told.update(reason for _, reason in expected)
        last_s = now
        return actions

    weather = Weather(policies=(*HONEST, CAPPED), oversleeping=0.2, largest_burst=80, weights={"burst": 1.0})
    Storm(handle, seed=seed, weather=weather).run(400)
    assert told >= {WaitReason.HIGHER_PRIORITY, WaitReason.SAME_BAND, WaitReason.NO_ROOM}


def booked(core: Controller, now: float) -> dict[tuple[int, WaitReason], float]:
    """Queued seconds by priority and reason."""
    snapshot = core.statistics(now)
    accounts = dict(snapshot.retired_wait_s) | {band.priority: band.wait_s for band in snapshot.bands}
    return {
        (priority, reason): seconds
        for priority, by_reason in accounts.items()
        for reason, seconds in by_reason.items()
    }


def rooms(core: Controller, now: float = 0.0) -> dict[str, EndpointEntry]:
    """The endpoints by address."""
    return {entry.address: entry for entry in all_endpoints(core, now, 100)}


def test_an_endpoint_tells_which_bands_have_room_and_why_others_have_none() -> None:
    """Room that a ceiling keeps is told apart from an endpoint that is full."""
    core = controller(A, B, capacity=ConcurrencyDetector(max_concurrency=2), ceiling=SteepCeiling())
    core.handle(ObjectivesChanged(frozenset({5})), 0.0)
    core.handle(request(1, 0, eligibility=ON_A), 0.0)
    by_priority = {priority: room for room in rooms(core)[A.address].rooms for priority in room.priorities}
    assert (by_priority[5].has_room, by_priority[5].obstacles) == (True, ())
    assert (by_priority[0].has_room, by_priority[0].obstacles) == (False, (Obstacle.CEILING,))
    core.handle(request(2, 5, eligibility=ON_A), 0.0)
    assert [room.obstacles for room in rooms(core)[A.address].rooms] == [(Obstacle.REQUESTS,)] * 2
    assert [room.has_room for room in rooms(core)[B.address].rooms] == [True, True]


def test_an_engine_that_is_full_says_of_what() -> None:
    """Queue and cache of the engine are told apart, and so is an endpoint that nothing is known of."""
    core = controller(A, B, C, capacity=UtilizationDetector(queue_depth_threshold=2))
    core.handle(scraped(A, 0.0, waiting=4, kv_utilization=0.9), 0.0)
    core.handle(scraped(B, 0.0, waiting=2, running=7), 0.0)
    for number in range(1, 4):
        core.handle(request(number, eligibility=Subset.of([C.address])), 0.0)
    found = rooms(core)
    assert found[A.address].rooms[0].obstacles == (Obstacle.KV_CACHE, Obstacle.ENGINE_QUEUE)
    assert found[B.address].rooms[0].obstacles == (Obstacle.ENGINE_QUEUE,)
    assert found[C.address].rooms[0].obstacles == (Obstacle.OWN_ACCOUNTING,)
    assert (found[A.address].sample_age_s, found[C.address].sample_age_s) == (0.0, None)
    assert (found[B.address].engine_waiting, found[B.address].engine_running) == (2, 7)


def test_an_endpoint_on_which_nobody_listens_is_shunned() -> None:
    """And says so, though by its numbers it has room."""
    core = controller(A, B)
    core.handle(Scraped(A.key, 0.0, 0.0, None, Contact.REFUSED), 0.0)
    assert rooms(core)[A.address].rooms[0].obstacles == (Obstacle.SHUNNED,)
    assert rooms(core)[B.address].rooms[0].has_room


@pytest.mark.parametrize("seed", range(4))
def test_whoever_has_no_room_has_an_obstacle(seed: int) -> None:
    """Over random storms, and whatever the policies, an endpoint has room or says why not, and never both."""
    core = Controller(policy(), now=0.0)
    storm = Storm(
        core.handle, seed=seed, weather=Weather(policies=(*HONEST, policy(capacity=BrokenCapacity())))
    )
    for _ in range(400):
        storm.step()
        for entry in all_endpoints(core, storm.now, 100):
            assert [room.ceiling for room in entry.rooms] == sorted(
                (room.ceiling for room in entry.rooms), reverse=True
            )
            for room in entry.rooms:
                assert bool(room.obstacles) is not room.has_room


# --------------------------------------------------------------------------------------------------- nobody notices


def test_looking_changes_nothing() -> None:
    """Two pickers meet the same storm, one is looked at all the time: same actions, same counters, same faults."""
    alone, watched = (Controller(policy(), now=0.0) for _ in range(2))
    broken = policy(
        capacity=BrokenCapacity(),
        default_band=BandPolicy(BrokenFairness(), BrokenOrdering()),
    )

    def handle(event: Event, now: float) -> list[Action]:
        actions = watched.handle(event, now)
        look_at_everything(watched, now)
        assert actions == alone.handle(event, now)
        assert watched.statistics(now) == alone.statistics(now)
        return actions

    storm = Storm(handle, seed=3, weather=Weather(policies=(*HONEST, broken)))
    storm.run(400)
    watched.check()


def test_who_looks_moves_no_rate() -> None:
    """Somebody who looks in the middle of a long silence changes nothing of what is told after it."""
    alone, watched = (controller(A, hold_s=0.0, ttl_s=0.0) for _ in range(2))
    for core in (alone, watched):
        for number in range(1, 30):
            core.handle(request(number), 0.0)
        for number in range(1, 10):
            core.handle(Ended(number), 0.5)
    for now in (12.0, 24.0):
        look_at_everything(watched, now)
        watched.statistics(now)
    for core in (alone, watched):
        for number in range(10, 12):
            core.handle(Ended(number), 25.0)
    assert story(alone, 29, 26.0) == story(watched, 29, 26.0)


def look_at_everything(core: Controller, now: float) -> None:
    """Every list and every story."""
    all_bands(core, now, 100)
    all_flows(core, 100)
    all_running(core, now, 100)
    all_endpoints(core, now, 100)
    for entry in all_queued(core, now, 100)[:20]:
        inspection.story(core, entry.request_id, now)


def test_a_tick_later_the_story_goes_on() -> None:
    """Waiting gets longer and budgets shorter as time passes, whether or not the core has heard of it."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(request(2), 0.0)
    early, late = story(core, 2, 1.0).request, story(core, 2, 5.0).request
    assert (early.waited_s, late.waited_s) == (1.0, 5.0)
    core.handle(Tick(), 5.0)
    assert story(core, 2, 5.0).request == late
