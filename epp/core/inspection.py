"""Reading the live core for people: where one request stands, and the lists of everything, page by page.

Rules of this file:

- Nothing here changes a decision: the live structures are read, and policies that have to be asked are asked behind a
  guard of our own, so that not even the count of their faults moves.
- A page costs as much as it is long, plus a look at what it leaves out. What would take longer than a few
  milliseconds isn't worked out: a page may be shorter than it was asked to be, and says that more may come; a
  position is told by arrival where telling it by turns would take too long.
- Lists are in an order that doesn't change while what they list lives (arrival, name, priority, address), and a page
  goes on after the last entry of the one before. So pages put together show everything that was there all the
  time, once, whatever came and went in between.
- A request's reason for waiting is the one that `accounting` books its time under.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import nsmallest
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from epp.core.band import OVERFLOW_FLOW
from epp.core.guard import PolicyGuard
from epp.core.insight import (
    BandEntry,
    EndpointEntry,
    Entry,
    FlowEntry,
    Obstacle,
    Page,
    PositionBasis,
    QueuedEntry,
    QueuedStory,
    RoomEntry,
    RunningEntry,
    UnknownStory,
)
from epp.core.obstacles import obstacles
from epp.core.outlook import expected_wait_s
from epp.core.standing import Standing
from epp.core.statistics import WaitReason
from epp.core.turns import turns_before

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from epp.core.band import Band
    from epp.core.bands import Bands
    from epp.core.clocks import WaitClocks
    from epp.core.controller import Controller
    from epp.core.flow import Flow
    from epp.core.incarnation import Endpoint
    from epp.core.insight import Story
    from epp.core.item import Item
    from epp.core.ledger import Ledger, Room
    from epp.core.policy import FlowControlPolicy
    from epp.core.prospects import Prospects

MOST_ENTRIES = 1000
"""On one page."""
MOST_QUEUED = 500
"""Queued requests on one page: there is more to say of each than of other things."""
MOST_LOOKS = 5000
"""At queued requests, for one page: a filter may leave many of them out."""
_NOBODY_KNOWS_HOW_LONG = frozenset({WaitReason.NO_ENDPOINT, WaitReason.INELIGIBLE, WaitReason.FLOW_CAP})
"""Reasons that have nothing to do with who else is queued."""
MOST_ROOMS = 2000
"""Rooms (an endpoint's, below one ceiling) on one page."""


class Interior(NamedTuple):
    """What is read of a controller."""

    policy: FlowControlPolicy
    bands: Bands
    ledger: Ledger
    prospects: Prospects
    clocks: WaitClocks
    queued: Mapping[int, Item]
    """By request."""
    in_order: Mapping[int, Item]
    """By sequence, which is their order."""
    running: Mapping[int, Item]
    """By request."""


def interior(controller: Controller) -> Interior:
    """The parts of a controller."""
    return Interior(
        controller._policy,
        controller._bands,
        controller._ledger,
        controller._prospects,
        controller._waiting.clocks,
        controller._waiting.items,
        controller._waiting.by_sequence,
        controller._running.requests,
    )


def as_it_is(fairness_id: str) -> str:
    """A flow's name for those who may read it."""
    return fairness_id


# ---------------------------------------------------------------------------------------------------- one request


def story(
    controller: Controller, request_id: int, now: float, *, naming: Callable[[str], str] = as_it_is
) -> Story:
    """Where a request stands, and why."""
    core = interior(controller)
    item = core.queued.get(request_id)
    if item is not None:
        return _queued_story(core, item, now, naming)
    held = core.running.get(request_id)
    if held is not None:
        return _running_entry(core, held, now, naming)
    return UnknownStory(request_id)


def _queued_story(core: Interior, item: Item, now: float, naming: Callable[[str], str]) -> QueuedStory:
    band = item.band
    request = _queued_entry(core, Standing(core.bands, core.ledger), item, now, naming)
    position, basis = _position(band, item)
    above = sum(each.queued_requests for each in core.bands if each.priority > band.priority)
    return QueuedStory(
        request=request,
        flow=_flow_entry(band, item.flow, naming),
        position=position,
        position_basis=basis,
        position_in_flow=_position_in_flow(item),
        ahead_in_higher_bands=above,
        position_at_entry=None if item.blocked_by is None else item.position,
        blocked_at_entry=item.blocked_by,
        estimated_wait_s=None
        if request.wait_reason in _NOBODY_KNOWS_HOW_LONG
        else _estimated_wait_s(core, band, above=above, own=position + 1, now=now),
    )


def _position(band: Band, item: Item) -> tuple[int, PositionBasis]:
    turns = turns_before(band, item)
    if turns is not None:
        return turns, PositionBasis.TURNS
    came_before = item.view.sequence.__gt__
    return sum(sum(map(came_before, lane.items)) for lane in band.lanes.values()), PositionBasis.ARRIVAL


def _position_in_flow(item: Item) -> int:
    before = (item.order_key, item.view.sequence).__gt__
    count = 0
    for lane, queue in item.flow.queues.items():
        earlier = list(filter(before, queue.heap))
        count += (
            len(earlier) if len(queue.heap) == queue.count else sum(at in lane.items for _, at in earlier)
        )
    return count


def _estimated_wait_s(core: Interior, band: Band, *, above: int, own: int, now: float) -> float | None:
    """At the pace of late: higher bands drain at that of all, then this one at its own and those of lower bands."""
    paces = {each.priority: each.drain.per_second(now) for each in core.bands}
    expected_s = expected_wait_s(
        above=above,
        above_per_second=sum(paces.values()),
        own=own,
        flows=1,
        own_per_second=sum(pace for priority, pace in paces.items() if priority <= band.priority),
    )
    return expected_s if expected_s < inf else None


# ------------------------------------------------------------------------------------------------------ the lists


def bands(controller: Controller, now: float, *, below: int | None = None, limit: int) -> Page[BandEntry]:
    """The bands below the priority `below`, highest first."""
    core = interior(controller)
    wanted = (band for band in core.bands if below is None or band.priority < below)
    return _page([_band_entry(core, band, now) for band in islice(wanted, limit + 1)], limit)


def flows(
    controller: Controller,
    priority: int | None = None,
    *,
    after: tuple[int, str] | None = None,
    limit: int,
    naming: Callable[[str], str] = as_it_is,
) -> Page[FlowEntry]:
    """The flows with requests queued or running, of one band or of all: by band, then by name as it is shown."""
    core = interior(controller)
    found: list[FlowEntry] = []
    for band in core.bands:
        if priority is not None and band.priority != priority:
            continue
        if after is not None and band.priority > after[0]:
            continue
        last = after[1] if after is not None and band.priority == after[0] else None
        known = band.running_flows | band.flows
        named = ((naming(name), flow) for name, flow in known.items())
        wanted = (each for each in named if last is None or each[0] > last)
        for _, flow in nsmallest(limit + 1 - len(found), wanted, key=_by_name):
            found.append(_flow_entry(band, flow, naming))
        if len(found) > limit:
            break
    return _page(found, limit)


def queued(
    controller: Controller,
    now: float,
    *,
    priority: int | None = None,
    fairness_id: str | None = None,
    after_sequence: int = 0,
    limit: int,
    naming: Callable[[str], str] = as_it_is,
) -> tuple[Page[QueuedEntry], int]:
    """The queued requests after that sequence, in order of arrival, and the sequence to go on after.

    `fairness_id` is a name as it is, or as it is shown.
    """
    core = interior(controller)
    standing = Standing(core.bands, core.ledger)
    found: list[QueuedEntry] = []
    wanted: dict[str, bool] = {}
    # Copying 50,000 numbers takes a fifth of a millisecond; going through those that earlier pages showed takes more.
    limit = min(limit, MOST_QUEUED)
    order = list(core.in_order)
    start = bisect_right(order, after_sequence)
    for sequence in islice(order, start, start + MOST_LOOKS):
        item = core.in_order[sequence]
        if priority is not None and item.priority != priority:
            continue
        if fairness_id is not None:
            tenant = item.fairness_id
            if tenant not in wanted:
                wanted[tenant] = fairness_id in {tenant, naming(tenant)}
            if not wanted[tenant]:
                continue
        found.append(_queued_entry(core, standing, item, now, naming))
        if len(found) == limit:
            break
    else:
        sequence = order[min(len(order), start + MOST_LOOKS) - 1] if order else after_sequence
    return Page(tuple(found), more=bool(order) and sequence < order[-1]), sequence


def running(
    controller: Controller,
    now: float,
    *,
    after: int = -1,
    limit: int,
    naming: Callable[[str], str] = as_it_is,
) -> Page[RunningEntry]:
    """The dispatched requests after that one, in order of their ids."""
    core = interior(controller)
    # Ids are given in order and dispatched almost in order, so sorting them all is hardly more than one pass.
    wanted = sorted([each for each in core.running if each > after])
    return _page(
        [_running_entry(core, core.running[each], now, naming) for each in wanted[: limit + 1]], limit
    )


def endpoints(
    controller: Controller, now: float, *, after: tuple[str, str] | None = None, limit: int
) -> Page[EndpointEntry]:
    """The pool's endpoints after that incarnation, by address."""
    core = interior(controller)
    limit = max(1, min(limit, MOST_ROOMS // sum(1 for _ in core.ledger.rooms())))
    wanted = (key for key in core.ledger.listed if after is None or key > after)
    priorities: dict[float, list[int]] = {}
    for band in core.bands:
        priorities.setdefault(band.ceiling, []).append(band.priority)
    keys = nsmallest(limit + 1, wanted)
    return _page([_endpoint_entry(core, core.ledger.listed[key], priorities, now) for key in keys], limit)


def _by_name(named: tuple[str, Flow]) -> str:
    return named[0]


def _by_ceiling(room: Room) -> float:
    return room.ceiling


def _page(entries: list[Entry], limit: int) -> Page[Entry]:
    """`entries` may be one too many: then there are more."""
    return Page(tuple(entries[:limit]), more=len(entries) > limit)


# ---------------------------------------------------------------------------------------------------- the entries


def _band_entry(core: Interior, band: Band, now: float) -> BandEntry:
    oldest = [next(iter(lane.items.values())).view.arrived_s for lane in band.lanes.values()]
    return BandEntry(
        priority=band.priority,
        queued_requests=band.queued_requests,
        queued_bytes=band.queued_bytes,
        max_requests=band.policy.max_requests,
        max_bytes=band.policy.max_bytes,
        running_requests=band.running_requests,
        flows=len(band.flows),
        lanes=len(band.lanes),
        ceiling=band.ceiling,
        endpoints_with_room=len(core.ledger.room(band.ceiling).views) if core.bands.is_used(band) else 0,
        oldest_wait_s=max(0.0, now - min(oldest)) if oldest else 0.0,
        drain_rate=band.drain.per_second(now),
        expected_wait_s=core.prospects.newcomers_wait_s(band, now),
        virtual_time=band.virtual.latest,
        fairness=band.policy.fairness.name,
        ordering=band.policy.ordering.name,
        wait_s={reason.value: seconds for reason, seconds in band.waits.by_reason().items()},
    )


def _flow_entry(band: Band, flow: Flow, naming: Callable[[str], str]) -> FlowEntry:
    is_shared = flow.fairness_id == OVERFLOW_FLOW
    return FlowEntry(
        fairness_id=naming(flow.fairness_id),
        priority=band.priority,
        queued_requests=flow.queued_requests,
        queued_bytes=flow.queued_bytes,
        in_flight=flow.running_requests,
        tag=flow.tag,
        lead=flow.tag - band.virtual.latest,
        tenants=max(1, len(band.overflowed)) if is_shared else 1,
        capped=flow.at_cap,
    )


def _queued_entry(
    core: Interior, standing: Standing, item: Item, now: float, naming: Callable[[str], str]
) -> QueuedEntry:
    view, lane, flow = item.view, item.lane, item.flow
    busy_key_s, empty_key_s = item.busy_key_s, item.empty_key_s
    tenant = naming(item.fairness_id)
    return QueuedEntry(
        request_id=item.request_id,
        sequence=view.sequence,
        priority=item.priority,
        fairness_id=tenant,
        flow=tenant if flow.fairness_id == item.fairness_id else naming(flow.fairness_id),
        model=item.model,
        arrived_at_s=view.arrived_s,
        waited_s=now - view.arrived_s,
        ttl_left_s=None if busy_key_s is None else busy_key_s - core.clocks.busy_key(now),
        hold_left_s=None if empty_key_s is None else empty_key_s - core.clocks.empty_key(now),
        size_bytes=view.size_bytes,
        input_tokens=view.input_tokens,
        output_tokens=view.output_tokens,
        weight=view.weight,
        order_key=item.order_key,
        eligible_endpoints=len(core.ledger.listed if lane.eligible is None else lane.eligible),
        endpoints_with_room=standing.endpoints_with_room(item),
        needs_prefill_endpoint=lane.prefill is not None,
        wait_reason=standing.reason(item),
    )


def _running_entry(core: Interior, held: Item, now: float, naming: Callable[[str], str]) -> RunningEntry:
    spec, prefill = held.endpoint.spec, held.prefill
    return RunningEntry(
        request_id=held.request_id,
        priority=held.priority,
        flow=naming(held.flow.fairness_id),
        model=held.model,
        endpoint=spec.address,
        endpoint_name=spec.name,
        prefill_endpoint=None if prefill is None else prefill.spec.address,
        dispatched_at_s=held.dispatched_s,
        running_s=now - held.dispatched_s,
        waited_s=held.waited_s,
        charge_tokens=held.tokens,
        cost=held.cost,
        first_byte_seen=held.begun if held.begun or core.policy.wants_first_bytes else None,
        being_evicted=held.evicting,
    )


def _endpoint_entry(
    core: Interior, endpoint: Endpoint, priorities: Mapping[float, list[int]], now: float
) -> EndpointEntry:
    view, spec, sample = endpoint.view, endpoint.spec, endpoint.sample
    age_s = now - endpoint.sample_received_s
    return EndpointEntry(
        address=spec.address,
        uid=spec.uid,
        name=spec.name,
        knowledge=view.knowledge,
        sample_age_s=age_s if age_s < inf else None,
        load=view.load,
        own_requests=view.own_requests,
        own_tokens=view.own_tokens,
        foreign_requests=view.foreign_requests,
        proven_requests=view.proven_requests,
        sent_since_sample=view.sent_since_sample,
        engine_waiting=sample.waiting,
        engine_running=sample.running,
        kv_utilization=sample.kv_utilization,
        stated_limit=view.stated_limit,
        learned_limit=view.learned_limit,
        saturation=PolicyGuard().saturation(core.policy.capacity, view),
        rooms=tuple(
            RoomEntry(
                ceiling=room.ceiling,
                priorities=tuple(priorities.get(room.ceiling, ())),
                has_room=endpoint in room.views,
                obstacles=() if endpoint in room.views else _obstacles(core, endpoint, room.ceiling),
            )
            for room in sorted(core.ledger.rooms(), key=_by_ceiling, reverse=True)
        ),
    )


def _obstacles(core: Interior, endpoint: Endpoint, ceiling: float) -> tuple[Obstacle, ...]:
    if endpoint in core.ledger.full_room.views:
        return (Obstacle.CEILING,)
    shunned = (Obstacle.SHUNNED,) if core.ledger.is_shunned(endpoint) else ()
    return shunned + obstacles(core.policy.capacity, endpoint.view, ceiling) or (Obstacle.POLICY,)
