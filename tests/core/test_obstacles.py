"""Why an endpoint has no room: the detectors' answers taken apart, and nothing said that they don't say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.core.capacity import ConcurrencyDetector, ConcurrencyMode, StalenessPolicy, UtilizationDetector
from epp.core.endpoint import NO_SAMPLE, EndpointView, EngineSample, Knowledge
from epp.core.insight import Obstacle
from epp.core.obstacles import obstacles
from tests.core.building import A
from tests.core.policies import BrokenCapacity

few = st.integers(0, 8)
ceilings = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])
samples = st.builds(EngineSample, few, few, st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]))
stalenesses = st.sampled_from(StalenessPolicy)
detectors = st.one_of(
    st.builds(
        UtilizationDetector,
        queue_depth_threshold=st.sampled_from([0, 1, 3, 5]),
        kv_cache_util_threshold=st.sampled_from([0.1, 0.5, 0.8]),
        staleness=stalenesses,
    ),
    st.builds(
        ConcurrencyDetector,
        mode=st.sampled_from(ConcurrencyMode),
        max_concurrency=few,
        max_token_concurrency=st.integers(0, 100),
        staleness=stalenesses,
    ),
)


@st.composite
def views(draw: st.DrawFn) -> EndpointView:
    """An endpoint in any state that there is."""
    knowledge = draw(st.sampled_from(Knowledge))
    return EndpointView(
        A,
        own_requests=draw(few),
        own_tokens=draw(st.integers(0, 120)),
        foreign_requests=0 if knowledge is Knowledge.UNKNOWN else draw(few),
        knowledge=knowledge,
        sample=NO_SAMPLE if knowledge is Knowledge.UNKNOWN else draw(samples),
        proven_requests=draw(few),
        sent_since_sample=0,
        stated_limit=draw(st.none() | few),
        learned_limit=draw(st.none() | st.floats(1.0, 8.0)),
    )


@given(detectors, views(), ceilings)
def test_there_is_an_obstacle_exactly_where_there_is_no_room(
    detector: Any, view: EndpointView, ceiling: float
) -> None:
    """Whatever the detector, the endpoint and the ceiling: no room has a reason, and room has none."""
    assert bool(obstacles(detector, view, ceiling)) is not detector.has_room(view, ceiling)


def view(**changes: Any) -> EndpointView:
    """A fresh endpoint on which nothing is, but for `changes`."""
    fields: dict[str, Any] = {
        "own_requests": 0,
        "own_tokens": 0,
        "foreign_requests": 0,
        "knowledge": Knowledge.FRESH,
        "sample": NO_SAMPLE,
        "proven_requests": 0,
        "sent_since_sample": 0,
    }
    return EndpointView(A, **(fields | changes))


HYBRID = ConcurrencyDetector(mode=ConcurrencyMode.HYBRID, max_concurrency=4, max_token_concurrency=100)


@pytest.mark.parametrize(
    ("detector", "seen", "told"),
    [
        (HYBRID, view(own_requests=4, own_tokens=5), (Obstacle.REQUESTS,)),
        (HYBRID, view(own_requests=4, own_tokens=100), (Obstacle.TOKENS, Obstacle.REQUESTS)),
        (HYBRID, view(own_requests=4, stated_limit=3), (Obstacle.STATED_LIMIT,)),
        (
            HYBRID,
            view(own_requests=4, stated_limit=3, learned_limit=2.5),
            (Obstacle.STATED_LIMIT, Obstacle.LEARNED_LIMIT),
        ),
        (UtilizationDetector(), view(foreign_requests=5), (Obstacle.ENGINE_QUEUE,)),
        (UtilizationDetector(), view(sample=EngineSample(0, 0, 0.8)), (Obstacle.KV_CACHE,)),
        (UtilizationDetector(), view(own_requests=2, learned_limit=2.0), (Obstacle.LEARNED_LIMIT,)),
        (
            UtilizationDetector(),
            view(knowledge=Knowledge.STALE, own_requests=5, sample=EngineSample(9, 9, 1.0)),
            (Obstacle.OWN_ACCOUNTING,),
        ),
        (
            UtilizationDetector(staleness=StalenessPolicy.LAST_SAMPLE),
            view(knowledge=Knowledge.STALE, own_requests=1, sample=EngineSample(0, 9, 1.0)),
            (Obstacle.KV_CACHE,),
        ),
        (BrokenCapacity(), view(own_requests=9), ()),
    ],
)
def test_each_condition_that_fails_is_named(
    detector: Any, seen: EndpointView, told: tuple[Obstacle, ...]
) -> None:
    """All of them, since each by itself would keep a request away; of a stranger's policy nothing is said."""
    assert obstacles(detector, seen, 1.0) == told
