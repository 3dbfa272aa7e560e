"""How fast a band drains: requests per second over the last few seconds, and what their flows were charged for them."""

from __future__ import annotations

_WINDOW_S = 10


class DrainRate:
    """Sliding sums, by the second.

    They are asked for often, so they are kept while a second lasts, and added up anew when the next one begins: what is
    more than a window ago leaves no trace, however large it was.
    """

    __slots__ = ("_cost", "_costs", "_count", "_counts", "_first_s", "_last_s")

    def __init__(self) -> None:
        self._counts = [0] * _WINDOW_S
        self._costs = [0.0] * _WINDOW_S
        self._count = 0
        self._cost = 0.0
        self._first_s: int | None = None
        self._last_s = 0

    def count(self, now: float, cost: float = 0.0) -> None:
        """One request left for an endpoint, at this cost to its flow."""
        second = int(now)
        if self._first_s is None or second > self._last_s:
            self._advance(second)
        place = self._last_s % _WINDOW_S
        self._counts[place] += 1
        self._costs[place] += cost
        self._count += 1
        self._cost += cost

    def per_second(self, now: float) -> float:
        """Dispatches per second, over the window or as much of it as there has been."""
        count = self._count
        if int(now) > self._last_s:
            count = sum([self._counts[each % _WINDOW_S] for each in self._still_in(now)])
        return count / self._lived_s(now)

    def cost_per_second(self, now: float) -> float:
        """What flows were charged per second, over the same time."""
        cost = self._cost
        if int(now) > self._last_s:
            cost = sum([self._costs[each % _WINDOW_S] for each in self._still_in(now)])
        return cost / self._lived_s(now)

    def _still_in(self, now: float) -> range:
        """The seconds up to the last one in which something left that the window still has in it."""
        return range(int(now) - _WINDOW_S + 1, self._last_s + 1)

    def _lived_s(self, now: float) -> float:
        """How much of the window there has been."""
        return 1.0 if self._first_s is None else max(1.0, min(float(_WINDOW_S), now - self._first_s))

    def _advance(self, second: int) -> None:
        """A later second begins; nothing left in those between."""
        last_s = self._last_s
        if self._first_s is None or second - last_s >= 2 * _WINDOW_S:
            self._first_s = second
        for begun in range(max(last_s, second - _WINDOW_S) + 1, second + 1):
            self._counts[begun % _WINDOW_S] = 0
            self._costs[begun % _WINDOW_S] = 0.0
        self._count = sum(self._counts)
        self._cost = sum(self._costs)
        self._last_s = second
