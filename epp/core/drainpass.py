"""The drain pass: who goes, and where to, as long as some queued request may run somewhere.

Bands are drained from the highest down. A lower band is looked at only once no endpoint has room for any item of
the bands above it; since ceilings never rise downwards, that is strictness (promise 1). An item that needs two
endpoints goes when both have room at the same moment; until then it closes neither to anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from epp.core.accounting import can_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.core.band import Band
    from epp.core.bands import Bands
    from epp.core.endpoint import EndpointView
    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.item import Item
    from epp.core.lane import Lane
    from epp.core.ledger import Ledger, Room
    from epp.core.policy import EndpointChoice


class Decision(NamedTuple):
    """This item goes there."""

    item: Item
    endpoint: Endpoint
    prefill: Endpoint | None


class CarryOut(NamedTuple):
    """What is done with each decision before the next one is made."""

    skip: Callable[[Item], bool] | None
    """Whether the item had to be taken out of its queue otherwise, and has been; None: nobody has to."""
    dispatch: Callable[[Decision], None]
    """Take the item out of its queue, and reserve what it needs."""


class DrainPass:
    """Makes decisions one by one, each on what the one before has left."""

    __slots__ = ("_bands", "_guard", "_ledger", "choice")

    choice: EndpointChoice

    def __init__(self, bands: Bands, ledger: Ledger, guard: PolicyGuard, choice: EndpointChoice) -> None:
        self._bands = bands
        self._ledger = ledger
        self._guard = guard
        self.choice = choice

    def run(self, budget: int, carry_out: CarryOut) -> int:
        """Decide at most `budget` items, and return what is left of it."""
        everywhere = self._ledger.full_room.views
        for band in self._bands.in_order:
            if not band.queued_requests or not (everywhere or band.queued_free):
                continue
            room = self._ledger.room(band.ceiling)
            while budget > 0 and (band.queued_free or (band.queued_requests and room.views)):
                ready = self._ready_lanes(band, room)
                if not ready:
                    break
                budget = self._serve(band, room, ready, budget, carry_out)
        return budget

    def _ready_lanes(self, band: Band, room: Room) -> list[Lane]:
        """The lanes with an item that may run now somewhere."""
        ready = []
        for lane in band.lanes.values():
            if lane.held == len(lane.items):
                continue
            if lane.need:
                usable = can_start(lane, room)
            else:
                usable = bool(self._ledger.listed if lane.eligible is None else lane.eligible)
            if usable:
                ready.append(lane)
        return ready

    def _serve(
        self,
        band: Band,
        room: Room,
        ready: list[Lane],
        budget: int,
        carry_out: CarryOut,
    ) -> int:
        """Decide items of the ready lanes until one of them may have become unready."""
        views, (skip, dispatch) = room.views, carry_out
        while budget > 0:
            lane, item = self._next(ready)
            budget -= 1
            if skip is not None and skip(item):
                if lane.held == len(lane.items):
                    break
                continue
            decision = self._decide(item, lane, room)
            dispatch(decision)
            if lane.held == len(lane.items):
                break
            if lane.need and (decision.endpoint not in views or lane.prefill is not None):
                break
            if item.flow.at_cap:
                break  # its other lanes may have nobody left to serve
        return budget

    @staticmethod
    def _next(ready: list[Lane]) -> tuple[Lane, Item]:
        """Whose turn it is among the ready lanes, which have work."""
        best_lane, best = ready[0], ready[0].top()
        for lane in ready[1:]:
            top = lane.top()
            if top[:2] < best[:2]:
                best_lane, best = lane, top
        flow = best[2].flow
        if len(flow.queues) == 1:
            return best_lane, best[2]
        # Its turn it is; which of its requests goes is a matter of the flow's own order, over all ready lanes.
        heads = [
            (lane, lane.head(flow))
            for lane in ready
            if lane in flow.queues and not (lane.need and flow.at_cap)
        ]
        return min(heads, key=lambda pair: (pair[1].order_key, pair[1].view.sequence))

    def _decide(self, item: Item, lane: Lane, room: Room) -> Decision:
        facts = item.facts
        if not lane.need:
            return Decision(item, self._choose(self._anywhere(lane), facts), None)
        first = self._among(room, lane.eligible)
        if lane.prefill is None:
            return Decision(item, self._choose(first, facts), None)
        second = self._among(room, lane.prefill_eligible)
        if len(second) == 1:
            first = tuple(each for each in first if each is not second[0])
        endpoint = self._choose(first, facts)
        second = tuple(each for each in second if each.spec is not endpoint.spec)
        return Decision(item, endpoint, self._choose(second, facts))

    def _choose(self, candidates: tuple[EndpointView, ...], facts: object) -> Endpoint:
        chosen = candidates[0]
        if len(candidates) > 1:
            chosen = self._guard.choose(self.choice, candidates, facts)
        return self._ledger.listed[chosen.spec.key]

    def _anywhere(self, lane: Lane) -> tuple[EndpointView, ...]:
        """The candidates for an item that takes no room."""
        usable = list(lane.eligible or self._ledger.listed.values())
        answering = tuple(each.view for each in usable if not self._ledger.is_shunned(each))
        return answering or tuple(each.view for each in usable)

    @staticmethod
    def _among(room: Room, eligible: dict[Endpoint, None] | None) -> tuple[EndpointView, ...]:
        views = room.views
        if eligible is None:
            return tuple(views.values())
        return tuple([views[each] for each in eligible if each in views])
