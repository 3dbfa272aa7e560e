"""What became of the requests of one half of the demo, by class of traffic.

Promises:
- Pure: time is passed in, in seconds since the half began.
- Every request that was sent ends in exactly one `Result`, and all figures are sums over those.
- Waiting is measured from the moment a request was *due*, so a slow client can't hide a wait.
- A percentile of the time to first token is taken over all requests of a class. One that never got a token ranks
  behind all that did: leaving it out would reward refusing.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RECENT_S = 5.0
"""How far back the live figures look."""


class Result(Enum):
    """How a request ended, from its client's point of view."""

    COMPLETED = "completed"
    REFUSED = "refused"
    """An honest no: it says why."""
    GAVE_UP = "gave up"
    """No first token within the client's patience."""
    BROKEN = "broken"
    """Anything else: a broken connection, an incomplete answer, an unexpected status."""


class Outcome(NamedTuple):
    """One request, finished; times are in seconds since the half began."""

    class_name: str
    due_s: float
    first_token_s: float | None
    ended_s: float
    result: Result
    detail: str = ""
    """For a refusal its reason, for a broken answer what was wrong with it."""

    @property
    def ttft_s(self) -> float | None:
        """Time to first token; None if none came."""
        return None if self.first_token_s is None else self.first_token_s - self.due_s


class Live(NamedTuple):
    """A class of traffic at one moment."""

    waiting: int
    """Sent, no token yet."""
    streaming: int
    completed: int
    refused: int
    gave_up: int
    broken: int
    completed_per_s: float
    """Lately."""
    ttft_s: float | None
    """Median of those whose first token came lately; None if none did."""


class Snapshot(NamedTuple):
    """All classes at one moment."""

    at_s: float
    classes: dict[str, Live]
    queued: dict[str, int] | None
    """In the picker's queue, by class; None where there is no picker."""


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """A class of traffic over a whole half."""

    sent: int
    completed: int
    refused: int
    gave_up: int
    broken: int
    completed_per_s: float
    """Completed while traffic was arriving, per second of that time."""
    p50_ttft_s: float | None
    """None: at the median, a request of this class got no token at all."""
    p99_ttft_s: float | None
    details: Mapping[str, int] = field(default_factory=dict)
    """Why requests were refused or broke, and how many for each reason; the most frequent first."""


class Tally:
    """The count of one half, kept while it goes on."""

    def __init__(self, class_names: Iterable[str]) -> None:
        self._counts = {name: _Counts() for name in class_names}
        self._outcomes: list[Outcome] = []

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """All that have ended, in the order in which they did."""
        return self._outcomes

    def sent(self, class_name: str) -> None:
        """A request went out."""
        self._counts[class_name].waiting += 1

    def started(self, class_name: str, *, ttft_s: float, now_s: float) -> None:
        """Its first token came."""
        counts = self._counts[class_name]
        counts.waiting -= 1
        counts.streaming += 1
        counts.recent_starts.append((now_s, ttft_s))

    def ended(self, outcome: Outcome) -> None:
        """It is over."""
        counts = self._counts[outcome.class_name]
        if outcome.first_token_s is None:
            counts.waiting -= 1
        else:
            counts.streaming -= 1
        counts.results[outcome.result] += 1
        if outcome.result is Result.COMPLETED:
            counts.recent_completions.append(outcome.ended_s)
        self._outcomes.append(outcome)

    def snapshot(self, now_s: float, *, queued: dict[str, int] | None) -> Snapshot:
        """All classes now."""
        return Snapshot(now_s, {name: counts.live(now_s) for name, counts in self._counts.items()}, queued)


class _Counts:
    def __init__(self) -> None:
        self.waiting = 0
        self.streaming = 0
        self.results = dict.fromkeys(Result, 0)
        self.recent_starts: deque[tuple[float, float]] = deque()
        self.recent_completions: deque[float] = deque()

    def live(self, now_s: float) -> Live:
        while self.recent_starts and self.recent_starts[0][0] < now_s - RECENT_S:
            self.recent_starts.popleft()
        while self.recent_completions and self.recent_completions[0] < now_s - RECENT_S:
            self.recent_completions.popleft()
        return Live(
            waiting=self.waiting,
            streaming=self.streaming,
            completed=self.results[Result.COMPLETED],
            refused=self.results[Result.REFUSED],
            gave_up=self.results[Result.GAVE_UP],
            broken=self.results[Result.BROKEN],
            completed_per_s=len(self.recent_completions) / max(1.0, min(now_s, RECENT_S)),
            ttft_s=percentile([ttft_s for _, ttft_s in self.recent_starts], 0.5),
        )


def percentile(values: Iterable[float | None], quantile: float) -> float | None:
    """The smallest value that at least this share of all does not exceed; None ranks behind every number."""
    ranked = sorted(math.inf if value is None else value for value in values)
    if not ranked:
        return None
    value = ranked[max(0, math.ceil(quantile * len(ranked)) - 1)]
    return None if math.isinf(value) else value


def summarize(outcomes: Iterable[Outcome], *, arrivals_s: float) -> ClassSummary:
    """The figures of `outcomes`; traffic arrived during the first `arrivals_s` seconds."""
    outcomes = tuple(outcomes)
    results = [outcome.result for outcome in outcomes]
    ttfts = [outcome.ttft_s for outcome in outcomes]
    in_time = sum(
        outcome.result is Result.COMPLETED and outcome.ended_s <= arrivals_s for outcome in outcomes
    )
    return ClassSummary(
        sent=len(outcomes),
        completed=results.count(Result.COMPLETED),
        refused=results.count(Result.REFUSED),
        gave_up=results.count(Result.GAVE_UP),
        broken=results.count(Result.BROKEN),
        completed_per_s=in_time / arrivals_s,
        p50_ttft_s=percentile(ttfts, 0.50),
        p99_ttft_s=percentile(ttfts, 0.99),
        details=dict(Counter(outcome.detail for outcome in outcomes if outcome.detail).most_common()),
    )
