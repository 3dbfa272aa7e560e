"""How fast a band drains: dispatches per second over the last few seconds, and what that promises a refused client."""

from __future__ import annotations

from math import ceil

_WINDOW_S = 10
SHORTEST_RETRY_S = 1
LONGEST_RETRY_S = 60


def retry_after_s(ahead: int, per_second: float) -> int:
    """When a request with `ahead` requests before it would get its turn: 1 to 60 s, 60 if nothing drains."""
    if per_second <= 0:
        return LONGEST_RETRY_S
    return min(LONGEST_RETRY_S, max(SHORTEST_RETRY_S, ceil(ahead / per_second)))


class DrainRate:
    """A sliding count in buckets of one second."""

    __slots__ = ("_counts", "_first_s", "_last_s")

    def __init__(self) -> None:
        self._counts = [0] * _WINDOW_S
        self._first_s: int | None = None
        self._last_s = 0

    def count(self, now: float) -> None:
        """One request left for an endpoint."""
        self._advance(int(now))
        self._counts[self._last_s % _WINDOW_S] += 1

    def per_second(self, now: float) -> float:
        """Dispatches per second, over the window or as much of it as there has been."""
        if self._first_s is None:
            return 0.0
        self._advance(int(now))
        lived_s = max(1.0, min(float(_WINDOW_S), now - self._first_s))
        return sum(self._counts) / lived_s

    def _advance(self, second: int) -> None:
        if self._first_s is None:
            self._first_s = self._last_s = second
        elif second > self._last_s:
            for passed in range(self._last_s + 1, min(second, self._last_s + _WINDOW_S) + 1):
                self._counts[passed % _WINDOW_S] = 0
            if second - self._last_s >= 2 * _WINDOW_S:
                self._first_s = second
            self._last_s = second
