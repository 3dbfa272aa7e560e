"""The two clocks of waiting: one runs while the pool has endpoints, one while it has none.

A queued item has a budget on each. Nothing restarts when the pool changes between empty and not: each clock
just stops and goes on, so both keys of an item are constants, and two heaps hold all deadlines exactly.
Heap entries are (key, sequence) and nothing more, so a tombstone never keeps a request alive.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

_SLACK = 64
"""Tombstones that are not worth compacting."""


class DeadlineHeap:
    """The deadlines on one clock. Entries of items that have left are dropped when they surface."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[tuple[float, int]] = []

    def add(self, key_s: float, sequence: int) -> None:
        """Remember that the item's budget ends when the clock shows `key_s`."""
        heappush(self._entries, (key_s, sequence))

    def first(self, alive: Container[int]) -> tuple[float, int] | None:
        """The earliest deadline among the items in `alive`."""
        entries = self._entries
        while entries:
            if entries[0][1] in alive:
                return entries[0]
            heappop(entries)
        return None

    def compact(self, alive: Container[int], count: int) -> None:
        """Rebuild once tombstones outnumber the `count` living items four to one."""
        if len(self._entries) > 4 * count + _SLACK:
            self._entries = [entry for entry in self._entries if entry[1] in alive]
            heapify(self._entries)


class WaitClocks:
    """Which clock runs, and what each shows."""

    __slots__ = ("_empty_total_s", "_regime_since_s", "busy", "empty", "pool_is_empty")

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

    def switch(self, *, pool_is_empty: bool, now: float) -> None:
        """The pool lost its last endpoint, or got its first."""
        if pool_is_empty is self.pool_is_empty:
            return
        if self.pool_is_empty:
            self._empty_total_s += now - self._regime_since_s
        self._regime_since_s = now
        self.pool_is_empty = pool_is_empty

    def busy_key(self, at_s: float) -> float:
        """What the busy clock shows (or would show) at `at_s`, for the regime that holds now."""
        return (self._regime_since_s if self.pool_is_empty else at_s) - self._empty_total_s

    def empty_key(self, at_s: float) -> float:
        """What the empty clock shows at `at_s`."""
        return self._empty_total_s + (at_s - self._regime_since_s if self.pool_is_empty else 0.0)

    def running(self) -> DeadlineHeap:
        """The heap of the clock that runs now."""
        return self.empty if self.pool_is_empty else self.busy

    def due_s(self, key_s: float) -> float:
        """When, if nothing changes, the running clock will show `key_s`."""
        if self.pool_is_empty:
            return key_s - self._empty_total_s + self._regime_since_s
        return key_s + self._empty_total_s
