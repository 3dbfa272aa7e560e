"""Traps of ends: refusals that say the wrong thing, and requests, tenants and series that outlive their end."""

from __future__ import annotations

import gc
from types import FunctionType, ModuleType
from weakref import ref

from epp.core.actions import Reason
from epp.core.capacity import ConcurrencyDetector
from epp.core.eligibility import Subset
from epp.core.events import Cancelled, EndpointsChanged, Tick
from epp.core.fairness import TokenFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy
from tests.core.building import A, B, controller, dispatched, refused, request

BY_TOKENS = BandPolicy(TokenFairness(), FcfsOrdering(), max_requests=100_000)


class Body:
    """Stands for what the shell keeps of a request; whoever holds the request holds it."""


def test_an_empty_pool_is_not_overload() -> None:
    """Trap: having no endpoint is told as "busy, come again", and time without endpoints uses up the waiting budget."""
    one = BandPolicy(TokenFairness(), FcfsOrdering(), max_requests=1)
    core = controller(ttl_s=1.0, hold_s=5.0, default_band=one)
    assert refused(core.handle(request(1), 0.0)) == {}
    assert refused(core.handle(request(2), 0.0)) == {2: Reason.NO_ENDPOINTS}, "full, but not of load"
    assert refused(core.handle(Tick(), 4.0)) == {}, "the budget of a busy pool doesn't run"
    core.handle(EndpointsChanged((A,)), 4.0)
    core.handle(request(3), 4.0)
    core.handle(EndpointsChanged(()), 4.5)
    assert refused(core.handle(Tick(), 9.4)) == {}
    assert refused(core.handle(Tick(), 9.5)) == {3: Reason.NO_ENDPOINTS}
    assert refused(core.handle(request(4), 9.5)) == {}
    core.handle(EndpointsChanged((A,)), 9.75)
    assert refused(core.handle(Tick(), 10.625)) == {}, "a second of it was without endpoints"
    assert refused(core.handle(Tick(), 10.75)) == {4: Reason.TTL_EXPIRED}


def test_a_storm_of_cancellations_leaves_nothing() -> None:
    """Trap: the queued work of clients that have gone waits for a sweep, with its body and its place in the caps."""
    core = controller(A, B, capacity=ConcurrencyDetector(max_concurrency=20), default_band=BY_TOKENS)
    bodies = []
    numbers = range(3000)
    for number in numbers:
        body = Body()
        bodies.append(ref(body))
        core.handle(
            request(
                number,
                (0, 5, -5)[number % 3],
                f"tenant-{number % 50}",
                eligibility=Subset.of([A.address]) if number % 7 == 0 else request(0).eligibility,
                facts=body,
                ttl_s=30.0,
            ),
            0.001 * number,
        )
    del body
    for left, number in enumerate(reversed(numbers)):
        core.handle(Cancelled(number), 4.0)
        if left % 500 == 0:
            alive = sum(body() is not None for body in bodies)
            assert alive <= len(numbers) - left - 1, f"{alive} bodies are held"
            statistics = core.statistics(4.0)
            assert statistics.queued_requests == alive, "what is sent is held by nobody here"
    statistics = core.statistics(4.0)
    assert (statistics.queued_requests, statistics.queued_bytes, statistics.running_requests) == (0, 0, 0)
    assert not any(band.flows for band in statistics.bands)
    assert not any(body() for body in bodies)
    assert dispatched(core.handle(request(9999), 4.0)) == [9999]


def reachable(root: object) -> int:
    """How many objects an object holds, however deep."""
    seen = {id(root)}
    front = [root]
    while front:
        for each in gc.get_referents(front.pop()):
            if id(each) not in seen and not isinstance(each, (type, ModuleType, FunctionType)):
                seen.add(id(each))
                front.append(each)
    return len(seen)


def _abandoned(tenants: int) -> int:
    """How much is held after so many tenants each sent one request and went away in the middle of its response."""
    core = controller(A, B, default_band=BY_TOKENS, ttl_s=0.0)
    only_b = Subset.of([B.address])
    core.handle(request(1, tenant="steady", eligibility=only_b), 0.0)
    core.handle(request(2, tenant="steady", eligibility=only_b), 0.0)  # it waits, so the band is never empty
    (running,) = dispatched(core.handle(request(3, tenant="steady"), 0.0))
    for number in range(4, 4 + 2 * tenants, 2):
        core.handle(request(number, tenant="steady"), 1.0)
        core.handle(request(number + 1, tenant=f"minted-{number}"), 1.0)
        for _ in range(2):
            (running,) = dispatched(core.handle(Cancelled(running), 1.0))
    return reachable(core)


def test_abandoned_tenants_are_forgotten() -> None:
    """Trap: what is kept of a tenant whose only request was abandoned is never dropped, since nothing ends it."""
    few, many = _abandoned(500), _abandoned(6000)
    assert many < few + 3000, f"{few} objects after 500 tenants, {many} after 6000"


def test_minted_tenants_make_no_series() -> None:
    """Trap: a fresh fairness id per request mints a flow and a metric series each."""
    core = controller(A, default_band=BY_TOKENS, max_flows=32)
    most = 0
    for number in range(10_000):
        core.handle(request(number, tenant=f"minted-{number}"), 0.0)
        if number % 500 == 0:
            statistics = core.statistics(0.0)
            most = max(most, sum(len(band.flows) for band in statistics.bands))
            assert sum(flow.queued_requests for band in statistics.bands for flow in band.flows) == number
    assert most <= 32 + 1, f"{most} flows are shown"
