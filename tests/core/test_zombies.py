"""No zombies: what has had its end leaves no object behind, and heaps don't grow with the dead."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING
from weakref import ref

import pytest

from epp.core.controller import STEP
from epp.core.eligibility import ANY
from epp.core.events import Cancelled, DeliveryFailed, Draining, Ended, EndpointsChanged, Tick
from tests.core.building import A, B, controller, dispatched, refused, request, scraped
from tests.core.turns import ON_A

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.core import Controller


class Facts:
    """Stands for a request's body and everything that hangs on it."""


def _cancel(core: Controller) -> None:
    core.handle(Cancelled(1), 1.0)


def _expire(core: Controller) -> None:
    assert refused(core.handle(Tick(), 60.0))


def _expire_in_an_empty_pool(core: Controller) -> None:
    core.handle(EndpointsChanged(()), 1.0)
    assert refused(core.handle(Tick(), 61.0))


def _shut_down(core: Controller) -> None:
    assert refused(core.handle(Draining(), 1.0))


def _displace(core: Controller) -> None:
    assert set(refused(core.handle(request(2, 5), 1.0))) == {1}


def _run_and_end(core: Controller) -> None:
    assert dispatched(core.handle(Ended(0), 1.0)) == [1]
    core.handle(Ended(1), 2.0)


def _run_and_cancel(core: Controller) -> None:
    assert dispatched(core.handle(Ended(0), 1.0)) == [1]
    core.handle(Cancelled(1), 2.0)


def _run_and_fail(core: Controller) -> None:
    assert dispatched(core.handle(Ended(0), 1.0)) == [1]
    core.handle(DeliveryFailed(1), 2.0)


def _run_and_lose_the_endpoint(core: Controller) -> None:
    assert dispatched(core.handle(Ended(0), 1.0)) == [1]
    core.handle(EndpointsChanged(()), 2.0)
    core.handle(Ended(1), 3.0)


@pytest.mark.parametrize(
    "end",
    [
        _cancel,
        _expire,
        _expire_in_an_empty_pool,
        _shut_down,
        _displace,
        _run_and_end,
        _run_and_cancel,
        _run_and_fail,
        _run_and_lose_the_endpoint,
    ],
)
@pytest.mark.parametrize("restricted", [False, True])
def test_a_request_dies_with_its_end(end: Callable[[Controller], None], *, restricted: bool) -> None:
    """Whatever its end, the core keeps no reference to a request's facts, no collector pass needed."""
    core = controller(A, max_requests=1)
    core.handle(request(0), 0.0)
    facts = Facts()
    alive = ref(facts)
    core.handle(request(1, facts=facts, eligibility=ON_A if restricted else ANY), 0.0)
    del facts
    assert alive() is not None
    gc.disable()
    try:
        end(core)
        assert alive() is None
    finally:
        gc.enable()


def test_a_refused_newcomer_leaves_nothing() -> None:
    """A request that is refused on arrival was never kept."""
    core = controller(A, max_requests=1)
    core.handle(request(0), 0.0)
    core.handle(request(1), 0.0)
    facts = Facts()
    alive = ref(facts)
    assert set(refused(core.handle(request(2, facts=facts), 0.0))) == {2}
    del facts
    assert alive() is None


def test_a_dispatched_request_needs_no_body_any_more() -> None:
    """The reservation is a few numbers: a running request holds nothing of what was queued."""
    core = controller(A)
    facts = Facts()
    alive = ref(facts)
    assert dispatched(core.handle(request(1, facts=facts), 0.0)) == [1]
    del facts
    assert alive() is None


def test_the_counts_follow_at_once() -> None:
    """The cancelled request's place and bytes are free in the same call: the next newcomer gets them."""
    core = controller(A, max_requests=1, max_bytes=100)
    core.handle(request(0), 0.0)
    core.handle(request(1, size_bytes=100), 0.0)
    core.handle(Cancelled(1), 0.0)
    statistics = core.statistics(0.0)
    assert (statistics.queued_requests, statistics.queued_bytes) == (0, 0)
    assert refused(core.handle(request(2, size_bytes=100), 0.0)) == {}


def _storm_of_cancellations(core: Controller, rounds: range) -> None:
    """Keep 20 requests queued over 5 tenants and 2 lanes, and cancel and replace the oldest for ever."""
    for number in rounds:
        eligibility = ON_A if number % 3 else ANY
        core.handle(request(number, tenant=f"tenant-{number % 5}", eligibility=eligibility), 0.0)
        core.handle(Cancelled(number - 20), 0.0)


def test_heaps_stay_small_under_a_storm_of_cancellations() -> None:
    """5,000 arrivals and cancellations later the core uses hardly more memory than after the first 1,000."""
    core = controller(A)
    core.handle(request(0), 0.0)
    _storm_of_cancellations(core, range(1, 1000))
    tracemalloc.start()
    try:
        _storm_of_cancellations(core, range(1000, 6000))
        gc.collect()
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One leaked heap entry per cancellation would be at least 350 kB.
    assert grown_bytes < 150_000
    core.check()


def test_a_tenant_that_came_and_went_is_forgotten() -> None:
    """One-time tenants leave a bounded memory of tags while the band is busy, and none once it is empty."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1, tenant="steady"), 0.0)
    tracemalloc.start()
    try:
        for number in range(2, 10_000):
            core.handle(request(number, tenant=f"once-{number}"), 0.0)
            core.handle(Cancelled(number), 0.0)
        gc.collect()
        grown_bytes, _ = tracemalloc.get_traced_memory()
        core.handle(Cancelled(1), 0.0)
        gc.collect()
        left_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown_bytes < 3_000_000
    assert left_bytes < 100_000


def test_flapping_endpoints_leave_no_trace() -> None:
    """An endpoint that comes and goes for ever doesn't make the knowledge of it grow."""
    core = controller(A, B)

    def flap(rounds: range) -> None:
        for number in rounds:
            now = number / 10
            core.handle(scraped(A, now, running=1), now)
            core.handle(EndpointsChanged((B,)), now + 0.03)
            core.handle(EndpointsChanged((A, B)), now + 0.06)
            core.handle(scraped(A, now + 0.07, running=1), now + 0.07)

    flap(range(100))
    tracemalloc.start()
    try:
        flap(range(100, 2000))
        gc.collect()
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown_bytes < 60_000


def test_a_step_of_refusals_frees_a_step_of_requests() -> None:
    """Bulk expiry frees memory step by step, not at the end."""
    core = controller(A, ttl_s=1.0)
    core.handle(request(0), 0.0)
    alive = []
    for number in range(1, 2 * STEP + 1):
        facts = Facts()
        alive.append(ref(facts))
        core.handle(request(number, facts=facts), 0.0)
    del facts
    core.handle(Tick(), 1.0)
    assert sum(each() is None for each in alive) == STEP
