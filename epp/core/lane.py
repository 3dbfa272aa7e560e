"""A lane: one band's items of one eligibility and need, in order of arrival, and the turns of its flows.

Flows stand in a lazy heap of (key, head's sequence, version, queue): whatever changes a flow's turn pushes a new entry
with a higher version, and old ones are dropped when they surface or when they outnumber the live ones four to one. A
flow that is at its cap has no live entry, so nobody waits behind it.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from epp.core.eligibility import ANY
from epp.core.guard import BROKEN_KEY

if TYPE_CHECKING:
    from epp.core.eligibility import Eligibility
    from epp.core.flow import Flow
    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.item import Item
    from epp.core.policy import BandPolicy

SLACK = 64
"""Tombstones that are not worth a sweep."""

LaneKey = tuple["Eligibility", int, "Eligibility | None"]
"""(eligibility, need, eligibility of the prefill endpoint)."""


class Queue:
    """One flow's items in one lane, in the flow's order."""

    __slots__ = ("count", "heap", "offset", "version")

    count: int
    offset: float
    """What this lane adds to the flow's tag: virtual time is not the same everywhere."""
    version: int
    """Of its live entry among the lane's turns, if it has one: those of lower versions are dead."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int]] = []
        self.count = 0
        self.offset = 0.0
        self.version = 0


class Lane:
    """One band's items of one eligibility and need."""

    __slots__ = (
        "_heap",
        "eligibility",
        "eligible",
        "flows",
        "held",
        "is_restricted",
        "items",
        "need",
        "prefill",
        "prefill_eligible",
    )

    eligible: dict[Endpoint, None] | None
    """The endpoints that its items may use; None means all of the pool's."""
    prefill_eligible: dict[Endpoint, None] | None
    """The same for the second endpoint, if its items need one (`prefill` is not None)."""
    flows: int
    """How many flows have items here."""
    held: int
    """Items of flows that are at their cap, which can't be dispatched."""
    is_restricted: bool
    """Whether its items may not use every endpoint."""
    items: dict[int, Item]
    """By sequence, oldest first."""

    def __init__(self, eligibility: Eligibility, need: int, prefill: Eligibility | None) -> None:
        self.eligibility = eligibility
        self.need = need
        self.prefill = prefill
        self.is_restricted = eligibility is not ANY or prefill is not None
        self.eligible = None
        self.prefill_eligible = None
        self.items = {}
        self._heap: list[tuple[float, int, int, Queue]] = []
        self.flows = 0
        self.held = 0

    @property
    def key(self) -> LaneKey:
        """What distinguishes it within its band."""
        return (self.eligibility, self.need, self.prefill)

    @property
    def dispatchable(self) -> int:
        """Items that no cap of their flow holds back."""
        return len(self.items) - self.held

    def head(self, flow: Flow) -> Item:
        """The flow's next item here. The flow must have one."""
        return self._first(flow.queues[self].heap)

    def _first(self, heap: list[tuple[float, int]]) -> Item:
        items = self.items
        while (sequence := heap[0][1]) not in items:
            heappop(heap)
        return items[sequence]

    def top(self) -> tuple[float, int, Item]:
        """(key, sequence, item) of whose turn it is. The lane must have dispatchable items."""
        heap = self._heap
        while True:
            key, sequence, version, queue = heap[0]
            if queue.version != version:
                heappop(heap)
            elif key == BROKEN_KEY:
                oldest = self._oldest_dispatchable()
                return key, oldest.view.sequence, oldest
            else:
                return key, sequence, self.items[sequence]

    def _oldest_dispatchable(self) -> Item:
        return next(item for item in self.items.values() if not (self.need and item.flow.at_cap))

    def is_stranded(self) -> bool:
        """Whether no endpoint of the pool is eligible."""
        if self.eligible is not None and not self.eligible:
            return True
        return self.prefill_eligible is not None and not self.prefill_eligible

    def rank(self, flow: Flow, policy: BandPolicy, guard: PolicyGuard) -> None:
        """Put the flow at its place among the lane's flows, after its tag or its head changed."""
        queue = flow.queues[self]
        queue.version = version = queue.version + 1
        if flow.at_cap and self.need:
            return
        head = self._first(queue.heap)
        view = head.view
        key = guard.fairness_key(policy.fairness, flow.tag + queue.offset, head.order_key, view)
        heap = self._heap
        heappush(heap, (key, view.sequence, version, queue))
        if len(heap) > 4 * self.flows + SLACK:
            self._heap = [entry for entry in heap if entry[3].version == entry[2]]
            heapify(self._heap)

    def forget_ranks(self) -> None:
        """Drop every flow's place; `rank` each of them again."""
        self._heap.clear()
