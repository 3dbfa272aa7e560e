"""Small scopes, all of them: every order in which a handful of events can come, judged after each event."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from epp.core import Controller
from epp.core.capacity import UtilizationDetector
from epp.core.eligibility import Subset
from epp.core.events import (
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    ObjectivesChanged,
    Tick,
)
from tests.core.building import A, B, endpoint, policy, request, scraped
from tests.core.leftovers import assert_empty
from tests.core.oracle import Oracle
from tests.core.policies import RankCeiling

if TYPE_CHECKING:
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy

ON_A = Subset.of([A.address])
PLAIN = policy(ttl_s=1.0, hold_s=0.5)
CAPPED = policy(max_requests=1, max_bytes=30, ceiling=RankCeiling())
SCRAPED = policy(capacity=UtilizationDetector(queue_depth_threshold=1), staleness_s=0.25)

SCOPES: dict[str, tuple[FlowControlPolicy, tuple[Event, ...]]] = {
    "arrivals and ends": (
        PLAIN,
        (
            request(1, 0),
            request(2, 5),
            request(3, 5, eligibility=ON_A),
            request(4, 0, need=0),
            Ended(1),
            Ended(2),
        ),
    ),
    "a flap": (
        PLAIN,
        (
            request(1, 0),
            request(2, 5, eligibility=ON_A),
            EndpointsChanged((B,)),
            EndpointsChanged((A, B)),
            EndpointsChanged(()),
            Ended(1),
        ),
    ),
    "a successor": (
        PLAIN,
        (
            request(1, eligibility=ON_A),
            request(2, eligibility=ON_A),
            request(3, eligibility=ON_A, need=0),
            EndpointsChanged((endpoint(1, uid="successor"), B)),
            EndpointsChanged((A, B)),
            Ended(1),
        ),
    ),
    "regrets": (
        PLAIN,
        (request(1), request(2, 5), request(3, 5), Cancelled(2), DeliveryFailed(1), Cancelled(3)),
    ),
    "caps and bands": (
        CAPPED,
        (
            request(1, eligibility=ON_A),
            request(2, -5, eligibility=ON_A),
            request(3, 5, eligibility=ON_A),
            request(4, 0, size_bytes=25, eligibility=ON_A),
            ObjectivesChanged(frozenset({-5})),
            Ended(1),
        ),
    ),
    "scrapes": (
        SCRAPED,
        (
            request(1, eligibility=ON_A),
            request(2, eligibility=ON_A),
            scraped(A, 0.125, running=1),
            scraped(A, 0.25, waiting=2),
            Ended(1),
            Tick(),
        ),
    ),
    "a shutdown": (PLAIN, (request(1), request(2), request(3, 5), request(4, 5), Draining(), Ended(1))),
}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES.keys())
def test_every_order_of_a_few_events_keeps_every_promise(
    scope: tuple[FlowControlPolicy, tuple[Event, ...]],
) -> None:
    """All 720 orders of six events: each decision is right, no wake-up is lost, and nothing is left at the end."""
    rules, events = scope
    for number, order in enumerate(permutations(events)):
        oracle = Oracle(Controller(rules, now=0.0), rules, audit_every=3)
        oracle.handle(EndpointsChanged((A, B)), 0.0)
        now = 0.0
        for event in order:
            now += 1 / 16
            if oracle.wake_at_s is not None and oracle.wake_at_s < now:
                oracle.handle(Tick(), oracle.wake_at_s)
            oracle.handle(event, now)
        for request_id in [*oracle.queued, *oracle.running]:
            oracle.handle(Cancelled(request_id), now)
        oracle.handle(ObjectivesChanged(frozenset()), now)
        if number % 24 == 0:  # it looks at every object, and is slow
            assert_empty(oracle)
