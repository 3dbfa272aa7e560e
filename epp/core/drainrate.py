"""How fast a band drains: requests per second over the last few seconds, and what their flows were charged for them."""

from __future__ import annotations

_WINDOW_S = 10


class DrainRate:
    """Sliding sums in buckets of one second. They are asked for often, so their totals are kept as well."""

    __slots__ = ("_costs", "_counts", "_first_s", "_last_s", "_total_cost", "_total_count")

    def __init__(self) -> None:
        self._counts = [0] * _WINDOW_S
        self._costs = [0.0] * _WINDOW_S
        self._total_count = 0
        self._total_cost = 0.0
        self._first_s: int | None = None
        self._last_s = 0

    def count(self, now: float, cost: float = 0.0) -> None:
        """One request left for an endpoint, at this cost to its flow."""
        self._advance(int(now))
        bucket = self._last_s % _WINDOW_S
        self._counts[bucket] += 1
        self._costs[bucket] += cost
        self._total_count += 1
        self._total_cost += cost

    def per_second(self, now: float) -> float:
        """Dispatches per second, over the window or as much of it as there has been."""
        if int(now) <= self._last_s:
            return self._total_count / self._lived_s(now)
        return sum([self._counts[bucket] for bucket in self._still(now)]) / self._lived_s(now)

    def cost_per_second(self, now: float) -> float:
        """What flows were charged per second, over the same time."""
        if int(now) <= self._last_s:
            return self._total_cost / self._lived_s(now)
        return sum([self._costs[bucket] for bucket in self._still(now)]) / self._lived_s(now)

    def _still(self, now: float) -> list[int]:
        """The buckets that count at `now`, which is later than the last dispatch. Nobody who looks changes anything."""
        return [second % _WINDOW_S for second in range(int(now) - _WINDOW_S + 1, self._last_s + 1)]

    def _lived_s(self, now: float) -> float:
        """How much of the window there has been."""
        return 1.0 if self._first_s is None else max(1.0, min(float(_WINDOW_S), now - self._first_s))

    def _advance(self, second: int) -> None:
        if self._first_s is None:
            self._first_s = self._last_s = second
        elif second > self._last_s:
            for passed in range(self._last_s + 1, min(second, self._last_s + _WINDOW_S) + 1):
                self._counts[passed % _WINDOW_S] = 0
                self._costs[passed % _WINDOW_S] = 0.0
            self._total_count = sum(self._counts)
            self._total_cost = sum(self._costs)
            if second - self._last_s >= 2 * _WINDOW_S:
                self._first_s = second
            self._last_s = second
