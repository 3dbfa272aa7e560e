"""A band: the queued requests of one priority, in lanes and flows.

Rules of this file:

- An item stands in exactly one lane and one flow (`lane`, `flow`).
- Virtual time is kept per endpoint and never decreases while requests are queued; an endpoint that joins starts at the
  band's latest. A dispatch moves it to the start of what was dispatched.
- A flow that becomes backlogged starts at max(own tag, the virtual times of the endpoints it may use), so idling banks
  no credit. Its tag is kept until virtual time has passed it, or the band is empty.
- A flow at its cap on running requests is passed over until one of them ends; then it starts as if it had been idle.
"""

from __future__ import annotations

from heapq import heapify, heappush, merge
from math import inf
from typing import TYPE_CHECKING

from epp.core.drainrate import DrainRate
from epp.core.flow import Flow
from epp.core.hoards import Hoards
from epp.core.lane import SLACK, Lane, Queue
from epp.core.outlook import Outlook
from epp.core.statistics import BandStatistics, FlowStatistics
from epp.core.virtualtime import VirtualTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from epp.core.guard import PolicyGuard
    from epp.core.incarnation import Endpoint
    from epp.core.item import Item
    from epp.core.lane import LaneKey
    from epp.core.policy import BandPolicy
    from epp.core.waits import WaitAccount

OVERFLOW_FLOW = "overflow"
"""What the shared flow of a band's surplus tenants is called, here and in metrics."""
_IDLE_FLOWS = 4096
"""Idle flows whose tags are remembered; of more, the furthest ahead."""


def _newness(item: Item) -> int:
    return -item.view.sequence


def _by_distance(entry: tuple[float, Flow]) -> float:
    return entry[0]


class Band:
    """All queued requests of one priority."""

    __slots__ = (
        "_sweep_at",
        "ceiling",
        "charged_tokens",
        "drain",
        "flows",
        "flows_created",
        "hoards",
        "idle_flows",
        "idle_since_s",
        "lanes",
        "outlook",
        "overflowed",
        "overflowed_requests",
        "policy",
        "priority",
        "queued_bytes",
        "queued_free",
        "queued_requests",
        "running_flows",
        "running_requests",
        "settled_tokens",
        "unrestricted",
        "virtual",
        "waits",
    )

    flows: dict[str, Flow]
    """Those with requests queued."""
    idle_flows: dict[str, Flow]
    """Those without, whose tags are remembered."""
    running_flows: dict[str, Flow]
    """Those with requests running, queued or not."""
    overflowed: dict[str, int]
    """Requests queued in the overflow flow, by tenant."""
    queued_free: int
    """Of the queued requests, those that need no room."""
    unrestricted: bool
    """Whether every queued request may use every endpoint."""

    def __init__(self, priority: int, policy: BandPolicy, *, waits: WaitAccount, now: float) -> None:
        self.priority = priority
        self.policy = policy
        self.ceiling = 1.0
        self.queued_requests = 0
        self.queued_bytes = 0
        self.queued_free = 0
        self.running_requests = 0
        self.idle_since_s = now
        self.unrestricted = True
        self.lanes: dict[LaneKey, Lane] = {}
        self.flows = {}
        self.idle_flows = {}
        self.running_flows = {}
        self.overflowed = {}
        self.overflowed_requests = 0
        self.flows_created = 0
        self.charged_tokens = 0
        self.settled_tokens = 0
        self.hoards = Hoards()
        self.virtual = VirtualTimes()
        self._sweep_at = SLACK
        self.waits = waits
        self.drain = DrainRate()
        self.outlook = Outlook()

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
                return self._idle_or_new(tenant)
        return self.flows.get(OVERFLOW_FLOW) or self._idle_or_new(OVERFLOW_FLOW)

    def _idle_or_new(self, tenant: str) -> Flow:
        flow = self.idle_flows.get(tenant) or self.running_flows.get(tenant)
        if flow is None:
            self.flows_created += 1
            flow = Flow(tenant)
        if flow.lifetime != self.virtual.lifetime:
            flow.reset(self.virtual.lifetime)
        return flow

    # -------------------------------------------------------------------- items

    def add(self, item: Item, guard: PolicyGuard, now: float) -> None:
        """Queue an item."""
        flow, lane, view = item.flow, item.lane, item.view
        sequence, size = view.sequence, view.size_bytes
        if not flow.queued_requests:
            self._wake(flow, lane, guard, now)
        if flow.fairness_id != item.fairness_id:
            self._enter_overflow(item.fairness_id)
        lane.items[sequence] = item
        if lane.is_restricted:
            self.unrestricted = False
        queue = flow.queues.get(lane)
        if queue is None:
            queue = Queue()
            if flow.queues:
                queue.offset = self.virtual.offset(flow, lane)
            flow.queues[lane] = queue
            lane.flows += 1
        item.queue = queue
        heappush(queue.heap, (item.order_key, sequence))
        queue.count += 1
        if lane.need:
            item.cost = cost = guard.fairness_cost(self.policy.fairness, view)
            flow.queued_cost += cost
            lane.held += flow.at_cap
        else:
            self.queued_free += 1
        flow.queued_requests += 1
        flow.queued_bytes += size
        if flow.newest is not None:
            flow.pushed(sequence, lane)
        self.queued_requests += 1
        self.queued_bytes += size
        if self.hoards.heaps:
            self.hoards.grew(flow)
        if lane.head(flow) is item:
            lane.rank(flow, self.policy, guard)

    def take(self, item: Item, guard: PolicyGuard, now: float) -> None:
        """Remove an item that goes nowhere. Its flow's turn is worked out anew if it was the head."""
        flow, lane = item.flow, item.lane
        was_head = lane.head(flow) is item
        self._remove(item, now)
        if was_head and lane in flow.queues:
            lane.rank(flow, self.policy, guard)

    def dispatch(self, item: Item, endpoint: Endpoint, guard: PolicyGuard, now: float) -> None:
        """Remove an item that goes to `endpoint`, moving virtual time and charging its flow."""
        flow, lane = item.flow, item.lane
        if lane.need:
            offset = item.queue.offset
            self.virtual.served(endpoint, flow.tag + offset)
            flow.charge(item.cost, endpoint, offset)
            self.charged_tokens += item.tokens
            flow.running_requests += 1
            self.running_flows[flow.fairness_id] = flow
            if self.policy.flow_max_in_flight is not None:
                self._judge_cap(flow)
        self.running_requests += 1
        self._remove(item, now)
        if flow.queues:
            self.rerank(flow, guard)

    def ended(self, item: Item, guard: PolicyGuard, *, correction: float, now: float) -> None:
        """A running request is gone; its charge was off by `correction`."""
        self.running_requests -= 1
        if not (self.queued_requests or self.running_requests):
            self.idle_since_s = now
        if not item.lane.need:
            return
        flow = item.flow
        flow.running_requests -= 1
        if not flow.running_requests:
            del self.running_flows[flow.fairness_id]
        moved = flow.settle(correction if flow.lifetime == self.virtual.lifetime else 0.0, item.epoch)
        if flow.at_cap and not self._is_at_cap(flow):
            self._release(flow, guard, now)
            moved = True
        if moved and flow.queues:
            self.rerank(flow, guard)

    def rerank(self, flow: Flow, guard: PolicyGuard) -> None:
        """The flow's tag changed: put it at its new place in every lane."""
        for lane in flow.queues:
            lane.rank(flow, self.policy, guard)

    def adopt(self, policy: BandPolicy, guard: PolicyGuard, now: float) -> None:
        """Another policy: every turn is worked out anew, and the order inside flows if it is another one."""
        reorder = policy.ordering != self.policy.ordering
        recharge = policy.fairness != self.policy.fairness
        self.policy = policy
        if recharge:
            # Tags in turns mean nothing among tags in tokens: all start anew.
            self.virtual.reset()
            self.idle_flows.clear()
            for flow in self.flows.values():
                flow.reset(self.virtual.lifetime)
                for queue in flow.queues.values():
                    queue.offset = 0.0
        for lane in self.lanes.values():
            lane.forget_ranks()
            if reorder:
                for item in lane.items.values():
                    item.order_key = guard.order_key(policy.ordering, item.view)
            if recharge and lane.need:
                for item in lane.items.values():
                    cost = guard.fairness_cost(policy.fairness, item.view)
                    item.flow.queued_cost += cost - item.cost
                    item.cost = cost
        for flow in {**self.running_flows, **self.flows}.values():
            if reorder:
                self._reorder(flow)
            if flow.at_cap and not self._is_at_cap(flow):
                self._release(flow, guard, now)
            else:
                self._judge_cap(flow)
            self.rerank(flow, guard)

    def newest_first(self) -> Iterator[Item]:
        """The items, the one that arrived last first."""
        by_lane = [reversed(lane.items.values()) for lane in self.lanes.values()]
        return merge(*by_lane, key=_newness)

    def newest_of(self, flow: Flow) -> Iterator[Item]:
        """One flow's items, the one that arrived last first."""
        newest = flow.by_newness()
        for at in range(len(newest) - 1, -1, -1):
            sequence, lane = newest[at]
            item = lane.items.get(sequence)
            if item is not None:
                yield item
            elif at == len(newest) - 1:
                newest.pop()

    def statistics(self, now: float, *, expected_wait_s: float | None, in_use: bool) -> BandStatistics:
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
                FlowStatistics(
                    flow.fairness_id,
                    self.priority,
                    flow.queued_requests,
                    flow.queued_bytes,
                    running_requests=flow.running_requests,
                    tag_lead=max(0.0, self.virtual.lead(flow)),
                    at_cap=flow.at_cap,
                )
                for flow in self.flows.values()
            ),
            running_requests=self.running_requests,
            flows_created=self.flows_created,
            overflowed_requests=self.overflowed_requests,
            in_use=in_use,
            expected_wait_s=expected_wait_s,
            retry_floor_s=self.outlook.floor_s,
            charged_tokens=self.charged_tokens,
            settled_tokens=self.settled_tokens,
        )

    # ------------------------------------------------------------------- inside

    def _remove(self, item: Item, now: float) -> None:
        flow, lane, view = item.flow, item.lane, item.view
        queue, size = item.queue, view.size_bytes
        del lane.items[view.sequence]
        queue.count -= 1
        if lane.need:
            lane.held -= flow.at_cap
        else:
            self.queued_free -= 1
        flow.queued_requests -= 1
        flow.queued_bytes -= size
        flow.queued_cost -= item.cost
        self.queued_requests -= 1
        self.queued_bytes -= size
        if flow.fairness_id != item.fairness_id:
            self._leave_overflow(item.fairness_id)
        if not queue.count:
            del flow.queues[lane]
            queue.version += 1
            lane.flows -= 1
        elif len(queue.heap) > 4 * queue.count + SLACK:
            queue.heap = [entry for entry in queue.heap if entry[1] in lane.items]
            heapify(queue.heap)
        if not lane.items:
            del self.lanes[lane.key]
            self.unrestricted = not any(each.is_restricted for each in self.lanes.values())
        if not flow.queued_requests:
            self.virtual.rest(flow, lane)
            self._rest(flow, now)

    # ---- waking and resting

    def _wake(self, flow: Flow, lane: Lane, guard: PolicyGuard, now: float) -> None:
        self.idle_flows.pop(flow.fairness_id, None)
        self.flows[flow.fairness_id] = flow
        self._start(flow, lane, guard, now)

    def _start(self, flow: Flow, lane: Lane, guard: PolicyGuard, now: float) -> None:
        half_life_s = guard.half_life_s(self.policy.fairness)
        kept = 1.0 if half_life_s == inf else 0.5 ** ((now - flow.rested_s) / half_life_s)
        self.virtual.start(flow, lane, kept=kept)

    def _rest(self, flow: Flow, now: float) -> None:
        del self.flows[flow.fairness_id]
        flow.newest = None
        flow.queued_cost = 0.0
        flow.rested_s = now
        if not self.queued_requests:
            self._forget(now)
            return
        self.idle_flows[flow.fairness_id] = flow
        if len(self.idle_flows) > self._sweep_at:
            self._sweep()

    def _forget(self, now: float) -> None:
        """The band is empty: all start anew, those who still run something when they come back."""
        if not self.running_requests:
            self.idle_since_s = now
        self.virtual.reset()
        self.idle_flows.clear()
        self.hoards.forget()

    def _sweep(self) -> None:
        """Forget the idle flows that are neither ahead nor behind, and of too many those that are least so."""
        apart = [(by, flow) for flow in self.idle_flows.values() if (by := self.virtual.apart(flow)) > 0]
        if len(apart) > _IDLE_FLOWS:
            apart.sort(key=_by_distance)
        self.idle_flows = {flow.fairness_id: flow for _, flow in apart[-_IDLE_FLOWS:]}
        self._sweep_at = 2 * len(self.idle_flows) + SLACK

    # ---- caps

    def _is_at_cap(self, flow: Flow) -> bool:
        most = self.policy.flow_max_in_flight
        # The overflow flow is many tenants: a cap for one would starve them all.
        return most is not None and flow.running_requests >= most and flow.fairness_id != OVERFLOW_FLOW

    def _judge_cap(self, flow: Flow) -> None:
        """Close the flow if it has reached its cap. To be ranked anew after it."""
        if flow.at_cap or not self._is_at_cap(flow):
            return
        flow.at_cap = True
        for lane, queue in flow.queues.items():
            lane.held += queue.count if lane.need else 0
        if flow.queues:
            self.virtual.rest(flow, next(iter(flow.queues)))

    def _release(self, flow: Flow, guard: PolicyGuard, now: float) -> None:
        """Open the flow again, as if it came from idleness. To be ranked anew after it."""
        flow.at_cap = False
        first: Lane | None = None
        for lane, queue in flow.queues.items():
            lane.held -= queue.count if lane.need else 0
            if first is None:
                first = lane
                flow.rested_s = now
                self._start(flow, lane, guard, now)
                queue.offset = 0.0
            else:
                queue.offset = self.virtual.offset(flow, lane)

    def _reorder(self, flow: Flow) -> None:
        for lane, queue in flow.queues.items():
            queue.heap = [(lane.items[at].order_key, at) for _, at in queue.heap if at in lane.items]
            heapify(queue.heap)

    def _enter_overflow(self, tenant: str) -> None:
        self.overflowed[tenant] = self.overflowed.get(tenant, 0) + 1
        self.overflowed_requests += 1

    def _leave_overflow(self, tenant: str) -> None:
        left = self.overflowed[tenant] - 1
        if left:
            self.overflowed[tenant] = left
        else:
            del self.overflowed[tenant]
