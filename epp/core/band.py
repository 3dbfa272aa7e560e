"""A band: the queued requests of one priority, in lanes and flows.

Rules of this file:

- An *item* is one queued request. It stands in exactly one lane and one flow.
- A *lane* holds a band's items of one eligibility and need. It keeps them in order of arrival, and its flows in a
  lazy heap of (key, head's sequence, version): whatever changes a flow's turn pushes a new entry with a higher
  version, and old ones are dropped when they surface or when they outnumber the live ones four to one.
- A *flow* carries one tag, whatever the length of its queue. A flow that becomes backlogged starts at
  max(own tag, the virtual times of the endpoints it may use), so idling banks no credit. Its tag is kept
  until virtual time has passed it on every endpoint, or the band is empty.
- Virtual time is kept per endpoint and never decreases; an endpoint that joins starts at the band's latest.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush, merge
from typing import TYPE_CHECKING

from epp.core.drainrate import DrainRate
from epp.core.guard import BROKEN_KEY
from epp.core.statistics import BandStatistics, FlowStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from epp.core.eligibility import Eligibility
    from epp.core.events import Arrived
    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.policy import BandPolicy, ItemView
    from epp.core.waits import WaitAccount

OVERFLOW_FLOW = "overflow"
"""What the shared flow of a band's surplus tenants is called, here and in metrics."""
_SLACK = 64
"""Tombstones, or idle flows, that are not worth a sweep."""
_IDLE_FLOWS = 4096
"""Idle flows whose tags are remembered; of more, the furthest ahead."""


def _newness(item: Item) -> int:
    return -item.view.sequence


def _by_tag(flow: Flow) -> float:
    return flow.tag


class Item:
    """One queued request."""

    __slots__ = ("busy_key_s", "empty_key_s", "flow", "lane", "order_key", "request", "view")

    def __init__(self, request: Arrived, view: ItemView, order_key: float, lane: Lane, flow: Flow) -> None:
        self.request = request
        self.view = view
        self.order_key = order_key
        self.lane = lane
        self.flow = flow
        self.busy_key_s: float | None = None
        self.empty_key_s: float | None = None


class Queue:
    """One flow's items in one lane, in the flow's order."""

    __slots__ = ("count", "heap", "version")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int]] = []
        self.count = 0
        self.version = 0


class Flow:
    """One tenant inside one band."""

    __slots__ = ("fairness_id", "lifts", "queued_bytes", "queued_requests", "queues", "tag")

    def __init__(self, fairness_id: str, tag: float) -> None:
        self.fairness_id = fairness_id
        self.tag = tag
        self.lifts = 0
        self.queued_requests = 0
        self.queued_bytes = 0
        self.queues: dict[Lane, Queue] = {}


class Lane:
    """One band's items of one eligibility and need."""

    __slots__ = ("_heap", "_version", "eligibility", "eligible", "flows", "items", "need")

    eligible: dict[Endpoint, None] | None
    """The endpoints that its items may use; None means all of the pool's."""
    flows: int
    """How many flows have items here."""
    items: OrderedDict[int, Item]
    """By sequence, oldest first. An OrderedDict: a dict's front fills with tombstones."""

    def __init__(self, eligibility: Eligibility, need: int, eligible: dict[Endpoint, None] | None) -> None:
        self.eligibility = eligibility
        self.need = need
        self.eligible = eligible
        self.items = OrderedDict()
        self._heap: list[tuple[float, int, int, Flow]] = []
        self._version = 0
        self.flows = 0

    def head(self, flow: Flow) -> Item:
        """The flow's next item here. The flow must have one."""
        heap = flow.queues[self].heap
        items = self.items
        while heap[0][1] not in items:
            heappop(heap)
        return items[heap[0][1]]

    def top(self) -> tuple[float, int, Item]:
        """(key, sequence, item) of whose turn it is. The lane must not be empty."""
        heap = self._heap
        while True:
            key, sequence, version, flow = heap[0]
            queue = flow.queues.get(self)
            if queue is None or queue.version != version:
                heappop(heap)
            elif key == BROKEN_KEY:
                oldest = next(iter(self.items.values()))
                return key, oldest.view.sequence, oldest
            else:
                return key, sequence, self.items[sequence]

    def is_stranded(self) -> bool:
        """Whether no endpoint of the pool is eligible."""
        return self.eligible is not None and not self.eligible

    def rank(self, flow: Flow, policy: BandPolicy, guard: PolicyGuard) -> None:
        """Put the flow at its place among the lane's flows, after its tag or its head changed."""
        queue = flow.queues[self]
        self._version = queue.version = self._version + 1
        head = self.head(flow)
        key = guard.fairness_key(policy.fairness, flow.tag, head.order_key, head.view)
        heappush(self._heap, (key, head.view.sequence, queue.version, flow))
        if len(self._heap) > 4 * self.flows + _SLACK:
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapify(self._heap)

    def forget_ranks(self) -> None:
        """Drop every flow's place; `rank` each of them again."""
        self._heap.clear()

    def _is_live(self, entry: tuple[float, int, int, Flow]) -> bool:
        queue = entry[3].queues.get(self)
        return queue is not None and queue.version == entry[2]


class Band:
    """All queued requests of one priority."""

    queued_free: int
    """Of the queued requests, those that need no room."""
    unrestricted: bool
    """Whether every queued request may use every endpoint."""

    __slots__ = (
        "_sweep_at",
        "_virtual",
        "ceiling",
        "drain",
        "endpoint_count",
        "flows",
        "idle_flows",
        "lanes",
        "latest_virtual",
        "overflowed",
        "policy",
        "priority",
        "queued_bytes",
        "queued_free",
        "queued_requests",
        "unrestricted",
        "waits",
    )

    def __init__(self, priority: int, policy: BandPolicy, *, waits: WaitAccount, endpoint_count: int) -> None:
        self.priority = priority
        self.policy = policy
        self.ceiling = 1.0
        self.endpoint_count = endpoint_count
        self.queued_requests = 0
        self.queued_bytes = 0
        self.queued_free = 0
        self.unrestricted = True
        self.lanes: dict[tuple[Eligibility, int], Lane] = {}
        self.flows: dict[str, Flow] = {}
        self.idle_flows: dict[str, Flow] = {}
        self.overflowed: dict[str, int] = {}
        self.latest_virtual = 0.0
        self._virtual: dict[Endpoint, float] = {}
        self._sweep_at = _SLACK
        self.waits = waits
        self.drain = DrainRate()

    # -------------------------------------------------------------------- flows

    def flow_for(self, tenant: str, may_mint: Callable[[], bool]) -> Flow:
        """The tenant's flow; the overflow flow if it may not have one of its own.

        Sticky: as long as requests of a tenant wait in the overflow flow, so do its new ones, or they would overtake.
        """
        if tenant not in self.overflowed:
            flow = self.flows.get(tenant)
            if flow is not None:
                return flow
            if may_mint():
                return self.idle_flows.get(tenant) or Flow(tenant, 0.0)
        shared = self.flows.get(OVERFLOW_FLOW) or self.idle_flows.get(OVERFLOW_FLOW)
        return shared or Flow(OVERFLOW_FLOW, 0.0)

    def virtual(self, endpoint: Endpoint) -> float:
        """The band's virtual time on one endpoint."""
        return self._virtual.get(endpoint, 0.0)

    def endpoints_changed(self, count: int, *, joined: Iterable[Endpoint], left: Iterable[Endpoint]) -> None:
        """Endpoints that join start at the latest virtual time; those that left are forgotten."""
        self.endpoint_count = count
        for endpoint in left:
            self._virtual.pop(endpoint, None)
        if self.latest_virtual:
            self._virtual.update(dict.fromkeys(joined, self.latest_virtual))

    # -------------------------------------------------------------------- items

    def add(self, item: Item, guard: PolicyGuard) -> None:
        """Queue an item."""
        flow, lane, size = item.flow, item.lane, item.request.size_bytes
        if not flow.queued_requests:
            self._wake(flow, lane)
        if flow.fairness_id == OVERFLOW_FLOW and item.request.fairness_id != OVERFLOW_FLOW:
            tenant = item.request.fairness_id
            self.overflowed[tenant] = self.overflowed.get(tenant, 0) + 1
        lane.items[item.view.sequence] = item
        self.unrestricted = self.unrestricted and lane.eligible is None
        queue = flow.queues.get(lane)
        if queue is None:
            queue = flow.queues[lane] = Queue()
            lane.flows += 1
        heappush(queue.heap, (item.order_key, item.view.sequence))
        queue.count += 1
        flow.queued_requests += 1
        flow.queued_bytes += size
        self.queued_requests += 1
        self.queued_bytes += size
        self.queued_free += not lane.need
        if lane.head(flow) is item:
            lane.rank(flow, self.policy, guard)

    def take(self, item: Item, guard: PolicyGuard) -> None:
        """Remove an item that goes nowhere. Its flow's turn is worked out anew if it was the head."""
        flow, lane = item.flow, item.lane
        was_head = lane.head(flow) is item
        self._remove(item)
        if was_head and lane in flow.queues:
            lane.rank(flow, self.policy, guard)

    def dispatch(self, item: Item, endpoint: Endpoint, guard: PolicyGuard) -> float:
        """Remove an item that goes to `endpoint`, moving virtual time and its flow's tag. Returns the cost."""
        flow = item.flow
        cost = 0.0
        if item.request.need:
            start = flow.tag
            self._virtual[endpoint] = max(self.virtual(endpoint), start)
            self.latest_virtual = max(self.latest_virtual, start)
            cost = guard.fairness_cost(self.policy.fairness, item.view)
            flow.tag = start + cost
        self._remove(item)
        self.rerank(flow, guard)
        return cost

    def refund(self, flow: Flow, cost: float, lifts: int, guard: PolicyGuard) -> None:
        """Undo a charge, unless the flow was lifted since: the lift has absorbed it."""
        if cost and flow.lifts == lifts:
            flow.tag -= cost
            self.rerank(flow, guard)

    def rerank(self, flow: Flow, guard: PolicyGuard) -> None:
        """The flow's tag changed: put it at its new place in every lane."""
        for lane in flow.queues:
            lane.rank(flow, self.policy, guard)

    def adopt(self, policy: BandPolicy, guard: PolicyGuard) -> None:
        """Another policy: every turn is worked out anew. The order inside flows stays as it was on arrival."""
        self.policy = policy
        for lane in self.lanes.values():
            lane.forget_ranks()
        for flow in self.flows.values():
            self.rerank(flow, guard)

    def newest_first(self) -> Iterator[Item]:
        """The items, the one that arrived last first."""
        by_lane = [reversed(lane.items.values()) for lane in self.lanes.values()]
        return merge(*by_lane, key=_newness)

    def statistics(self, now: float) -> BandStatistics:
        """A snapshot."""
        heads = [next(iter(lane.items.values())) for lane in self.lanes.values()]
        return BandStatistics(
            priority=self.priority,
            queued_requests=self.queued_requests,
            queued_bytes=self.queued_bytes,
            max_requests=self.policy.max_requests,
            max_bytes=self.policy.max_bytes,
            ceiling=self.ceiling,
            oldest_wait_s=max((now - head.view.arrived_s for head in heads), default=0.0),
            drain_rate=self.drain.per_second(now),
            wait_s=self.waits.by_reason(),
            flows=tuple(
                FlowStatistics(flow.fairness_id, self.priority, flow.queued_requests, flow.queued_bytes)
                for flow in self.flows.values()
            ),
        )

    # ------------------------------------------------------------------- inside

    def _remove(self, item: Item) -> None:
        flow, lane, size = item.flow, item.lane, item.request.size_bytes
        queue = flow.queues[lane]
        del lane.items[item.view.sequence]
        queue.count -= 1
        flow.queued_requests -= 1
        flow.queued_bytes -= size
        self.queued_requests -= 1
        self.queued_bytes -= size
        self.queued_free -= not lane.need
        if flow.fairness_id == OVERFLOW_FLOW and item.request.fairness_id != OVERFLOW_FLOW:
            self._leave_overflow(item.request.fairness_id)
        if not queue.count:
            del flow.queues[lane]
            lane.flows -= 1
        elif len(queue.heap) > 4 * queue.count + _SLACK:
            queue.heap = [entry for entry in queue.heap if entry[1] in lane.items]
            heapify(queue.heap)
        if not flow.queued_requests:
            self._rest(flow)
        if not lane.items:
            del self.lanes[(lane.eligibility, lane.need)]
            self.unrestricted = all(each.eligible is None for each in self.lanes.values())

    def _wake(self, flow: Flow, lane: Lane) -> None:
        self.idle_flows.pop(flow.fairness_id, None)
        self.flows[flow.fairness_id] = flow
        if lane.eligible is None:
            start = self.latest_virtual
        else:
            start = max((self.virtual(each) for each in lane.eligible), default=self.latest_virtual)
        if start > flow.tag:
            flow.tag = start
            flow.lifts += 1

    def _rest(self, flow: Flow) -> None:
        del self.flows[flow.fairness_id]
        if not self.queued_requests:
            self.idle_flows.clear()
            self._virtual.clear()
            self.latest_virtual = 0.0
            return
        self.idle_flows[flow.fairness_id] = flow
        if len(self.idle_flows) > self._sweep_at:
            everywhere = len(self._virtual) >= self.endpoint_count
            passed = min(self._virtual.values()) if everywhere and self._virtual else 0.0
            kept = sorted((idle for idle in self.idle_flows.values() if idle.tag > passed), key=_by_tag)
            self.idle_flows = {idle.fairness_id: idle for idle in kept[-_IDLE_FLOWS:]}
            self._sweep_at = 2 * len(self.idle_flows) + _SLACK

    def _leave_overflow(self, tenant: str) -> None:
        left = self.overflowed[tenant] - 1
        if left:
            self.overflowed[tenant] = left
        else:
            del self.overflowed[tenant]
