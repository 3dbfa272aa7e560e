"""The count of one half of the demo."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.demo.tally import RECENT_S, Outcome, Result, Tally, percentile, summarize


def outcome(
    due_s: float, *, ttft_s: float | None = None, ended_s: float = 0.0, result: Result = Result.COMPLETED
) -> Outcome:
    """One request of class a."""
    return Outcome("a", due_s, None if ttft_s is None else due_s + ttft_s, ended_s, result)


def test_a_percentile_is_a_value_that_occurred() -> None:
    """Nearest rank: no interpolation between a quick answer and a slow one."""
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.50) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 1.0) == 100.0
    assert percentile([7.0], 0.01) == 7.0


def test_no_answer_ranks_behind_every_answer() -> None:
    """One lost request of a hundred does not show at the 99th percentile, two do."""
    answered = [0.1] * 98
    assert percentile([*answered, 0.1, None], 0.99) == 0.1
    assert percentile([*answered, None, None], 0.99) is None


def test_there_is_no_percentile_of_nothing() -> None:
    """An empty class has no figures."""
    assert percentile([], 0.5) is None


@given(
    st.lists(st.one_of(st.none(), st.floats(min_value=0, max_value=1e6)), min_size=1),
    st.floats(min_value=0.01, max_value=1),
)
def test_a_percentile_covers_its_share_and_nothing_smaller_does(
    values: list[float | None], quantile: float
) -> None:
    """By definition: enough values are at or below it, and too few below it."""
    value = percentile(values, quantile)
    bound = math.inf if value is None else value
    ranks = [math.inf if each is None else each for each in values]
    assert bound in ranks
    assert sum(rank <= bound for rank in ranks) >= quantile * len(ranks) - 1e-6
    assert sum(rank < bound for rank in ranks) < quantile * len(ranks) + 1e-6


def test_a_request_is_in_one_place_at_a_time() -> None:
    """It moves from waiting to streaming to its result, and the sum stays one."""
    tally = Tally(["a", "b"])
    states = []

    def look() -> None:
        live = tally.snapshot(1.0, queued=None).classes["a"]
        states.append((live.waiting, live.streaming, live.completed))

    look()
    tally.sent("a")
    look()
    tally.started("a", ttft_s=0.5, now_s=0.5)
    look()
    tally.ended(outcome(0.0, ttft_s=0.5, ended_s=0.9))
    look()
    assert states == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert tally.snapshot(1.0, queued=None).classes["b"].completed == 0


@pytest.mark.parametrize("result", [Result.REFUSED, Result.GAVE_UP, Result.BROKEN])
def test_a_request_without_a_token_leaves_the_waiting(result: Result) -> None:
    """However it is lost, it is counted once and waits no more."""
    tally = Tally(["a"])
    tally.sent("a")
    tally.ended(outcome(0.0, result=result))
    live = tally.snapshot(0.0, queued=None).classes["a"]
    assert (live.waiting, live.streaming) == (0, 0)
    assert (live.refused, live.gave_up, live.broken) == tuple(
        int(result is each) for each in (Result.REFUSED, Result.GAVE_UP, Result.BROKEN)
    )


def test_live_figures_forget() -> None:
    """What happened longer ago than the window no longer counts."""
    tally = Tally(["a"])
    for now_s, ttft_s in ((0.0, 9.0), (10.0, 0.2), (10.0, 0.4), (10.0, 0.3)):
        tally.sent("a")
        tally.started("a", ttft_s=ttft_s, now_s=now_s)
        tally.ended(outcome(0.0, ttft_s=ttft_s, ended_s=now_s))
    live = tally.snapshot(10.0, queued=None).classes["a"]
    assert live.ttft_s == 0.3
    assert live.completed_per_s == 3 / RECENT_S
    assert live.completed == 4


def test_the_first_seconds_have_a_rate_too() -> None:
    """Before the window is full, the rate is over the time that there was, at least a second."""
    tally = Tally(["a"])
    tally.sent("a")
    tally.started("a", ttft_s=0.1, now_s=0.1)
    tally.ended(outcome(0.0, ttft_s=0.1, ended_s=0.1))
    assert tally.snapshot(0.2, queued=None).classes["a"].completed_per_s == 1.0
    assert tally.snapshot(2.0, queued=None).classes["a"].completed_per_s == 0.5


def test_a_summary_adds_up() -> None:
    """Every outcome is in one column; only what completed while traffic arrived is throughput."""
    summary = summarize(
        [
            outcome(1.0, ttft_s=0.1, ended_s=2.0),
            outcome(1.0, ttft_s=0.3, ended_s=10.0),
            outcome(9.0, ttft_s=0.2, ended_s=10.1),
            outcome(1.0, ended_s=2.0, result=Result.REFUSED),
            outcome(1.0, ended_s=2.0, result=Result.GAVE_UP),
            outcome(1.0, ttft_s=0.1, ended_s=2.0, result=Result.BROKEN),
        ],
        arrivals_s=10.0,
    )
    assert (summary.sent, summary.completed, summary.refused, summary.gave_up, summary.broken) == (
        6,
        3,
        1,
        1,
        1,
    )
    assert summary.completed_per_s == 0.2
    assert summary.p50_ttft_s == pytest.approx(0.2)
    assert summary.p99_ttft_s is None


def test_a_summary_says_why() -> None:
    """Reasons are counted, the most frequent first; requests without one are not among them."""
    details = ["429 evicted-ttl", "503 other", "429 evicted-ttl", ""]
    summary = summarize(
        [outcome(1.0, result=Result.REFUSED)._replace(detail=detail) for detail in details], arrivals_s=1.0
    )
    assert list(summary.details.items()) == [("429 evicted-ttl", 2), ("503 other", 1)]
