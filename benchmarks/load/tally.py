"""What becomes of the requests of one class, counted while they are played.

Promises:
- Every request that was sent ends in exactly one outcome; all counts and histograms are sums over those.
- Histograms of first tokens and of whole answers count every request once, at its end; only those that the scenario
  made hang up are left out, since how long they would have waited nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.load.histograms import LONGEST_US, ClassHistograms, Which
from benchmarks.load.live import Counts
from benchmarks.load.outcome import Result

if TYPE_CHECKING:
    from benchmarks.load.outcome import Outcome


class ClassTally:
    """One class."""

    __slots__ = ("_outcomes", "_record_gap", "counts", "histograms")

    def __init__(self, outcomes: list[Outcome]) -> None:
        self._outcomes = outcomes
        """Of all classes, in the order in which they end."""
        self.counts = Counts()
        self.histograms = ClassHistograms()
        self._record_gap = self.histograms.gap.record_value

    def sent(self) -> None:
        """A request left."""
        self.counts.waiting += 1

    def started(self, tokens: int, *, ttft_s: float, now_s: float) -> None:
        """Its first token came, perhaps with others."""
        self.counts.started(ttft_s=ttft_s, now_s=now_s)
        self.counts.tokens += tokens
        if tokens > 1:
            self._record_gap(0, tokens - 1)

    def continued(self, tokens: int, gap_s: float) -> None:
        """More tokens came, so long after the one before them."""
        self.counts.tokens += tokens
        self._record_gap(min(LONGEST_US, int(gap_s * 1e6)))
        if tokens > 1:
            self._record_gap(0, tokens - 1)

    def ended(self, outcome: Outcome) -> None:
        """It is over."""
        self._outcomes.append(outcome)
        self.counts.ended(outcome.result, had_token=outcome.first_token_s is not None)
        if outcome.result is Result.HUNG_UP:
            return
        self.histograms.record(Which.TTFT, outcome.ttft_s)
        completed = outcome.result is Result.COMPLETED
        self.histograms.record(Which.LATENCY, outcome.latency_s if completed else None)
