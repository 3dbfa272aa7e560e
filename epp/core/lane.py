"""A lane: one band's items of one eligibility and need, in order of arrival, and the turns of its flows.

Flows stand in a lazy heap of (key, head's sequence, version): whatever changes a flow's turn pushes a new entry with a
higher version, and old ones are dropped when they surface or when they outnumber the live ones four to one. A flow that
is at its cap has no entry, so nobody waits behind it.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from epp.core.eligibility import ANY
from epp.core.guard import BROKEN_KEY

if TYPE_CHECKING:
    from epp.core.eligibility import Eligibility
    from epp.core.events import Arrived
    from epp.core.flow import Flow
    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.policy import BandPolicy, ItemView
    from epp.core.statistics import WaitReason

SLACK = 64
"""Tombstones that are not worth a sweep."""

LaneKey = tuple["Eligibility", int, "Eligibility | None"]
"""(eligibility, need, eligibility of the prefill endpoint)."""


class Item:
    """One queued request."""

    __slots__ = (
        "blocked_by",
        "busy_key_s",
        "cost",
        "empty_key_s",
        "expected_s",
        "flow",
        "lane",
        "order_key",
        "position",
        "request",
        "view",
    )

    def __init__(self, request: Arrived, view: ItemView, order_key: float, lane: Lane, flow: Flow) -> None:
        self.request = request
        self.view = view
        self.order_key = order_key
        self.lane = lane
        self.flow = flow
        self.busy_key_s: float | None = None
        self.empty_key_s: float | None = None
        self.cost = 0.0
        self.position = 0
        self.blocked_by: WaitReason | None = None
        self.expected_s: float | None = None


class Queue:
    """One flow's items in one lane, in the flow's order."""

    __slots__ = ("count", "heap", "offset", "version")

    count: int
    offset: float
    """What this lane adds to the flow's tag: virtual time is not the same everywhere."""
    version: int
    """Of its live entry among the lane's turns; 0 if it has none, since the flow is at its cap."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int]] = []
        self.count = 0
        self.offset = 0.0
        self.version = 0


class Lane:
    """One band's items of one eligibility and need."""

    __slots__ = (
        "_heap",
        "_version",
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
    items: OrderedDict[int, Item]
    """By sequence, oldest first. An OrderedDict: a dict's front fills with tombstones."""

    def __init__(self, eligibility: Eligibility, need: int, prefill: Eligibility | None) -> None:
        self.eligibility = eligibility
        self.need = need
        self.prefill = prefill
        self.is_restricted = eligibility != ANY or prefill is not None
        self.eligible = None
        self.prefill_eligible = None
        self.items = OrderedDict()
        self._heap: list[tuple[float, int, int, Flow]] = []
        self._version = 0
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
        heap = flow.queues[self].heap
        items = self.items
        while heap[0][1] not in items:
            heappop(heap)
        return items[heap[0][1]]

    def top(self) -> tuple[float, int, Item]:
        """(key, sequence, item) of whose turn it is. The lane must have dispatchable items."""
        heap = self._heap
        while True:
            key, sequence, version, flow = heap[0]
            queue = flow.queues.get(self)
            if queue is None or queue.version != version:
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
        if flow.at_cap and self.need:
            queue.version = 0
            return
        self._version = queue.version = self._version + 1
        head = self.head(flow)
        key = guard.fairness_key(policy.fairness, flow.tag + queue.offset, head.order_key, head.view)
        heappush(self._heap, (key, head.view.sequence, queue.version, flow))
        if len(self._heap) > 4 * self.flows + SLACK:
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapify(self._heap)

    def forget_ranks(self) -> None:
        """Drop every flow's place; `rank` each of them again."""
        self._heap.clear()

    def _is_live(self, entry: tuple[float, int, int, Flow]) -> bool:
        queue = entry[3].queues.get(self)
        return queue is not None and queue.version == entry[2]
