"""How queued requests stand now, many of them at once: why each waits, and what room there is for it.

The reason is the one that `accounting` gives. What requests of one lane have in common is worked out once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core import accounting
from epp.core.statistics import WaitReason

if TYPE_CHECKING:
    from epp.core.accounting import Above
    from epp.core.band import Band
    from epp.core.bands import Bands
    from epp.core.item import Item
    from epp.core.lane import Lane
    from epp.core.ledger import Ledger

_ITS_TURN = frozenset({WaitReason.NO_ROOM, WaitReason.CEILING})
"""Reasons that only the first of a lane can have."""
_IN_ITS_BAND = _ITS_TURN | {WaitReason.SAME_BAND}
"""Reasons that hold only if nobody of a higher band is ahead."""


class Standing:
    """The standing of one moment."""

    def __init__(self, bands: Bands, ledger: Ledger) -> None:
        self._bands = bands
        self._ledger = ledger
        self._above: dict[int, Above | None] = {}
        self._firsts: dict[Lane, tuple[Item, WaitReason]] = {}
        self._rooms: dict[Lane, int] = {}

    def reason(self, item: Item) -> WaitReason:
        """Why it waits."""
        lane = item.lane
        if not lane.dispatchable or (lane.need and item.flow.at_cap):
            return self._reason(item)
        found = self._firsts.get(lane)
        if found is None:
            first = lane.top()[2]
            found = self._firsts[lane] = (first, self._reason(first))
        first, reason = found
        return WaitReason.SAME_BAND if reason in _ITS_TURN and item is not first else reason

    def endpoints_with_room(self, item: Item) -> int:
        """How many of the endpoints that it may use have room for its band; all of them, if it needs none."""
        lane = item.lane
        found = self._rooms.get(lane)
        if found is None:
            found = self._rooms[lane] = self._count(lane, item.band)
        return found

    def _count(self, lane: Lane, band: Band) -> int:
        usable = self._ledger.room(band.ceiling).views if lane.need else None
        if lane.eligible is None:
            return len(self._ledger.listed if usable is None else usable)
        return len(lane.eligible) if usable is None else len(lane.eligible.keys() & usable.keys())

    def _reason(self, item: Item) -> WaitReason:
        band, lane = item.band, item.lane
        reason = accounting.reason(item, band, (band,), self._ledger)
        if reason in _IN_ITS_BAND:
            above = self._wanted_above(band)
            if above is None or (above and (lane.eligible is None or not above.isdisjoint(lane.eligible))):
                return WaitReason.HIGHER_PRIORITY
        return reason

    def _wanted_above(self, band: Band) -> Above | None:
        """The endpoints that queued requests of higher bands may use; None means all."""
        if not self._above:
            above: Above | None = accounting.ABOVE_NOBODY
            for each in self._bands:
                self._above[each.priority] = above
                if above is not None and each.queued_requests:
                    above = accounting.with_band(above, each)
        return self._above[band.priority]
