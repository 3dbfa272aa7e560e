"""Subsets: what a gateway's hint admits, resolved again whenever the pool changes."""

from __future__ import annotations

import pytest

from epp.core.eligibility import ANY, Subset
from epp.core.endpoint import EndpointSpec
from epp.core.events import EndpointsChanged, Tick
from tests.core.building import A, B, C, controller, destinations, dispatched, refused, request

V6 = EndpointSpec("[fd00::1]:8000")


@pytest.mark.parametrize(
    ("entries", "spec", "expected"),
    [
        (["10.0.0.1:8000"], A, True),
        (["10.0.0.1"], A, True),
        ([" 10.0.0.1 ", ""], A, True),
        (["10.0.0.1:8001"], A, False),
        (["10.0.0.10"], A, False),
        (["10.0.0.2", "10.0.0.1:8000"], A, True),
        ([], A, False),
        (["[fd00::1]:8000"], V6, True),
        (["[fd00::1]"], V6, True),
        (["fd00::1"], V6, True),
        (["[fd00::2]"], V6, False),
    ],
)
def test_a_subset_admits_by_address_or_by_host(
    entries: list[str], spec: EndpointSpec, *, expected: bool
) -> None:
    """An entry is `ip:port` or `ip`, blanks aside, IPv6 with or without brackets; nothing matches in part."""
    assert Subset.of(entries).admits(spec) is expected


def test_any_admits_all() -> None:
    """Almost every request may use every endpoint."""
    assert ANY.admits(A)
    assert ANY.admits(V6)


def test_equal_hints_are_one_eligibility() -> None:
    """The order, blanks and repetitions of entries make no difference, so such requests share a lane."""
    assert Subset.of(["b:1", "a:1"]) == Subset.of([" a:1", "b:1", "a:1"])
    assert hash(Subset.of(["b:1", "a:1"])) == hash(Subset.of(["a:1", "b:1"]))


def test_a_queued_request_follows_the_pool() -> None:
    """An endpoint of its subset that joins later is used; one that leaves isn't."""
    core = controller(A)
    subset = Subset.of(["10.0.0.1", "10.0.0.3"])
    core.handle(request(0), 0.0)
    core.handle(request(1, eligibility=subset), 0.0)
    assert dispatched(core.handle(EndpointsChanged((A, B)), 1.0)) == []
    assert destinations(core.handle(EndpointsChanged((B, C)), 2.0)) == {1: C.address}


def test_a_request_whose_subset_has_left_waits_for_its_return() -> None:
    """It isn't sent elsewhere, holds nobody up, and expires in its time."""
    core = controller(A, B, ttl_s=10.0)
    core.handle(request(0, eligibility=Subset.of([A.address])), 0.0)
    core.handle(request(1, 5, eligibility=Subset.of([A.address])), 0.0)
    core.handle(EndpointsChanged((B,)), 1.0)
    assert dispatched(core.handle(request(2, 0), 1.0)) == [2]
    assert set(refused(core.handle(Tick(), 10.0))) == {1}


def test_a_blocked_subset_does_not_stall_its_band() -> None:
    """The head may wait for its full endpoint while the next request of the band runs elsewhere."""
    core = controller(A, B)
    core.handle(request(0, eligibility=Subset.of([A.address])), 0.0)
    core.handle(request(1, eligibility=Subset.of([A.address])), 0.0)
    assert destinations(core.handle(request(2), 0.0)) == {2: B.address}
