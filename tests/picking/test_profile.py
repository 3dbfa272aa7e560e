"""The profile: the core's choice of endpoint."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.core.endpoint import EndpointSpec, EndpointView, EngineSample, Knowledge
from epp.core.guard import PolicyGuard
from epp.picking.pickers import MaxScorePicker, RandomPicker, WeightedRandomPicker
from epp.picking.profile import Profile
from epp.picking.scorers import KvCacheUtilizationScorer, QueueScorer, RunningRequestsScorer

UPSTREAM_DEFAULT = (QueueScorer(2.0), KvCacheUtilizationScorer(2.0))
PICKERS = [MaxScorePicker(), RandomPicker(), WeightedRandomPicker()]

numbers = st.one_of(st.integers(-5, 10_000), st.floats(allow_nan=True, allow_infinity=True))
views = st.builds(
    EndpointView,
    spec=st.builds(EndpointSpec, address=st.integers(0, 50).map("10.0.0.{}:8000".format)),
    own_requests=st.integers(0, 5000),
    own_tokens=st.integers(0, 10**9),
    foreign_requests=st.integers(0, 5000),
    knowledge=st.sampled_from(Knowledge),
    sample=st.builds(EngineSample, waiting=numbers, running=numbers, kv_utilization=numbers),
    proven_requests=st.integers(0, 5000),
    sent_since_sample=st.integers(0, 5000),
)


def profile(*scorers, picker=None, seed=1) -> Profile:
    """A profile with upstream's default scorers and picker, unless the test names others."""
    return Profile(
        name="default",
        scorers=scorers or UPSTREAM_DEFAULT,
        picker=picker or MaxScorePicker(),
        uniform=Random(seed).random,
    )


def burst(choice: Profile, pool: list[EndpointView], count: int) -> Counter[str]:
    """Dispatch `count` requests between two scrapes, each seen by the next one's views."""
    sent: Counter[str] = Counter()
    pool = list(pool)
    for _ in range(count):
        chosen = choice.choose(pool, None)
        sent[chosen.spec.address] += 1
        pool[pool.index(chosen)] = chosen._replace(
            own_requests=chosen.own_requests + 1, sent_since_sample=chosen.sent_since_sample + 1
        )
    return sent


@pytest.mark.parametrize("picker", PICKERS, ids=lambda picker: picker.name)
@settings(deadline=None)
@given(candidates=st.lists(views, min_size=1, max_size=20), seed=st.integers(0, 2**32))
def test_the_choice_is_a_member_whatever_the_samples(picker, candidates, seed):
    """Odd samples, huge numbers, equal addresses: the answer is one of the very objects, and no policy fault."""
    choice = profile(
        QueueScorer(2.0), KvCacheUtilizationScorer(2.0), RunningRequestsScorer(), picker=picker, seed=seed
    )
    guard = PolicyGuard()
    for _ in range(3):
        chosen = guard.choose(choice, candidates, None)
        assert any(chosen is candidate for candidate in candidates)
    assert guard.faults == {}


@settings(deadline=None)
@given(
    calls=st.lists(st.lists(views, min_size=1, max_size=8), min_size=1, max_size=10),
    picker=st.sampled_from(PICKERS),
)
def test_the_same_seed_gives_the_same_choices(calls, picker):
    """Two profiles with one seed agree on every call."""
    first, second = profile(picker=picker, seed=11), profile(picker=picker, seed=11)
    assert [first.choose(call, None) for call in calls] == [second.choose(call, None) for call in calls]


@settings(deadline=None)
@given(calls=st.lists(st.lists(views, min_size=1, max_size=8), min_size=2, max_size=10))
def test_memory_of_earlier_calls_changes_nothing(calls):
    """What a profile remembers of views makes it fast and nothing else: a new one chooses alike."""
    seasoned = profile(seed=5)
    for call in calls[:-1]:
        seasoned.choose(call, None)
    steady = Profile(name="steady", scorers=UPSTREAM_DEFAULT, picker=MaxScorePicker(), uniform=lambda: 0.5)
    fresh = Profile(name="fresh", scorers=UPSTREAM_DEFAULT, picker=MaxScorePicker(), uniform=lambda: 0.5)
    for call in calls:
        steady.choose(call, None)
    assert steady.choose(calls[-1], None) is fresh.choose(calls[-1], None)


@pytest.mark.parametrize("knowledge", list(Knowledge))
def test_a_burst_spreads_evenly_between_two_scrapes(make_view, knowledge):
    """200 requests onto 4 idle servers before the next sample: 50 each, whatever is known of the servers."""
    pool = [make_view(name, knowledge=knowledge) for name in "abcd"]
    sent = burst(profile(), pool, 200)
    assert sorted(sent.values()) == [50, 50, 50, 50]


def test_a_burst_does_not_herd_on_the_emptiest_cache(make_view):
    """One endpoint that looked better when it was asked doesn't get everything until it is asked again."""
    pool = [make_view(name, kv=kv) for name, kv in zip("abcd", (0.02, 0.05, 0.06, 0.07), strict=True)]
    sent = burst(profile(), pool, 100)
    assert max(sent.values()) - min(sent.values()) <= 2


def test_a_burst_does_not_herd_where_a_crowd_has_just_left(make_view):
    """A sample that shows 50 running, all ended since, hides no more of a burst than an idle server's does."""
    pool = [make_view("crowd", running=50, kv=0.0), make_view("idle", running=0, kv=0.01)]
    sent = burst(profile(), pool, 40)
    assert abs(sent["crowd:8000"] - sent["idle:8000"]) <= 2


def test_the_shorter_queue_wins(make_view):
    """With upstream's weights a server whose queue is longest loses against one with free slots."""
    loaded = make_view("loaded", own=12, waiting=4, running=8, kv=0.5)
    free = make_view("free", own=4, running=4, kv=0.5)
    assert profile().choose([loaded, free], None) is free


def test_the_emptier_cache_wins_among_equal_queues(make_view):
    """Queues being equal, KV decides."""
    full, empty = make_view("full", kv=0.7), make_view("empty", kv=0.1)
    assert profile().choose([full, empty], None) is empty


def test_without_scorers_the_least_loaded_wins(make_view):
    """A profile of which no scorer has an effect spreads by load."""
    bare = Profile(name="bare", scorers=(), picker=MaxScorePicker(), uniform=Random(1).random)
    pool = [make_view("a", own=3), make_view("b", own=1), make_view("c", own=1, foreign=1)]
    assert bare.choose(pool, None) is pool[1]


def test_a_single_candidate_costs_no_chance(make_view):
    """With one endpoint there is nothing to decide, and the sequence of chances stays where it is."""
    alone = Profile(
        name="alone", scorers=UPSTREAM_DEFAULT, picker=RandomPicker(), uniform=lambda: pytest.fail("drew")
    )
    view = make_view()
    assert alone.choose([view], None) is view


def test_a_negative_weight_prefers_the_fullest(make_view):
    """Packing instead of spreading is a weight away."""
    full, empty = make_view("full", kv=0.7), make_view("empty", kv=0.1)
    assert profile(KvCacheUtilizationScorer(-1.0)).choose([empty, full], None) is full


def test_candidates_are_left_as_they_are(make_view):
    """The choice neither changes nor keeps the list that it is given."""
    pool = [make_view(name) for name in "abc"]
    given_list = list(pool)
    profile().choose(given_list, None)
    assert given_list == pool
