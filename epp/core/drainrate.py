"""How fast a band drains: requests per second over the last few seconds, and what their flows were charged for them."""

from __future__ import annotations

_WINDOW_S = 10


class DrainRate:
    """Sliding sums, by the second.

    They are asked for often, so what is kept is what had left before each of the last seconds: a sum is one difference.
    """

    __slots__ = ("_cost", "_cost_before", "_count", "_count_before", "_first_s", "_last_s")

    def __init__(self) -> None:
        self._count = 0
        self._cost = 0.0
        self._count_before = [0] * _WINDOW_S
        self._cost_before = [0.0] * _WINDOW_S
        self._first_s: int | None = None
        self._last_s = 0

    def count(self, now: float, cost: float = 0.0) -> None:
        """One request left for an endpoint, at this cost to its flow."""
        second = int(now)
        if self._first_s is None or second > self._last_s:
            self._advance(second)
        self._count += 1
        self._cost += cost

    def per_second(self, now: float) -> float:
        """Dispatches per second, over the window or as much of it as there has been."""
        first_s = max(int(now), self._last_s) - _WINDOW_S + 1
        if first_s > self._last_s:
            return 0.0
        return (self._count - self._count_before[first_s % _WINDOW_S]) / self._lived_s(now)

    def cost_per_second(self, now: float) -> float:
        """What flows were charged per second, over the same time."""
        first_s = max(int(now), self._last_s) - _WINDOW_S + 1
        if first_s > self._last_s:
            return 0.0
        return (self._cost - self._cost_before[first_s % _WINDOW_S]) / self._lived_s(now)

    def _lived_s(self, now: float) -> float:
        """How much of the window there has been."""
        return 1.0 if self._first_s is None else max(1.0, min(float(_WINDOW_S), now - self._first_s))

    def _advance(self, second: int) -> None:
        """A later second begins: whatever has left so far left before it, and before those that nothing left in."""
        last_s = self._last_s
        if self._first_s is None or second - last_s >= 2 * _WINDOW_S:
            self._first_s = second
            last_s = second - _WINDOW_S
        for begun in range(max(last_s, second - _WINDOW_S) + 1, second + 1):
            self._count_before[begun % _WINDOW_S] = self._count
            self._cost_before[begun % _WINDOW_S] = self._cost
        self._last_s = second
