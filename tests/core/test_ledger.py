"""The ledger, through the controller: loads, foreign work, incarnations, knowledge, and asking early."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from epp.core.endpoint import EndpointView, Knowledge
from epp.core.events import Cancelled, DeliveryFailed, Ended, EndpointsChanged, PolicyChanged, Scraped, Tick
from tests.core.building import (
    A,
    B,
    asked,
    controller,
    destinations,
    dispatched,
    endpoint,
    policy,
    request,
    sample,
    scraped,
    wake_s,
)
from tests.core.turns import ON_A

if TYPE_CHECKING:
    from epp.core import Controller

UTILIZATION = UtilizationDetector()


def view(core: Controller, address: str = A.address, now: float = 0.0) -> EndpointView:
    """What policies see of an endpoint."""
    return next(each.view for each in core.statistics(now).endpoints if each.view.spec.address == address)


# ----------------------------------------------------------------------------------- reservations


def test_a_dispatch_is_a_reservation_in_the_same_step() -> None:
    """Of several newcomers in a row no two take one slot: room is gone before the next is decided."""
    core = controller(A, B)
    sent: dict[int, str] = {}
    for number in range(3):
        sent |= destinations(core.handle(request(number), 0.0))
    assert sent == {0: A.address, 1: B.address}


@pytest.mark.parametrize("end", [Ended, Cancelled, DeliveryFailed])
def test_every_end_gives_the_slot_back_once(end: type[Ended | Cancelled | DeliveryFailed]) -> None:
    """However a running request ends, its slot is free in the same call, and a second end changes nothing."""
    core = controller(A)
    core.handle(request(1, charge_tokens=7), 0.0)
    core.handle(request(2, charge_tokens=3), 0.0)
    assert (view(core).own_requests, view(core).own_tokens) == (1, 7)
    assert dispatched(core.handle(end(1), 1.0)) == [2]
    for again in (Ended(1), Cancelled(1), DeliveryFailed(1)):
        core.handle(again, 2.0)
    assert (view(core).own_requests, view(core).own_tokens) == (1, 3)


def test_a_request_without_a_body_weighs_nothing() -> None:
    """It is dispatched to a full endpoint and counts neither as a request nor as tokens."""
    core = controller(A)
    core.handle(request(1), 0.0)
    assert dispatched(core.handle(request(2, need=0, charge_tokens=9), 0.0)) == [2]
    assert (view(core).own_requests, view(core).own_tokens) == (1, 1)
    core.handle(Ended(2), 0.0)
    assert view(core).own_requests == 1


def test_a_stranger_on_the_same_address_is_another_endpoint() -> None:
    """A pod that is replaced on its address starts empty, and the old one's ends don't touch it."""
    core = controller(endpoint(1, uid="old"))
    core.handle(request(1), 0.0)
    core.handle(EndpointsChanged((endpoint(1, uid="new"),)), 1.0)
    assert view(core).own_requests == 0
    assert dispatched(core.handle(request(2), 1.0)) == [2]
    assert dispatched(core.handle(request(3), 1.0)) == []
    assert dispatched(core.handle(Ended(1), 2.0)) == []
    assert view(core).own_requests == 1
    assert dispatched(core.handle(Ended(2), 3.0)) == [3]


def test_a_flapping_endpoint_keeps_what_runs_on_it() -> None:
    """A pod that is unready for a moment comes back with its reservations, so it isn't filled twice."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(EndpointsChanged(()), 1.0)
    core.handle(request(2), 1.0)
    assert dispatched(core.handle(EndpointsChanged((A,)), 2.0)) == []
    assert dispatched(core.handle(Ended(1), 3.0)) == [2]


def test_a_bodiless_request_that_outlives_a_flap_does_not_hurt_the_endpoint() -> None:
    """An end that belongs to the forgotten incarnation's life leaves the new one known and its load right."""
    core = controller(A)
    core.handle(request(1, need=0), 0.0)
    core.handle(EndpointsChanged(()), 1.0)
    core.handle(EndpointsChanged((A,)), 2.0)
    core.handle(Ended(1), 3.0)
    core.handle(request(2), 3.0)
    core.check()
    core.handle(EndpointsChanged(()), 4.0)
    core.handle(EndpointsChanged((A,)), 5.0)
    assert view(core).own_requests == 1


def test_nothing_is_sent_to_an_endpoint_that_has_left() -> None:
    """The choice is made among the listed, and work for the gone one alone waits."""
    core = controller(A, B)
    core.handle(EndpointsChanged((B,)), 0.0)
    assert destinations(core.handle(request(1), 0.0)) == {1: B.address}
    core.handle(Ended(1), 0.0)
    assert dispatched(core.handle(request(2), 0.0)) == [2]


def test_a_pods_new_limit_counts_at_once() -> None:
    """An endpoint that states another limit is described anew: more may run there, or nothing until it has drained."""
    core = controller(endpoint(1, max_concurrency=1))
    for number in range(4):
        core.handle(request(number), 0.0)
    assert dispatched(core.handle(EndpointsChanged((endpoint(1, max_concurrency=3),)), 1.0)) == [1, 2]
    core.handle(EndpointsChanged((endpoint(1, max_concurrency=1),)), 2.0)
    assert dispatched(core.handle(Ended(0), 3.0)) == []
    assert dispatched(core.handle(Ended(1), 3.0)) == []
    assert dispatched(core.handle(Ended(2), 3.0)) == [3]


# ------------------------------------------------------------------------------------ foreign load


def test_what_a_sample_shows_beyond_our_own_is_foreign() -> None:
    """Five on the engine, two of them ours: three are somebody else's, and take room."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5))
    core.handle(request(1), 0.0)
    core.handle(request(2), 0.0)
    core.handle(scraped(A, 1.0, running=4, waiting=1), 1.0)
    assert view(core).foreign_requests == 3
    assert dispatched(core.handle(request(3), 1.0)) == []


def test_what_ended_during_the_scrape_is_not_foreign() -> None:
    """Foreign is what goes beyond the most we had between sending and receipt: a sample may show what just ended."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5))
    for number in range(4):
        core.handle(request(number), 0.0)
    for number in range(4):
        core.handle(Ended(number), 1.1)
    core.handle(Scraped(A.key, 1.0, 1.2, sample(running=4)), 1.2)
    assert view(core).foreign_requests == 0


def test_what_was_sent_during_the_scrape_is_not_foreign_either() -> None:
    """A sample may already show what we sent after the scrape left."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5))
    for number in range(3):
        core.handle(request(number), 1.1)
    core.handle(Scraped(A.key, 1.0, 1.2, sample(running=3)), 1.2)
    assert view(core).foreign_requests == 0


def test_a_peak_before_the_scrape_does_not_hide_foreign_work() -> None:
    """What had ended before the scrape was sent can't be what the sample shows."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=5))
    for number in range(4):
        core.handle(request(number), 0.0)
    for number in range(4):
        core.handle(Ended(number), 0.9)
    core.handle(Scraped(A.key, 1.0, 1.2, sample(running=4)), 1.2)
    assert view(core).foreign_requests == 4


def test_a_short_peak_within_the_scrape_counts() -> None:
    """The most of the whole interval counts, not its beginning or its end."""
    core = controller(A, capacity=ConcurrencyDetector(max_concurrency=9))
    core.handle(request(0), 0.0)
    for number in range(1, 6):
        core.handle(request(number), 1.1)
    for number in range(1, 6):
        core.handle(Ended(number), 1.2)
    core.handle(request(7), 1.25)
    core.handle(Scraped(A.key, 1.0, 1.3, sample(running=7)), 1.3)
    assert view(core).foreign_requests == 1


def test_what_was_sent_since_the_last_sample_is_load() -> None:
    """Between two scrapes our own dispatches fill the endpoint up: a burst doesn't overshoot the threshold."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=5))
    core.handle(scraped(A, 0.0, running=0, waiting=0), 0.0)
    sent = []
    for number in range(1000):
        sent += dispatched(core.handle(request(number), 0.001))
    assert len(sent) == 5


# --------------------------------------------------------------------------------------- knowledge


def test_knowledge_goes_from_unknown_to_fresh_to_stale() -> None:
    """Never scraped, scraped, and scraped too long ago; going stale is a deadline of its own while work waits."""
    core = controller(A, capacity=UTILIZATION, staleness_s=2.0)
    assert view(core).knowledge is Knowledge.UNKNOWN
    core.handle(scraped(A, 1.0, waiting=9), 1.0)
    assert view(core).knowledge is Knowledge.FRESH
    actions = core.handle(request(1), 1.0)
    while (at_s := wake_s(actions)) is not None and at_s < 3.0:
        actions = core.handle(Tick(), at_s)
        assert dispatched(actions) == []
    assert wake_s(actions) == 3.0
    assert dispatched(core.handle(Tick(), 3.0)) == [1]
    assert view(core).knowledge is Knowledge.STALE
    assert view(core).foreign_requests == 0


def test_stale_is_neither_full_nor_free() -> None:
    """Once its sample is stale an endpoint takes what it last had with room, and no more."""
    core = controller(A, capacity=UTILIZATION, staleness_s=1.0)
    now = 0.0
    for number in range(9):
        core.handle(scraped(A, now, running=number), now)
        core.handle(request(number), now)
        now += 0.1
    assert (view(core).own_requests, view(core).proven_requests) == (9, 9)
    core.handle(Tick(), 10.0)
    assert dispatched(core.handle(request(100), 10.0)) == []
    core.handle(Ended(0), 10.0)
    assert dispatched(core.handle(request(101), 10.0)) == []
    core.handle(Ended(1), 10.0)
    assert view(core).own_requests == 9


def test_a_scrape_that_failed_or_came_out_of_order_changes_nothing() -> None:
    """Only a sample whose scrape was sent after the last one's is believed."""
    core = controller(A, capacity=UTILIZATION)
    core.handle(Scraped(A.key, 1.0, 1.1, sample(waiting=2)), 1.1)
    core.handle(Scraped(A.key, 0.9, 1.2, sample(waiting=7)), 1.2)
    core.handle(Scraped(A.key, 1.0, 1.2, sample(waiting=7)), 1.2)
    core.handle(Scraped(A.key, 1.2, 1.3, None), 1.3)
    core.handle(Scraped(B.key, 1.2, 1.3, sample(waiting=7)), 1.3)
    assert view(core).sample.waiting == 2


def test_failing_scrapes_of_one_endpoint_do_not_stop_the_others() -> None:
    """With one endpoint silent for long, work goes on on both."""
    core = controller(A, B, capacity=UTILIZATION, staleness_s=1.0)
    for step in range(1, 50):
        core.handle(Scraped(A.key, step / 10, step / 10, None), step / 10)
        core.handle(scraped(B, step / 10), step / 10)
    sent: dict[int, str] = {}
    for number in range(10):
        sent |= destinations(core.handle(request(number), 5.0))
    assert sorted(sent.values()) == [A.address] * 5 + [B.address] * 5


def test_a_flap_does_not_make_an_old_sample_young() -> None:
    """An endpoint that was away while its sample went stale comes back with stale knowledge."""
    core = controller(A, capacity=UTILIZATION, staleness_s=2.0)
    core.handle(scraped(A, 0.0, running=3), 0.0)
    core.handle(request(1), 0.1)
    core.handle(EndpointsChanged(()), 1.0)
    core.handle(Tick(), 3.0)
    core.handle(EndpointsChanged((A,)), 50.0)
    assert view(core).knowledge is Knowledge.STALE


@pytest.mark.parametrize(("before_s", "after_s", "stale_at_s"), [(2.0, 5.0, 5.0), (20.0, 3.0, 3.0)])
def test_another_staleness_counts_for_samples_that_are_there(
    before_s: float, after_s: float, stale_at_s: float
) -> None:
    """A configuration that believes samples longer, or shorter, does so at once."""
    core = controller(A, capacity=UTILIZATION, staleness_s=before_s)
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(PolicyChanged(policy(capacity=UTILIZATION, staleness_s=after_s)), 1.0)
    core.handle(Tick(), stale_at_s - 0.001)
    assert view(core).knowledge is Knowledge.FRESH
    core.handle(Tick(), stale_at_s)
    assert view(core).knowledge is Knowledge.STALE


# ------------------------------------------------------------------------------------ asking early


def test_a_full_endpoint_is_asked_20_ms_after_it_filled_up() -> None:
    """When credit is spent while work waits, the endpoint is asked at once, as soon as what was sent has arrived."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=1))
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 1.0)
    actions = core.handle(request(2), 1.0)
    assert asked(actions) == []
    assert wake_s(actions) == pytest.approx(1.02)
    assert asked(core.handle(Tick(), wake_s(actions) or 0.0)) == [A.key]


def test_nobody_is_asked_while_nothing_waits() -> None:
    """A full endpoint without anybody waiting for it is left alone."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=1))
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 0.0)
    actions = core.handle(Tick(), 1.0)
    assert (asked(actions), wake_s(actions)) == ([], None)


def test_asking_slows_down_to_the_scrape_interval_while_it_gains_nothing() -> None:
    """Under lasting overload an endpoint is asked ever less often, never more often than every 20 ms."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=1), scrape_interval_s=0.2)
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 0.0)
    actions = core.handle(request(2), 0.0)
    moments: list[float] = []
    while len(moments) < 12:
        now = wake_s(actions)
        assert now is not None
        actions = core.handle(Tick(), now)
        if asked(actions):
            moments.append(now)
            actions = core.handle(scraped(A, now, running=0, waiting=1), now)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert gaps == sorted(gaps)
    assert min(gaps) >= 0.02 - 1e-9
    assert gaps[-1] == pytest.approx(0.2)


def test_asking_never_gets_faster_than_20_ms() -> None:
    """Not even with a scrape interval below that."""
    core = controller(A, capacity=UtilizationDetector(queue_depth_threshold=1), scrape_interval_s=0.001)
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 0.0)
    actions = core.handle(request(2), 0.0)
    moments: list[float] = []
    while len(moments) < 5:
        now = wake_s(actions)
        assert now is not None
        actions = core.handle(Tick(), now)
        if asked(actions):
            moments.append(now)
            actions = core.handle(scraped(A, now, running=0, waiting=1), now)
    assert all(b - a >= 0.02 - 1e-9 for a, b in pairwise(moments))


def test_our_own_load_needs_no_asking() -> None:
    """Under the concurrency detector we count ourselves: only foreign load makes asking worthwhile."""
    core = controller(A)
    core.handle(scraped(A, 0.0), 0.0)
    core.handle(request(1), 0.0)
    assert wake_s(core.handle(request(2), 0.0)) == 2.0  # when the sample goes stale
    core.handle(Ended(1), 0.5)
    core.handle(scraped(A, 1.0, running=3), 1.0)
    actions = core.handle(request(3, eligibility=ON_A), 1.1)
    now = wake_s(actions)
    assert now is not None
    assert asked(actions) or asked(core.handle(Tick(), now)) == [A.key]


def test_superseded_samples_wake_nobody() -> None:
    """Under steady scraping only the newest sample's age is a deadline: no wake-up for each sample that came before."""
    core = controller(A, capacity=UTILIZATION, staleness_s=2.0, scrape_interval_s=10.0)
    for step in range(100):
        core.handle(scraped(A, step / 100, waiting=9), step / 100)
    actions = core.handle(request(1), 1.0)
    wakes = 0
    while (now := wake_s(actions)) is not None and now < 2.9:
        actions = core.handle(Tick(), now)
        wakes += not asked(actions)
    assert wakes <= 2
