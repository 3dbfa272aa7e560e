"""Scorers: upstream's formulas over what the board shows."""

from __future__ import annotations

import pytest

from epp.core.endpoint import Knowledge
from epp.picking.board import BoardKeeper
from epp.picking.scorers import KvCacheUtilizationScorer, QueueScorer, RunningRequestsScorer


def scores(scorer, *views) -> list[float]:
    """What the scorer says of these views."""
    return scorer.scores(BoardKeeper().board(views), None)


def test_queue_scores_lie_between_the_longest_and_the_shortest(make_view):
    """(max - x) / (max - min), as upstream."""
    views = [make_view(str(queue), own=8 + queue, waiting=queue, running=8) for queue in (4, 1, 0)]
    assert scores(QueueScorer(), *views) == [0.0, 0.75, 1.0]


def test_running_scores_lie_between_the_busiest_and_the_idlest(make_view):
    """The same formula over requests that run."""
    views = [make_view(str(running), own=running, running=running) for running in (10, 5, 0)]
    assert scores(RunningRequestsScorer(), *views) == [0.0, 0.5, 1.0]


def test_kv_scores_are_what_is_free(make_view):
    """1 - use, as upstream, and not relative to the others."""
    assert scores(KvCacheUtilizationScorer(), make_view("a", kv=0.25), make_view("b", kv=1.0)) == [0.75, 0.0]


@pytest.mark.parametrize("scorer", [QueueScorer(3.0), RunningRequestsScorer(3.0)])
def test_equal_counts_score_full(make_view, scorer):
    """If nobody is better, everybody is best: the scorer has no say."""
    assert scores(scorer, *[make_view(str(n), own=5, running=5) for n in range(3)]) == [3.0] * 3


@pytest.mark.parametrize(
    "kind", [QueueScorer, RunningRequestsScorer, KvCacheUtilizationScorer], ids=lambda kind: kind.__name__
)
def test_weights_multiply(make_view, kind):
    """A scorer applies its weight itself, a negative one as well."""
    views = [
        make_view("a", own=9, running=3, kv=0.4),
        make_view("b", own=2, running=2, kv=0.1),
        make_view("c"),
    ]
    plain = scores(kind(), *views)
    assert scores(kind(2.5), *views) == pytest.approx([2.5 * score for score in plain])
    assert scores(kind(-1.0), *views) == pytest.approx([-score for score in plain])
    assert all(0.0 <= score <= 1.0 for score in plain)


def test_an_unknown_cache_is_judged_by_own_requests(make_view):
    """Beside an endpoint without a usable sample all are judged by what we know of all: shares of the busiest load."""
    fresh = make_view("fresh", own=10, running=10, kv=0.5)
    stale = make_view("stale", own=5, knowledge=Knowledge.STALE, kv=0.99)
    unknown = make_view("unknown", own=10, knowledge=Knowledge.UNKNOWN)
    idle = make_view("idle", knowledge=Knowledge.UNKNOWN)
    assert scores(KvCacheUtilizationScorer(), fresh, stale, unknown, idle) == [0.0, 0.5, 0.0, 1.0]


def test_nothing_known_and_nothing_running_scores_full(make_view):
    """The first choices after a start have no load to compare, and that is no division by zero."""
    views = [make_view(name, knowledge=Knowledge.UNKNOWN) for name in "abc"]
    assert scores(KvCacheUtilizationScorer(2.0), *views) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "kind", [QueueScorer, RunningRequestsScorer, KvCacheUtilizationScorer], ids=lambda kind: kind.__name__
)
def test_an_endpoint_that_still_tells_does_not_draw_everything(make_view, kind):
    """Engines that work on equally many requests score alike, though only one of them says that none waits there."""
    fresh = make_view("fresh", own=4, running=4, kv=0.01)
    stale = make_view("stale", own=4, knowledge=Knowledge.STALE)
    busier = make_view("busier", own=6, running=6, kv=0.01)
    even, same, worse = scores(kind(), fresh, stale, busier)
    assert even == same
    assert worse < even
    shared = make_view("shared", own=4, foreign=20, running=24, kv=0.01)
    assert len(set(scores(kind(), shared, stale))) == 1, (
        "of the stale one nobody knows what others sent there"
    )
