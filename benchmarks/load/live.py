"""The state of a play while it goes on, for a display that looks a few times a second.

Promises:
- Counting costs an addition per token; rates are worked out by whoever looks.
- `lately` means the last `RECENT_S`, or since the look before, if that was longer ago.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.load.outcome import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

RECENT_S = 5.0
_RECENT_STARTS = 500


class Live(NamedTuple):
    """A class of traffic at one moment."""

    waiting: int
    """Sent, no token yet."""
    streaming: int
    completed: int
    refused: int
    gave_up: int
    hung_up: int
    broken: int
    completed_per_s: float
    """Lately."""
    tokens_per_s: float
    """Lately."""
    ttft_s: float | None
    """Median of those whose first token came lately, of the last 500 at most; None if none did."""


class Snapshot(NamedTuple):
    """All classes at one moment."""

    elapsed_s: float
    """Since the beginning; 0 before."""
    lag_s: float
    """The longest that a request left after it was due, lately."""
    classes: Mapping[str, Live]


class Counts:
    """One class, counted while it goes on."""

    __slots__ = ("_looks", "_starts", "results", "streaming", "tokens", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.streaming = 0
        self.tokens = 0
        self.results = dict.fromkeys(Result, 0)
        self._starts: deque[tuple[float, float]] = deque(maxlen=_RECENT_STARTS)
        self._looks: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)])

    def started(self, *, ttft_s: float, now_s: float) -> None:
        """A first token came."""
        self.waiting -= 1
        self.streaming += 1
        self._starts.append((now_s, ttft_s))

    def ended(self, result: Result, *, had_token: bool) -> None:
        """A request is over."""
        if had_token:
            self.streaming -= 1
        else:
            self.waiting -= 1
        self.results[result] += 1

    def live(self, now_s: float) -> Live:
        """What there is now."""
        completed = self.results[Result.COMPLETED]
        looks = self._looks
        while len(looks) > 1 and looks[1][0] <= now_s - RECENT_S:
            looks.popleft()
        since_s, completed_then, tokens_then = looks[0]
        period_s = max(1.0, now_s - since_s)
        looks.append((now_s, completed, self.tokens))
        recent = [ttft_s for started_s, ttft_s in self._starts if started_s > now_s - RECENT_S]
        return Live(
            waiting=self.waiting,
            streaming=self.streaming,
            completed=completed,
            refused=self.results[Result.REFUSED],
            gave_up=self.results[Result.GAVE_UP],
            hung_up=self.results[Result.HUNG_UP],
            broken=self.results[Result.BROKEN],
            completed_per_s=(completed - completed_then) / period_s,
            tokens_per_s=(self.tokens - tokens_then) / period_s,
            ttft_s=median(recent) if recent else None,
        )


class LagMeter:
    """How late requests leave."""

    __slots__ = ("_sent",)

    def __init__(self) -> None:
        self._sent: deque[tuple[float, float]] = deque()

    def sent(self, *, lag_s: float, now_s: float) -> None:
        """A request left."""
        sent = self._sent
        # Whoever left earlier with a smaller lag can't be the longest any more.
        while sent and sent[-1][1] <= lag_s:
            sent.pop()
        sent.append((now_s, lag_s))

    def worst_s(self, now_s: float) -> float:
        """The longest lately; 0 if none left."""
        sent = self._sent
        while sent and sent[0][0] < now_s - RECENT_S:
            sent.popleft()
        return sent[0][1] if sent else 0.0
