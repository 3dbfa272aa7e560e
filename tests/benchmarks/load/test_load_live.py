"""What a display sees while a play goes on."""

from __future__ import annotations

from benchmarks.load.live import RECENT_S, Counts, LagMeter
from benchmarks.load.outcome import Result


def test_requests_move_from_waiting_to_their_end() -> None:
    """Each is in one place at a time."""
    counts = Counts()
    counts.waiting += 4
    counts.started(ttft_s=0.2, now_s=1.0)
    counts.started(ttft_s=0.4, now_s=1.0)
    live = counts.live(1.0)
    assert (live.waiting, live.streaming) == (2, 2)
    counts.ended(Result.COMPLETED, had_token=True)
    counts.ended(Result.HUNG_UP, had_token=True)
    counts.ended(Result.GAVE_UP, had_token=False)
    counts.ended(Result.REFUSED, had_token=False)
    live = counts.live(1.0)
    assert (live.waiting, live.streaming, live.broken) == (0, 0, 0)
    assert (live.completed, live.hung_up, live.gave_up, live.refused) == (1, 1, 1, 1)


def test_rates_are_of_lately() -> None:
    """A rate forgets what was before, and a pause makes it 0."""
    counts = Counts()
    for second in range(20):
        counts.tokens += 10
        if second < 10:
            counts.ended(Result.COMPLETED, had_token=True)
        live = counts.live(float(second + 1))
        assert live.tokens_per_s == 10.0
    assert live.completed_per_s == 0.0
    assert counts.live(20.0 + 3 * RECENT_S).tokens_per_s == 0.0


def test_the_median_is_of_recent_first_tokens() -> None:
    """Old ones don't count, and without any there is none."""
    counts = Counts()
    assert counts.live(0.0).ttft_s is None
    for number, ttft_s in enumerate((9.0, 0.1, 0.2, 0.3)):
        counts.started(ttft_s=ttft_s, now_s=0.0 if number == 0 else 10.0)
    assert counts.live(10.0).ttft_s == 0.2
    assert counts.live(30.0).ttft_s is None


def test_many_looks_cost_no_memory() -> None:
    """Only those of the last seconds are kept."""
    counts = Counts()
    for look in range(10_000):
        counts.live(look * 0.1)
    assert len(counts._looks) <= RECENT_S / 0.1 + 3


def test_the_worst_lag_lately() -> None:
    """The longest of the last seconds, whichever came first, and then the longest of the rest."""
    meter = LagMeter()
    assert meter.worst_s(0.0) == 0.0
    for now_s, lag_s in ((0.0, 0.1), (1.0, 0.5), (2.0, 0.2), (3.0, 0.3)):
        meter.sent(lag_s=lag_s, now_s=now_s)
    assert meter.worst_s(3.0) == 0.5
    assert meter.worst_s(1.1 + RECENT_S) == 0.3
    assert meter.worst_s(3.1 + RECENT_S) == 0.0
