"""The waiting room: who is queued, by id and by age, and when each has waited long enough.

It keeps the tables that all bands share and the two clocks of waiting (`clocks`). Items are put in and taken out by the
controller; which of them goes next is the bands' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.clocks import WaitClocks

if TYPE_CHECKING:
    from epp.core.bands import Bands
    from epp.core.clocks import Clock
    from epp.core.item import Item

_TIDY_EVERY = 64
"""Departures between two looks at the deadline heaps."""


class WaitingRoom:
    """All queued requests of one controller."""

    __slots__ = ("_bands", "_left", "by_sequence", "clocks", "items", "overdue_left")

    items: dict[int, Item]
    """By request id, oldest first."""
    by_sequence: dict[int, Item]
    overdue_left: bool
    """Whether items that have waited long enough are still here, since there were too many for one step."""

    def __init__(self, bands: Bands, *, now: float) -> None:
        self._bands = bands
        self.items = {}
        self.by_sequence = {}
        self.clocks = WaitClocks(now)
        self.overdue_left = False
        self._left = 0

    def enter(self, item: Item, *, ttl_s: float, hold_s: float, now: float) -> None:
        """An item comes in, with its budgets on both clocks; 0 is one without limit."""
        view, clocks, bands = item.view, self.clocks, self._bands
        sequence = view.sequence
        if ttl_s:
            item.busy_key_s = key_s = clocks.busy_key(now) + ttl_s
            clocks.busy.add(key_s, sequence)
        if hold_s:
            item.empty_key_s = key_s = clocks.empty_key(now) + hold_s
            clocks.empty.add(key_s, sequence)
        self.items[item.request_id] = item
        self.by_sequence[sequence] = item
        bands.queued_requests += 1
        bands.queued_bytes += view.size_bytes
        bands.queued_free += not item.lane.need

    def leave(self, item: Item) -> None:
        """An item goes: its place, its bytes and its deadlines are free at once."""
        view, bands = item.view, self._bands
        del self.items[item.request_id]
        del self.by_sequence[view.sequence]
        bands.queued_requests -= 1
        bands.queued_bytes -= view.size_bytes
        bands.queued_free -= not item.lane.need
        self._left += 1
        if not self._left % _TIDY_EVERY:
            self._tidy_clocks()

    def overdue(self, now: float) -> Item | None:
        """The next item that has waited long enough, the longest overdue first; None if there is none.

        None as well while a step is not enough to know: then `overdue_left` says so.
        """
        self.overdue_left = False
        sequence = self.clocks.overdue(self.by_sequence, now)
        if sequence is None:
            return None
        item = self.by_sequence.get(sequence)
        self.overdue_left = item is None
        return item

    def exhausted(self, item: Item, now: float) -> Clock | None:
        """The clock on which the item has waited long enough, if it has."""
        return self.clocks.exhausted(busy_key_s=item.busy_key_s, empty_key_s=item.empty_key_s, now=now)

    def _tidy_clocks(self) -> None:
        """Rebuild one deadline heap, if it is mostly of items that have left, from those who are still there.

        Going through the dead, or doing both heaps in one call, would stall the loop.
        """
        waiting, count = self.by_sequence.items(), len(self.by_sequence)
        clocks = self.clocks
        if clocks.busy.is_bloated(count):
            clocks.busy.rebuild(
                [(each.busy_key_s, at) for at, each in waiting if each.busy_key_s is not None]
            )
        elif clocks.empty.is_bloated(count):
            clocks.empty.rebuild(
                [(each.empty_key_s, at) for at, each in waiting if each.empty_key_s is not None]
            )
