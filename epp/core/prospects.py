"""How long a request will wait: from what is ahead of it, in its own band and above, and how fast that has left lately.

The arithmetic, and what such estimates are worth, is in `outlook`; here is where the numbers come from.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from epp.core.outlook import expected_wait_s

if TYPE_CHECKING:
    from epp.core.band import Band
    from epp.core.bands import Bands
    from epp.core.item import Item
    from epp.core.ledger import Ledger


class Prospects:
    """Of all bands of one controller. Reads, and changes nothing."""

    __slots__ = ("_bands", "_ledger")

    def __init__(self, bands: Bands, ledger: Ledger) -> None:
        self._bands = bands
        self._ledger = ledger

    def queued_down_to(self, band: Band) -> int:
        """Requests queued in the band and above it."""
        queued = 0
        for each in self._bands.in_order:
            queued += each.queued_requests
            if each is band:
                break
        return queued

    def wait_s(self, item: Item, band: Band, now: float) -> float:
        """What a request like `item`, which is queued, would wait if it came now; infinite if nothing drains."""
        flow = item.flow
        if not item.cost:
            return self._in_one_queue_s(band, now)
        lead = flow.tag + item.queue.offset - band.virtual.latest
        ahead = max(0.0, lead) + flow.queued_cost - item.cost
        # Even the first of all needs one more dispatch of its band: its own.
        return self._in_turn_s(band, now, own=ahead + item.cost / len(band.flows))

    def return_s(self, item: Item, band: Band, now: float, ttl_s: float) -> float:
        """In how long it makes sense to send a request like `item` again; `ttl_s` is the budget of most of them."""
        expected_s = self.wait_s(item, band, now)
        if band.policy.ttl_s is not None:
            ttl_s = band.policy.ttl_s
        # Whoever is ahead of it now has gone by then, or has given up.
        return min(expected_s, ttl_s) if ttl_s and expected_s < inf else expected_s

    def newcomers_wait_s(self, band: Band, now: float) -> float | None:
        """What a request of a tenant without others would wait; None if nobody can say."""
        if not self._ledger.listed:
            return None
        if not band.queued_requests:
            if not self._bands.is_used(band):
                return None
            if self._ledger.room(band.ceiling).views:
                return 0.0
        per_second = band.drain.per_second(now)
        if not per_second:
            return None
        usual = band.drain.cost_per_second(now) / per_second
        expected_s = self._in_turn_s(band, now, own=usual / max(1, len(band.flows)))
        return expected_s if expected_s < inf else None

    def _in_turn_s(self, band: Band, now: float, *, own: float) -> float:
        above, above_per_second = self._above(band, now)
        own_per_second, fairness = 0.0, band.policy.fairness
        for each in self._bands.in_order:
            # What others charge in other units can't be added up.
            if each.priority <= band.priority and (
                each.policy.fairness is fairness or each.policy.fairness == fairness
            ):
                own_per_second += each.drain.cost_per_second(now)
        return expected_wait_s(
            above=above,
            above_per_second=above_per_second,
            own=own,
            flows=max(1, len(band.flows)),
            own_per_second=own_per_second,
        )

    def _in_one_queue_s(self, band: Band, now: float) -> float:
        """Where flows don't matter."""
        above, above_per_second = self._above(band, now)
        turns = sum(
            each.drain.per_second(now) for each in self._bands.in_order if each.priority <= band.priority
        )
        return expected_wait_s(
            above=above,
            above_per_second=above_per_second,
            own=band.queued_requests,
            flows=1,
            own_per_second=turns,
        )

    def _above(self, band: Band, now: float) -> tuple[int, float]:
        """Requests queued in higher bands, and how many leave per second, of all bands."""
        above, leaving = 0, 0.0
        for each in self._bands.in_order:
            leaving += each.drain.per_second(now)
            if each.priority > band.priority:
                above += each.queued_requests
        return above, leaving
