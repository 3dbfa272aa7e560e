"""The two clocks of waiting: one runs while the pool has endpoints, one while it has none.

A queued item has a budget on each. Nothing restarts when the pool changes between empty and not: each clock
just stops and goes on, so both keys of an item are constants, and two heaps hold all deadlines exactly.
Heap entries are (key, sequence) and nothing more, so a tombstone never keeps a request alive.
"""

from __future__ import annotations

from enum import Enum
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

_SLACK = 64
"""Tombstones that are not worth compacting, and how many are dropped in one go, so that nothing stalls."""
_MUCH = 1024
"""Entries that are too many to free at once."""


class Clock(Enum):
    """Which waiting a budget is for."""

    BUSY = "busy"
    EMPTY = "empty"


class DeadlineHeap:
    """The deadlines on one clock. Entries of items that have left are dropped when they surface."""

    __slots__ = ("_entries", "_trash")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int]] = []
        self._trash: list[tuple[float, int]] = []

    def add(self, key_s: float, sequence: int) -> None:
        """Remember that the item's budget ends when the clock shows `key_s`."""
        if self._trash:
            del self._trash[-_SLACK:]
        heappush(self._entries, (key_s, sequence))

    def first(self, alive: Container[int]) -> tuple[float, int] | None:
        """The earliest deadline and its item; tombstones on the way are dropped, but only so many at a time.

        So the entry may be that of an item which is not in `alive`: then its deadline is a lower bound.
        """
        entries = self._entries
        for _ in range(_SLACK):
            if not entries or entries[0][1] in alive:
                break
            heappop(entries)
        return entries[0] if entries else None

    def next_s(self, alive: Container[int]) -> float:
        """As `first`, the deadline alone; infinite if there is none."""
        entries = self._entries
        if entries and entries[0][1] in alive:  # mostly, and asked after every event
            return entries[0][0]
        first = self.first(alive)
        return inf if first is None else first[0]

    def lower_bound_s(self) -> float:
        """No deadline is earlier than this; infinite if there is none. Cheap: it may be a tombstone's."""
        return self._entries[0][0] if self._entries else inf

    def is_bloated(self, count: int) -> bool:
        """Whether tombstones outnumber the `count` living items four to one."""
        return len(self._entries) > 4 * count + _SLACK

    def rebuild(self, entries: list[tuple[float, int]]) -> None:
        """These are the deadlines of all living items. Much that is thrown away is freed bit by bit: it takes time."""
        heapify(entries)
        if len(self._entries) > _MUCH:
            self._trash += self._entries
        self._entries = entries


class WaitClocks:
    """Which clock runs, and what each shows."""

    __slots__ = (
        "_empty_total_s",
        "_leftovers",
        "_regime_since_s",
        "busy",
        "empty",
        "pool_is_empty",
    )

    busy: DeadlineHeap
    """Deadlines on the clock that runs while the pool has endpoints."""
    empty: DeadlineHeap
    """Deadlines on the clock that runs while it has none."""
    pool_is_empty: bool

    def __init__(self, now: float) -> None:
        self.busy = DeadlineHeap()
        self.empty = DeadlineHeap()
        self.pool_is_empty = True
        self._regime_since_s = now
        self._empty_total_s = 0.0
        self._leftovers = False

    def switch(self, *, pool_is_empty: bool, now: float) -> None:
        """The pool lost its last endpoint, or got its first."""
        if pool_is_empty is self.pool_is_empty:
            return
        if self.pool_is_empty:
            self._empty_total_s += now - self._regime_since_s
        self._regime_since_s = now
        self.pool_is_empty = pool_is_empty
        # Of those that ran out on the clock that stops now, some may not have been worked off yet.
        self._leftovers = True

    def busy_key(self, at_s: float) -> float:
        """What the busy clock shows (or would show) at `at_s`, for the regime that holds now."""
        return (self._regime_since_s if self.pool_is_empty else at_s) - self._empty_total_s

    def empty_key(self, at_s: float) -> float:
        """What the empty clock shows at `at_s`."""
        return self._empty_total_s + (at_s - self._regime_since_s if self.pool_is_empty else 0.0)

    def next_due_s(self, alive: Container[int]) -> float:
        """When the next of the items in `alive` runs out of time if nothing changes, or sooner; infinite if never."""
        return self._due_s((self.empty if self.pool_is_empty else self.busy).next_s(alive))

    def overdue(self, alive: Container[int], now: float) -> int | None:
        """An item that has run out of time on either clock; the longest overdue of one clock first.

        It may be one that is not in `alive`. Then it is not known yet whether one in `alive` has run out of time too.
        """
        if not self._leftovers:
            key_s = (self.empty if self.pool_is_empty else self.busy).lower_bound_s()
            if self._due_s(key_s) > now:
                return None
        for heap, clock in ((self.busy, Clock.BUSY), (self.empty, Clock.EMPTY)):
            first = heap.first(alive)
            if first is not None and self._has_passed(clock, first[0], now):
                return first[1]
        self._leftovers = False
        return None

    def exhausted(self, *, busy_key_s: float | None, empty_key_s: float | None, now: float) -> Clock | None:
        """The clock on which these keys have passed; the one that runs if it is both."""
        passed = [
            clock
            for clock, key_s in ((Clock.BUSY, busy_key_s), (Clock.EMPTY, empty_key_s))
            if key_s is not None and self._has_passed(clock, key_s, now)
        ]
        if len(passed) == 2:
            return Clock.EMPTY if self.pool_is_empty else Clock.BUSY
        return passed[0] if passed else None

    def _has_passed(self, clock: Clock, key_s: float, now: float) -> bool:
        if (clock is Clock.EMPTY) is self.pool_is_empty:
            # By the same arithmetic as the time we ask to be woken at, or rounding could wake us for ever.
            return self._due_s(key_s) <= now
        return key_s <= (self.busy_key(now) if clock is Clock.BUSY else self.empty_key(now))

    def _due_s(self, key_s: float) -> float:
        """When, if nothing changes, the running clock will show `key_s`."""
        if self.pool_is_empty:
            return key_s - self._empty_total_s + self._regime_since_s
        return key_s + self._empty_total_s
