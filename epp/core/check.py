"""The promises, worked out from scratch: what `Controller.check` compares the live state with.

Slow on purpose: every counter is recounted and promises 1 to 4 are tried by brute force over all queued items and all
endpoints. Tests call it after every step; production may, rarely.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from epp.core.band import OVERFLOW_FLOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.core.band import Band
    from epp.core.bands import Bands
    from epp.core.flow import Flow
    from epp.core.incarnation import Endpoint
    from epp.core.item import Item
    from epp.core.lane import Lane
    from epp.core.ledger import Ledger
    from epp.core.policy import FlowControlPolicy
    from epp.core.running import Running
    from epp.core.waitingroom import WaitingRoom


class BrokenPromiseError(AssertionError):
    """The state contradicts itself or a promise. Always a bug of ours."""


def check(
    bands: Bands,
    ledger: Ledger,
    waiting: WaitingRoom,
    running: Running,
    policy: FlowControlPolicy,
    *,
    is_settled: bool,
) -> None:
    """All of it. `is_settled`: the last drain pass was complete, so nobody may wait who could run."""
    check_books(bands, waiting.items)
    by_sequence = {item.view.sequence: item for item in waiting.items.values()}
    _expect(by_sequence == waiting.by_sequence, "the tables of queued requests differ")
    reserved: dict[Endpoint, tuple[int, int]] = {}
    for held in running.requests.values():
        places = [(held.endpoint, held.tokens)]
        if held.prefill is not None:
            places.append((held.prefill, held.view.input_tokens))
        for endpoint, tokens_here in places:
            requests, tokens = reserved.get(endpoint, (0, 0))
            reserved[endpoint] = (requests + held.need, tokens + tokens_here)
    check_ledger(ledger, reserved)
    check_running(bands, running)
    if is_settled:
        check_served(bands, ledger, policy)


def check_running(bands: Bands, running: Running) -> None:
    """Every flow counts what runs of it, and is closed if, and only if, it is at its cap."""
    by_flow: Counter[tuple[int, str]] = Counter()
    by_band: Counter[int] = Counter()
    for held in running.requests.values():
        by_band[held.priority] += 1
        by_flow[held.priority, held.flow.fairness_id] += held.need
    for band in bands:
        counted = by_band[band.priority]
        _expect(
            band.running_requests == counted,
            f"band {band.priority} runs {band.running_requests}, not {counted}",
        )
        most = band.policy.flow_max_in_flight
        for flow in {**band.running_flows, **band.flows}.values():
            runs = by_flow[band.priority, flow.fairness_id]
            _expect(
                flow.running_requests == runs,
                f"flow {flow.fairness_id} counts {flow.running_requests}, not {runs}",
            )
            _expect(
                flow.at_cap == (most is not None and runs >= most and flow.fairness_id != OVERFLOW_FLOW),
                f"flow {flow.fairness_id} is closed: {flow.at_cap}",
            )
        _expect(
            all(flow.running_requests for flow in band.running_flows.values()),
            f"band {band.priority} lists a flow that runs nothing",
        )


def check_books(bands: Bands, queued: Mapping[int, Item]) -> None:
    """Promise 6: every queued item stands where it belongs, once, and every counter is the recounted one."""
    seen: Counter[int] = Counter()
    for band in bands:
        items = [item for lane in band.lanes.values() for item in lane.items.values()]
        seen.update(item.request_id for item in items)
        _expect(band.queued_requests == len(items), f"band {band.priority} counts {band.queued_requests}")
        size = sum(item.view.size_bytes for item in items)
        _expect(
            band.queued_bytes == size, f"band {band.priority} counts {band.queued_bytes} bytes, not {size}"
        )
        _expect(all(lane.items for lane in band.lanes.values()), f"band {band.priority} keeps an empty lane")
        for key, lane in band.lanes.items():
            _expect(lane.key == key, f"a lane of band {band.priority} stands at {key}")
            strays = [item for item in lane.items.values() if item.lane is not lane or item.band is not band]
            _expect(not strays, f"a lane of band {band.priority} has {strays}, which stand elsewhere")
        for lane in band.lanes.values():
            flows = len({item.flow for item in lane.items.values()})
            _expect(
                lane.flows == flows, f"a lane of band {band.priority} counts {lane.flows} flows, not {flows}"
            )
            held = sum(lane.need and item.flow.at_cap for item in lane.items.values())
            _expect(lane.held == held, f"a lane of band {band.priority} counts {lane.held} held, not {held}")
        free = sum(not item.need for item in items)
        _expect(band.queued_free == free, f"band {band.priority} counts {band.queued_free} without need")
        _check_flows(band, items)
    _expect(max(seen.values(), default=1) == 1, "an item is queued twice")
    _expect(set(seen) == set(queued), "the table of queued requests differs from the bands")
    _expect(bands.queued_requests == len(queued), f"{bands.queued_requests} counted, {len(queued)} queued")
    total = sum(item.view.size_bytes for item in queued.values())
    _expect(bands.queued_bytes == total, f"{bands.queued_bytes} bytes counted, {total} queued")
    ceilings = [band.ceiling for band in bands if bands.is_used(band)]
    _expect(ceilings == sorted(ceilings, reverse=True), f"ceilings rise downwards: {ceilings}")


def check_ledger(ledger: Ledger, reserved: Mapping[Endpoint, tuple[int, int]]) -> None:
    """Promise 4's ground: loads are the reservations, and room is what the capacity policy says of them."""
    known = set(ledger.endpoints())
    for endpoint in known:
        own = reserved.get(endpoint, (0, 0))
        counted = (endpoint.own_requests, endpoint.own_tokens)
        _expect(counted == own, f"{endpoint.spec.address} counts {counted}, reserved {own}")
        _expect(endpoint.view == endpoint.fresh_view(), f"{endpoint.spec.address} shows an old view")
        _expect(
            endpoint.listed or endpoint.own_requests or endpoint.own_tokens,
            f"{endpoint.spec.address} is gone and idle, and still known",
        )
    strays = [each for each, load in reserved.items() if each not in known and load != (0, 0)]
    _expect(not strays, "a reservation on an endpoint that the ledger forgot")
    for room in ledger.rooms():
        expected = {each for each in ledger.listed.values() if ledger.has_room(each, room.ceiling)}
        _expect(set(room.views) == expected, f"room below {room.ceiling} is out of date")
        _expect(all(each.view is view for each, view in room.views.items()), "room shows an old view")


def check_served(bands: Bands, ledger: Ledger, policy: FlowControlPolicy) -> None:
    """Promises 1 and 3: nobody who could run somewhere is waiting. Only once the drain pass was complete."""
    for band in bands:
        open_now = [each for each in ledger.listed.values() if ledger.has_room(each, band.ceiling)]
        for lane in band.lanes.values():
            if all(lane.need and item.flow.at_cap for item in lane.items.values()):
                continue
            usable = open_now if lane.need else list(ledger.listed.values())
            first = [each for each in usable if lane.eligibility.admits(each.spec)]
            if lane.prefill is not None and lane.need:
                second = [each for each in usable if lane.prefill.admits(each.spec)]
                first = [each for each in first if any(other is not each for other in second)]
            _expect(
                not first,
                f"{len(lane.items)} of priority {band.priority} wait, and "
                f"{first[0].spec.address if first else ''} has room ({policy.capacity.name})",
            )


def _check_flows(band: Band, items: list[Item]) -> None:
    by_flow: dict[Flow, list[Item]] = {}
    for item in items:
        by_flow.setdefault(item.flow, []).append(item)
    _expect(
        set(by_flow) == set(band.flows.values()), f"band {band.priority} keeps other flows than its items"
    )
    for flow, mine in by_flow.items():
        name = flow.fairness_id
        _expect(band.flows.get(name) is flow, f"flow {name} is not the one that the band knows")
        _expect(flow.queued_requests == len(mine), f"flow {name} counts {flow.queued_requests}")
        size = sum(item.view.size_bytes for item in mine)
        _expect(flow.queued_bytes == size, f"flow {name} counts {flow.queued_bytes} bytes, not {size}")
        by_lane: dict[Lane, list[Item]] = {}
        for item in mine:
            by_lane.setdefault(item.lane, []).append(item)
        _expect(set(by_lane) == set(flow.queues), f"flow {name} keeps other lanes than its items")
        for lane, here in by_lane.items():
            _expect(flow.queues[lane].count == len(here), f"flow {name} miscounts a lane")
            first = min(here, key=lambda item: (item.order_key, item.view.sequence))
            _expect(lane.head(flow) is first, f"flow {name}: the head is not the first in order")


def _expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise BrokenPromiseError(otherwise)
