"""Caps: who is refused, who is displaced, and that nobody is who could run."""

from __future__ import annotations

import pytest

from epp.core.actions import Reason, Refuse
from epp.core.band import OVERFLOW_FLOW
from epp.core.controller import STEP
from epp.core.eligibility import Subset
from epp.core.events import Cancelled, Ended, EndpointsChanged, PolicyChanged, Tick
from epp.core.fairness import RoundRobinFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy
from tests.core.building import A, B, controller, dispatched, policy, refused, request


def band(max_requests: int = 5000, max_bytes: int = 10**9) -> BandPolicy:
    """Round robin with caps."""
    return BandPolicy(RoundRobinFairness(), FcfsOrdering(), max_requests=max_requests, max_bytes=max_bytes)


def test_a_full_band_refuses_the_newcomer() -> None:
    """At the cap a request is queued, one more is refused as saturated, with a hint when to come again."""
    core = controller(A, default_band=band(2))
    for number in range(3):
        assert refused(core.handle(request(number), 0.0)) == {}
    (refusal,) = [each for each in core.handle(request(3), 0.0) if isinstance(each, Refuse)]
    assert (refusal.request_id, refusal.reason) == (3, Reason.SATURATED)
    assert refusal.retry_after_s is not None
    assert 1 <= refusal.retry_after_s <= 60


def test_a_full_band_refuses_by_bytes_as_well() -> None:
    """Exactly at the cap is allowed, one byte more isn't."""
    core = controller(A, default_band=band(max_bytes=100))
    core.handle(request(0), 0.0)
    assert refused(core.handle(request(1, size_bytes=60), 0.0)) == {}
    assert refused(core.handle(request(2, size_bytes=41), 0.0)) == {2: Reason.SATURATED}
    assert refused(core.handle(request(3, size_bytes=40), 0.0)) == {}


def test_a_full_band_does_not_displace() -> None:
    """A band's own cap concerns the band alone: lower bands keep their requests."""
    core = controller(A, bands={5: band(1)})
    core.handle(request(0), 0.0)
    core.handle(request(1, 0), 0.0)
    core.handle(request(2, 5), 0.0)
    assert refused(core.handle(request(3, 5), 0.0)) == {3: Reason.SATURATED}


def test_a_full_queue_never_refuses_what_could_run() -> None:
    """Caps are enforced after the drain pass: a newcomer for an idle endpoint passes a full queue."""
    core = controller(A, B, default_band=band(1))
    on_a, on_b = Subset.of([A.address]), Subset.of([B.address])
    core.handle(request(0, eligibility=on_a), 0.0)
    core.handle(request(1, eligibility=on_a), 0.0)
    actions = core.handle(request(2, eligibility=on_b), 0.0)
    assert dispatched(actions) == [2]
    assert refused(actions) == {}


def test_in_an_empty_pool_a_full_band_says_so() -> None:
    """Without endpoints the reason isn't saturation."""
    core = controller(default_band=band(1))
    core.handle(request(0), 0.0)
    assert refused(core.handle(request(1), 0.0)) == {1: Reason.NO_ENDPOINTS}


def test_at_a_global_cap_the_newest_of_the_lowest_band_gives_way() -> None:
    """A newcomer of higher priority displaces one request: the one that arrived last in the lowest band."""
    core = controller(A, max_requests=4)
    core.handle(request(0), 0.0)
    for number, priority in ((1, -5), (2, 0), (3, -5), (4, 0)):
        core.handle(request(number, priority), 0.0)
    assert refused(core.handle(request(5, 5), 0.0)) == {3: Reason.QUEUE_PRESSURE}
    assert refused(core.handle(request(6, 5), 0.0)) == {1: Reason.QUEUE_PRESSURE}
    assert refused(core.handle(request(7, 5), 0.0)) == {4: Reason.QUEUE_PRESSURE}


def test_an_equal_displaces_nobody() -> None:
    """Only higher priority displaces: a newcomer of the lowest band in use is refused."""
    core = controller(A, max_requests=1)
    core.handle(request(0), 0.0)
    core.handle(request(1, 0), 0.0)
    assert refused(core.handle(request(2, 0), 0.0)) == {2: Reason.SATURATED}
    assert refused(core.handle(request(3, -5), 0.0)) == {3: Reason.SATURATED}


def test_as_many_are_displaced_as_the_bytes_need() -> None:
    """A large newcomer displaces several, over several bands, newest and lowest first, and no more than needed."""
    core = controller(A, max_bytes=100)
    core.handle(request(0), 0.0)
    for number, priority in ((1, 0), (2, -5), (3, -5), (4, 0)):
        core.handle(request(number, priority, size_bytes=25), 0.0)
    assert list(refused(core.handle(request(5, 5, size_bytes=60), 0.0))) == [3, 2, 4]
    assert core.statistics(0.0).queued_bytes == 85


def test_none_is_displaced_if_all_would_not_suffice() -> None:
    """A newcomer that would not fit anyway is refused, and everybody else stays."""
    core = controller(A, max_bytes=100)
    core.handle(request(0), 0.0)
    core.handle(request(1, 0, size_bytes=40), 0.0)
    core.handle(request(2, 10, size_bytes=60), 0.0)
    assert refused(core.handle(request(3, 5, size_bytes=50), 0.0)) == {3: Reason.SATURATED}


def test_bytes_are_not_taken_from_those_who_have_none() -> None:
    """Displacing a request without bytes would free none, so it stays."""
    core = controller(A, max_bytes=100)
    core.handle(request(0), 0.0)
    core.handle(request(1, 0, size_bytes=100), 0.0)
    core.handle(request(2, 0, size_bytes=0), 0.0)
    assert refused(core.handle(request(3, 5, size_bytes=10), 0.0)) == {1: Reason.QUEUE_PRESSURE}


def test_displacement_is_bounded() -> None:
    """A giant that would displace more than a step's worth of requests is refused instead: no call stalls."""
    core = controller(A, max_bytes=10 * (STEP + 1))
    core.handle(request(0), 0.0)
    for number in range(1, STEP + 2):
        core.handle(request(number), 0.0)
    giant = 10 * (STEP + 1)
    assert refused(core.handle(request(1000, 5, size_bytes=giant), 0.0)) == {1000: Reason.SATURATED}
    assert len(refused(core.handle(request(1001, 5, size_bytes=giant - 10), 0.0))) == STEP


def test_a_lowered_cap_shrinks_the_queue_by_service_only() -> None:
    """Nobody who was queued already is refused for a new, lower cap; newcomers answer for themselves alone."""
    core = controller(A)
    for number in range(6):
        core.handle(request(number, size_bytes=10), 0.0)
    lower = policy(max_requests=2, max_bytes=20)
    assert refused(core.handle(PolicyChanged(lower), 0.0)) == {}
    assert core.statistics(0.0).queued_requests == 5
    assert refused(core.handle(request(6, 0), 0.0)) == {6: Reason.SATURATED}
    assert list(refused(core.handle(request(7, 5, size_bytes=10), 0.0))) == [5]
    assert core.statistics(0.0).queued_requests == 5


def test_a_lowered_band_cap_refuses_newcomers_until_served_down() -> None:
    """The band takes newcomers again once it has drained below its new cap."""
    core = controller(A)
    for number in range(4):
        core.handle(request(number), 0.0)
    core.handle(PolicyChanged(policy(default_band=band(2))), 0.0)
    assert set(refused(core.handle(request(4), 0.0))) == {4}
    for number in range(2):
        core.handle(Ended(number), 0.0)
    assert refused(core.handle(request(5), 0.0)) == {}


def test_a_displaced_request_may_be_all_of_its_band() -> None:
    """A band that displacement has emptied is gone at once if nothing provides for it."""
    core = controller(A, max_requests=1)
    core.handle(request(0), 0.0)
    core.handle(request(1, -7), 0.0)
    core.handle(request(2, 0), 0.0)
    assert [each.priority for each in core.statistics(0.0).bands] == [0]


# ---------------------------------------------------------------------------------- flows and lanes


def test_surplus_tenants_share_an_overflow_flow() -> None:
    """Beyond the cap on flows a band's new tenants share one flow, in order of arrival."""
    core = controller(A, max_flows=2)
    for number, tenant in enumerate(("x", "a", "b", "c", "d", "c")):
        core.handle(request(number, tenant=tenant), 0.0)
    (only,) = core.statistics(0.0).bands
    assert {flow.fairness_id: flow.queued_requests for flow in only.flows} == {
        "a": 1,
        "b": 1,
        OVERFLOW_FLOW: 3,
    }
    assert core.statistics(0.0).overflowed_flows == 2


def test_the_overflow_flow_is_sticky() -> None:
    """A tenant with requests in the overflow flow stays there, though flows have become free, so its order holds."""
    core = controller(A, max_flows=1)
    for number, tenant in enumerate(("x", "a", "b")):
        core.handle(request(number, tenant=tenant), 0.0)
    core.handle(Cancelled(1), 0.0)
    core.handle(request(3, tenant="b"), 0.0)
    flows = {flow.fairness_id: flow.queued_requests for flow in core.statistics(0.0).bands[0].flows}
    assert flows == {OVERFLOW_FLOW: 2}
    sent = []
    for number in (0, 2):
        sent += dispatched(core.handle(Ended(number), 0.0))
    assert sent == [2, 3]


def test_a_tenant_that_comes_back_counts_against_the_cap_on_flows() -> None:
    """A remembered tag is no ticket past the cap."""
    core = controller(A, max_flows=2)
    for number, tenant in enumerate(("x", "a", "c")):
        core.handle(request(number, tenant=tenant), 0.0)
    core.handle(Cancelled(2), 0.0)
    core.handle(request(3, tenant="b"), 0.0)
    core.handle(request(4, tenant="c"), 0.0)
    flows = {flow.fairness_id for flow in core.statistics(0.0).bands[0].flows}
    assert flows == {"a", "b", OVERFLOW_FLOW}


def test_a_tenant_may_be_called_overflow() -> None:
    """The shared flow's name is no secret; a tenant of that name shares it and nothing breaks."""
    core = controller(A, max_flows=1)
    for number, tenant in enumerate(("x", OVERFLOW_FLOW, "b", OVERFLOW_FLOW)):
        core.handle(request(number, tenant=tenant), 0.0)
        core.check()
    for number in (1, 2, 3):
        core.handle(Cancelled(number), 0.0)
        core.check()
    assert core.statistics(0.0).overflowed_flows == 0


def test_a_subset_too_many_is_refused() -> None:
    """Beyond the cap on lanes a request with a new subset is refused, one with a known subset or none is queued."""
    core = controller(A, B, max_lanes=1)
    core.handle(request(0, eligibility=Subset.of([A.address])), 0.0)
    core.handle(request(1, eligibility=Subset.of([B.address])), 0.0)
    core.handle(request(2, eligibility=Subset.of([A.address])), 0.0)
    assert refused(core.handle(request(3, eligibility=Subset.of([B.address])), 0.0)) == {3: Reason.SATURATED}
    assert refused(core.handle(request(4, eligibility=Subset.of([A.address])), 0.0)) == {}
    assert refused(core.handle(request(5), 0.0)) == {}


def test_a_subset_too_many_is_no_matter_if_it_can_run() -> None:
    """The cap on lanes is enforced after the drain pass as well."""
    core = controller(A, B, max_lanes=1)
    core.handle(request(0, eligibility=Subset.of([A.address])), 0.0)
    core.handle(request(1, eligibility=Subset.of([A.address])), 0.0)
    assert dispatched(core.handle(request(2, eligibility=Subset.of([B.address])), 0.0)) == [2]


# ----------------------------------------------------------------------------- refusals on arrival


@pytest.mark.parametrize("entries", [[], ["  "], ["10.9.9.9:1"]])
def test_a_subset_without_a_member_is_refused_at_once(entries: list[str]) -> None:
    """Restricted to nothing, or to strangers, a request can never run: 503, and no hint to come again."""
    core = controller(A)
    (refusal,) = core.handle(request(1, eligibility=Subset.of(entries)), 0.0)
    assert refusal == Refuse(1, Reason.NO_ENDPOINTS, 0.0, None)


def test_an_empty_pool_may_still_grow_the_endpoints_of_a_subset() -> None:
    """While the pool is empty a request with a subset is held like any other, an empty subset isn't."""
    core = controller()
    assert refused(core.handle(request(1, eligibility=Subset.of([A.address])), 0.0)) == {}
    assert refused(core.handle(request(2, eligibility=Subset.of([])), 0.0)) == {2: Reason.NO_ENDPOINTS}
    assert dispatched(core.handle(EndpointsChanged((A,)), 1.0)) == [1]


def test_a_duplicate_id_is_an_error_that_changes_nothing() -> None:
    """An id that is in use is a bug of the shell: the call raises before anything else happens."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(request(2, ttl_s=1.0), 0.0)
    for used in (1, 2):
        with pytest.raises(ValueError, match=f"{used} is in use"):
            core.handle(request(used), 5.0)
    assert set(refused(core.handle(Tick(), 5.0))) == {2}
