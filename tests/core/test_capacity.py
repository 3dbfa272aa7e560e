"""The detectors: room endpoint by endpoint, what stale knowledge means, and the laws that every detector keeps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.core.capacity import (
    OWN_ACCOUNTING_FLOOR,
    ConcurrencyDetector,
    ConcurrencyMode,
    StalenessPolicy,
    UtilizationDetector,
    below,
    counted_load,
    own_accounting,
    staleness_of,
)
from epp.core.endpoint import NO_SAMPLE, EndpointView, EngineSample, Knowledge
from tests.core.building import endpoint

DETECTORS = (
    UtilizationDetector(),
    UtilizationDetector(queue_depth_threshold=1, kv_cache_util_threshold=0.3),
    ConcurrencyDetector(max_concurrency=7),
    ConcurrencyDetector(mode=ConcurrencyMode.TOKENS, max_token_concurrency=90),
    ConcurrencyDetector(mode=ConcurrencyMode.HYBRID, max_concurrency=4, max_token_concurrency=90),
    UtilizationDetector(queue_depth_threshold=3, staleness=StalenessPolicy.LAST_SAMPLE),
    ConcurrencyDetector(max_concurrency=7, staleness=StalenessPolicy.LAST_SAMPLE),
)


def view(
    *,
    own: int = 0,
    tokens: int = 0,
    foreign: int = 0,
    knowledge: Knowledge = Knowledge.FRESH,
    waiting: int = 0,
    running: int = 0,
    kv: float = 0.0,
    proven: int = 0,
    limit: int | None = None,
    learned: float | None = None,
) -> EndpointView:
    """An endpoint in some state."""
    seen = NO_SAMPLE if knowledge is Knowledge.UNKNOWN else EngineSample(waiting, running, kv)
    return EndpointView(endpoint(1), own, tokens, foreign, knowledge, seen, proven, 0, limit, learned)


views = st.builds(
    view,
    own=st.integers(0, 12),
    tokens=st.integers(0, 120),
    foreign=st.integers(0, 5),
    knowledge=st.sampled_from(Knowledge),
    waiting=st.integers(0, 8),
    running=st.integers(0, 12),
    kv=st.floats(0, 1),
    proven=st.integers(0, 12),
    limit=st.sampled_from((None, None, 0, 1, 5)),
    learned=st.sampled_from((None, None, 1.0, 6.0)),
)
ceilings = st.floats(0, 1)


@pytest.mark.parametrize(
    ("load", "limit", "ceiling", "expected"),
    [
        (0, 5, 1.0, True),
        (4, 5, 1.0, True),
        (5, 5, 1.0, False),
        (6, 5, 1.0, False),
        (0, 0, 1.0, False),
        (0, 5, 0.0, False),
        (0, 5, 0.01, True),
        (1, 5, 0.01, False),
        (2, 5, 0.5, True),
        (3, 5, 0.5, False),
    ],
)
def test_room_is_a_load_below_the_share(load: float, limit: float, ceiling: float, *, expected: bool) -> None:
    """Below the ceiling's share there is room; a limit or ceiling of 0 means never, otherwise at least one fits."""
    assert below(load, limit, ceiling) is expected


@pytest.mark.parametrize("detector", DETECTORS)
@given(seen=views, ceiling=ceilings)
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_nothing_has_room_below_a_ceiling_of_zero(detector: Any, seen: EndpointView, ceiling: float) -> None:
    """A ceiling of 0 means never, and the answer is always a plain bool."""
    assert detector.has_room(seen, 0.0) is False
    assert type(detector.has_room(seen, ceiling)) is bool


@pytest.mark.parametrize("detector", DETECTORS)
@given(seen=views, ceiling=ceilings, more=st.integers(1, 5))
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_room_never_grows_with_load(detector: Any, seen: EndpointView, ceiling: float, more: int) -> None:
    """Whoever has no room has none with more on it."""
    fuller = seen._replace(own_requests=seen.own_requests + more, own_tokens=seen.own_tokens + more)
    if detector.has_room(fuller, ceiling):
        assert detector.has_room(seen, ceiling)


@pytest.mark.parametrize("detector", DETECTORS)
@given(seen=views, ceiling=ceilings, lower=ceilings)
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_room_never_shrinks_with_the_ceiling(
    detector: Any, seen: EndpointView, ceiling: float, lower: float
) -> None:
    """Room below a low ceiling is room below a higher one: that is what strictness stands on."""
    low, high = sorted((ceiling, lower))
    if detector.has_room(seen, low):
        assert detector.has_room(seen, high)


@pytest.mark.parametrize("detector", DETECTORS)
@given(seen=views)
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_saturation_is_a_number_that_is_never_negative(detector: Any, seen: EndpointView) -> None:
    """It is meant for metrics, at least 0 and finite whatever the state."""
    assert 0 <= detector.saturation(seen) < 1e9


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (view(waiting=4), True),
        (view(own=12, running=8), True),
        (view(own=13, running=8), False),
        (view(own=8, foreign=5, running=8), False),
        (view(own=0, kv=0.79), True),
        (view(own=0, kv=0.8), False),
        (view(own=3, limit=3, running=3), False),
        (view(own=2, foreign=1, limit=3, running=3), False),
    ],
)
def test_the_utilization_detector_goes_by_queue_and_cache(seen: EndpointView, *, expected: bool) -> None:
    """Room while what isn't in the batch stays below the queue threshold and the cache below its own."""
    assert UtilizationDetector().has_room(seen, 1.0) is expected


@pytest.mark.parametrize("knowledge", [Knowledge.STALE, Knowledge.UNKNOWN])
def test_without_fresh_knowledge_own_accounting_decides(knowledge: Knowledge) -> None:
    """Neither full nor free: as many as were proven to fit, at least the threshold, whatever the old sample said."""
    detector = UtilizationDetector(queue_depth_threshold=5)
    assert detector.has_room(view(own=4, knowledge=knowledge, kv=1.0, waiting=99), 1.0)
    assert not detector.has_room(view(own=5, knowledge=knowledge), 1.0)
    assert detector.has_room(view(own=8, knowledge=knowledge, proven=9), 1.0)
    assert not detector.has_room(view(own=9, knowledge=knowledge, proven=9), 1.0)


def test_the_concurrency_detector_counts_requests() -> None:
    """Own and foreign requests below the limit; a pod's own limit wins."""
    detector = ConcurrencyDetector(max_concurrency=4)
    assert detector.has_room(view(own=2, foreign=1), 1.0)
    assert not detector.has_room(view(own=3, foreign=1), 1.0)
    assert detector.has_room(view(own=5, limit=6), 1.0)
    assert not detector.has_room(view(own=0, limit=0), 1.0)
    assert detector.has_room(view(own=1), 0.5)
    assert not detector.has_room(view(own=2), 0.5)


def test_the_token_modes_count_charges() -> None:
    """By tokens alone, or by both; the last one may be larger than what is left, so large ones don't idle the pool."""
    tokens = ConcurrencyDetector(mode=ConcurrencyMode.TOKENS, max_concurrency=1, max_token_concurrency=100)
    assert tokens.has_room(view(own=50, tokens=99), 1.0)
    assert not tokens.has_room(view(own=1, tokens=100), 1.0)
    hybrid = ConcurrencyDetector(mode=ConcurrencyMode.HYBRID, max_concurrency=2, max_token_concurrency=100)
    assert hybrid.has_room(view(own=1, tokens=99), 1.0)
    assert not hybrid.has_room(view(own=2, tokens=1), 1.0)
    assert not hybrid.has_room(view(own=1, tokens=100), 1.0)


def test_saturation_is_full_at_one() -> None:
    """The share of the limit that is used: the fuller of queue and cache, of requests and tokens."""
    assert UtilizationDetector().saturation(view(own=5)) == 1.0
    assert UtilizationDetector().saturation(view(kv=0.4)) == 0.5
    assert UtilizationDetector().saturation(view(own=5, knowledge=Knowledge.UNKNOWN)) == 1.0
    assert ConcurrencyDetector(max_concurrency=4).saturation(view(own=1, foreign=1)) == 0.5
    hybrid = ConcurrencyDetector(mode=ConcurrencyMode.HYBRID, max_concurrency=4, max_token_concurrency=100)
    assert hybrid.saturation(view(own=1, tokens=75)) == 0.75
    assert hybrid.saturation(view(own=0, limit=0)) == 1.0


def test_asking_pays_where_a_sample_could_show_more() -> None:
    """The engine's queue may have moved on; under the concurrency detector only foreign requests can have left."""
    assert UtilizationDetector().renewable(view())
    assert UtilizationDetector().renewable(view(knowledge=Knowledge.STALE))
    assert not UtilizationDetector().renewable(view(knowledge=Knowledge.UNKNOWN))
    assert not ConcurrencyDetector().renewable(view(own=100))
    assert ConcurrencyDetector().renewable(view(foreign=1))


def test_own_accounting_has_a_floor() -> None:
    """An endpoint that we know nothing of takes five."""
    assert own_accounting(view(own=OWN_ACCOUNTING_FLOOR - 1), 1.0)
    assert not own_accounting(view(own=OWN_ACCOUNTING_FLOOR), 1.0)


# ------------------------------------------------------------------------------------------- limits


MODES = [
    UtilizationDetector(queue_depth_threshold=50),
    ConcurrencyDetector(max_concurrency=50),
    ConcurrencyDetector(mode=ConcurrencyMode.TOKENS),
    ConcurrencyDetector(mode=ConcurrencyMode.HYBRID, max_concurrency=50),
]


@pytest.mark.parametrize("detector", MODES)
@pytest.mark.parametrize(("stated", "learned"), [(3, None), (None, 3.0), (3, 9.0), (9, 3.0)])
def test_the_endpoints_own_limit_bounds_its_requests(
    detector: Any, stated: int | None, learned: float | None
) -> None:
    """Stated or learned, the lower of the two holds in every mode, below ceilings, and shows in the saturation."""
    assert detector.has_room(view(own=2, limit=stated, learned=learned), 1.0)
    assert not detector.has_room(view(own=3, limit=stated, learned=learned), 1.0)
    assert not detector.has_room(view(own=1, foreign=2, limit=stated, learned=learned), 1.0)
    assert not detector.has_room(view(own=2, limit=stated, learned=learned), 0.5)
    assert detector.saturation(view(own=3, limit=stated, learned=learned)) == 1.0


@pytest.mark.parametrize("detector", MODES)
def test_a_limit_of_nothing_means_never(detector: Any) -> None:
    """An operator who states 0 takes an endpoint out of use, whatever is known of it, and it counts as full."""
    for knowledge in Knowledge:
        assert not detector.has_room(view(limit=0, knowledge=knowledge), 1.0)
        assert not detector.has_room(view(limit=0, learned=5.0, knowledge=knowledge), 1.0)
    assert detector.saturation(view(limit=0)) == 1.0


def test_an_endpoints_own_limit_replaces_the_detectors_number() -> None:
    """It may be higher, too: the detector's number is for endpoints of which nobody says anything."""
    detector = ConcurrencyDetector(max_concurrency=2)
    assert detector.has_room(view(own=5, limit=6), 1.0)
    assert detector.has_room(view(own=5, learned=6.0), 1.0)
    hybrid = ConcurrencyDetector(mode=ConcurrencyMode.HYBRID, max_concurrency=2, max_token_concurrency=100)
    assert hybrid.has_room(view(own=5, tokens=99, limit=6), 1.0)
    assert not hybrid.has_room(view(own=5, tokens=100, limit=6), 1.0)


def test_tokens_alone_need_no_limit_on_requests() -> None:
    """Counting tokens, the detector's number of requests says nothing, the endpoint's own does."""
    tokens = ConcurrencyDetector(mode=ConcurrencyMode.TOKENS, max_concurrency=1, max_token_concurrency=100)
    assert tokens.saturation(view(own=50, tokens=40)) == 0.4
    assert tokens.saturation(view(own=5, tokens=40, limit=10)) == 0.5


# ---------------------------------------------------------------------------------------- staleness


LASTING = StalenessPolicy.LAST_SAMPLE


def test_the_last_sample_goes_on_counting_where_that_is_wanted() -> None:
    """Queue, cache and others' requests as last seen, beside what we have there now."""
    stale = Knowledge.STALE
    detector = UtilizationDetector(queue_depth_threshold=5, staleness=LASTING)
    assert detector.has_room(view(own=12, running=8, knowledge=stale), 1.0)
    assert not detector.has_room(view(own=13, running=8, knowledge=stale), 1.0)
    assert not detector.has_room(view(own=8, foreign=5, running=8, knowledge=stale), 1.0)
    assert not detector.has_room(view(own=1, kv=0.8, knowledge=stale), 1.0)
    assert detector.saturation(view(own=1, kv=0.4, knowledge=stale)) == 0.5
    counting = ConcurrencyDetector(max_concurrency=4, staleness=LASTING)
    assert counting.has_room(view(own=1, foreign=2, knowledge=stale), 1.0)
    assert not counting.has_room(view(own=2, foreign=2, knowledge=stale), 1.0)
    assert counting.renewable(view(own=2, foreign=2, knowledge=stale))


@pytest.mark.parametrize(
    "detector", [UtilizationDetector(staleness=LASTING), ConcurrencyDetector(staleness=LASTING)]
)
def test_an_old_sample_that_said_full_does_not_close_the_endpoint(detector: Any) -> None:
    """One request of ours fits at any time, whatever was there when it was last heard of; below a ceiling of 0 none."""
    full = view(foreign=300, waiting=99, running=50, kv=1.0, knowledge=Knowledge.STALE, limit=3)
    assert detector.has_room(full, 1.0)
    assert detector.has_room(full, 0.1)
    assert not detector.has_room(full, 0.0)
    assert not detector.has_room(full._replace(own_requests=1), 1.0)
    assert not detector.has_room(full._replace(knowledge=Knowledge.FRESH), 1.0)
    assert counted_load(full) == 0
    assert counted_load(full._replace(own_requests=1)) == 301


@pytest.mark.parametrize("staleness", StalenessPolicy)
def test_before_the_first_sample_own_accounting_decides(staleness: StalenessPolicy) -> None:
    """Nothing was ever seen, so nothing can go on counting: five at once, whatever the policy."""
    detector = UtilizationDetector(staleness=staleness)
    assert detector.has_room(view(own=4, knowledge=Knowledge.UNKNOWN), 1.0)
    assert not detector.has_room(view(own=5, knowledge=Knowledge.UNKNOWN), 1.0)


def test_strangers_forget_stale_samples() -> None:
    """Only our own detectors say what becomes of a stale sample; anybody else's view has own accounting."""
    assert staleness_of(UtilizationDetector(staleness=LASTING)) is LASTING
    assert staleness_of(ConcurrencyDetector(staleness=LASTING)) is LASTING
    assert staleness_of(ConcurrencyDetector()) is StalenessPolicy.OWN_ACCOUNTING
    assert staleness_of(object()) is StalenessPolicy.OWN_ACCOUNTING
