"""Who has a label value of its own, where there is room for only so many: the places of one label.

- A value that was idle for `IDLE_S` gives its place to any newcomer. Sooner would let one client, with a new id for
  every request, push everybody's series out, and fill Prometheus with series that never move again.
- A newcomer that finds no place is turned away, and remembered for a while. One that comes back is no id made for a
  single request, and gets at once the place of one that seems to be: idle, and never used a second time.

So ids that are made without end fill what is free and not more, and whoever stays gets a label at the second request.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from math import inf
from typing import TYPE_CHECKING

from epp.observe.labels import OTHER

if TYPE_CHECKING:
    from epp.observe.series import RequestSeries, SeriesKey

IDLE_S = 600.0
"""How long a value keeps its place after its last request ended."""
REMEMBERED_PER_PLACE = 8
"""How many of those who were turned away are remembered."""
LOOK_S = 10.0
"""How long is not looked again for values that were used once, when none was found."""

_PLACELESS = frozenset({"", OTHER})


class Places:
    """The values of one label in use, and the series of each."""

    __slots__ = (
        "_came_back",
        "_held",
        "_limit",
        "_look_s",
        "_retry_s",
        "_singles",
        "_turned_away",
        "newcomers",
        "overflows",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[str, dict[SeriesKey, RequestSeries]] = {}
        self._came_back: set[str] = set()
        """Those among the held that had been turned away or forgotten before."""
        self._turned_away: OrderedDict[str, None] = OrderedDict()
        self._singles: deque[str] = deque()
        """Values that had been used once when they were last looked for, the idlest first."""
        self._look_s = -inf
        self._retry_s = -inf
        """Nobody has been idle long enough before."""
        self.overflows = 0
        """Requests counted under `OTHER`."""
        self.newcomers = 0
        """Values that were neither held nor remembered when they came."""

    def note(self, value: str) -> None:
        """A request has this value: count it if it is new."""
        self.newcomers += not (self.knows(value) or value in self._turned_away)

    def has_room_for(self, *values: str) -> bool:
        """Whether all of them have a place or find a free one."""
        new = {value for value in values if not self.knows(value)}
        return not new or len(self._held) + len(new) <= self._limit

    def knows(self, value: str) -> bool:
        """Whether it has its place. Neither nothing nor `OTHER` takes one up."""
        return value in self._held or value in _PLACELESS

    def take(self, value: str, series: RequestSeries) -> None:
        """The series is labelled with it."""
        if value in _PLACELESS:
            return
        if value not in self._held:
            self._held[value] = {}
            if value in self._turned_away:
                del self._turned_away[value]
                self._came_back.add(value)
        self._held[value][series.key] = series

    def leave(self, value: str, series: RequestSeries) -> None:
        """The series is gone; with its last one a value loses its place."""
        held = self._held.get(value)
        if held is None:
            return
        held.pop(series.key, None)
        if not held:
            del self._held[value]
            self._came_back.discard(value)
            self.turn_away(value)

    def series_of(self, value: str) -> tuple[RequestSeries, ...]:
        """All series that are labelled with it."""
        return tuple(self._held.get(value, {}).values())

    def turn_away(self, *values: str) -> None:
        """Remember newcomers that found no place."""
        for value in values:
            if not self.knows(value):
                self._turned_away[value] = None
                self._turned_away.move_to_end(value)
        while len(self._turned_away) > REMEMBERED_PER_PLACE * self._limit:
            self._turned_away.popitem(last=False)

    def who_makes_room(self, now: float, *values: str) -> str | None:
        """The value that is to give its place to these newcomers; None if everybody keeps theirs."""
        if now >= self._retry_s and self._held:
            idlest = self._idlest()
            since_s = self._last_use_s(idlest)
            if now - since_s >= IDLE_S:
                return idlest
            self._retry_s = min(since_s, now) + IDLE_S
        if all(self.knows(value) or value in self._turned_away for value in values):
            return self._single(now)
        return None

    def _single(self, now: float) -> str | None:
        """A value that was used once and is idle."""
        if not self._singles and now >= self._look_s:
            self._singles.extend(sorted(filter(self._is_single, self._held), key=self._last_use_s))
            self._look_s = now + LOOK_S
        while self._singles:
            value = self._singles.popleft()
            if self._is_single(value):
                return value
        return None

    def _is_single(self, value: str) -> bool:
        if value in self._came_back:
            return False
        series = self._held.get(value, {}).values()
        return sum(each.requests for each in series) == 1 and self._last_use_s(value) < inf

    def _idlest(self) -> str:
        return min(self._held, key=self._last_use_s)

    def _last_use_s(self, value: str) -> float:
        return max((each.last_use_s for each in self._held[value].values()), default=-inf)
