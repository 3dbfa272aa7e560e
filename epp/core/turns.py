"""Whose turn comes when inside one band, if each goes in turn and nobody comes: gone through without changing anything.

Only so far: with many flows, or far back, it would take longer than it is worth.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, NamedTuple

from epp.core.guard import PolicyGuard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.core.band import Band
    from epp.core.flow import Flow
    from epp.core.item import Item
    from epp.core.lane import Lane
    from epp.core.policy import FairnessPolicy

MOST_TURNS = 256
"""Flows (counted in each of their lanes), and turns of them, that are gone through."""


def turns_before(band: Band, wanted: Item) -> int | None:
    """How many of the band go before `wanted`; None: it would take too long to say, or a policy doesn't say.

    Flows that are at their cap on running requests are passed over, as they are now.
    """
    if sum(lane.flows for lane in band.lanes.values()) > MOST_TURNS or _is_held(wanted.flow, wanted.lane):
        return None
    # A guard of our own: what a policy answers here isn't counted among its faults.
    guard, fairness = PolicyGuard(), band.policy.fairness
    flows = [_Contender(flow) for flow in band.flows.values()]
    # A place is nobody else's, so what is behind it is never compared.
    turns = [(*each.turn(fairness, guard), place, each) for place, each in enumerate(flows) if each.heads]
    heapify(turns)
    for passed in range(MOST_TURNS):
        _, _, place, flow = turns[0]
        if guard.faults:
            break
        item = flow.go()
        if item is wanted:
            return passed
        if item.need:
            flow.tag += guard.fairness_cost(fairness, item.view)
        if flow.heads:
            heapreplace(turns, (*flow.turn(fairness, guard), place, flow))
        else:
            heappop(turns)
    return None


class _Head(NamedTuple):
    """A flow's next item in one lane."""

    item: Item
    behind: Iterator[Item]
    offset: float
    """What the lane adds to the flow's tag."""


class _Contender:
    """One flow, on its way through its turns."""

    __slots__ = ("heads", "tag")

    def __init__(self, flow: Flow) -> None:
        self.tag = flow.tag
        self.heads = [
            _Head(next(items), items, queue.offset)
            for lane, queue in flow.queues.items()
            if not _is_held(flow, lane)
            for items in (_ascending(queue.heap, lane),)
        ]

    def turn(self, fairness: FairnessPolicy, guard: PolicyGuard) -> tuple[float, int]:
        """When its turn is: that of the lane in which it comes first."""
        return min(
            (
                guard.fairness_key(fairness, self.tag + head.offset, head.item.order_key, head.item.view),
                head.item.view.sequence,
            )
            for head in self.heads
        )

    def go(self) -> Item:
        """Its next item goes: the first in its own order, whatever the lane."""
        first = min(range(len(self.heads)), key=self._order)
        item, behind, offset = self.heads[first]
        following = next(behind, None)
        if following is None:
            del self.heads[first]
        else:
            self.heads[first] = _Head(following, behind, offset)
        return item

    def _order(self, which: int) -> tuple[float, int]:
        item = self.heads[which].item
        return item.order_key, item.view.sequence


def _is_held(flow: Flow, lane: Lane) -> bool:
    return bool(lane.need) and flow.at_cap


def _ascending(heap: list[tuple[float, int]], lane: Lane) -> Iterator[Item]:
    """What lives in a lazy heap, smallest first, without changing it or going through all of it."""
    frontier = [(heap[0], 0)] if heap else []
    while frontier:
        (_, sequence), at = heappop(frontier)
        for child in range(2 * at + 1, min(2 * at + 3, len(heap))):
            heappush(frontier, (heap[child], child))
        item = lane.items.get(sequence)
        if item is not None:
            yield item
