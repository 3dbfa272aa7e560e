"""The promises, worked out from scratch: what `Controller.check` compares the live state with.

Slow on purpose: every counter is recounted and promises 1 to 4 are tried by brute force over all queued items and all
endpoints. Tests call it after every step; production may, rarely.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.core.band import Band, Flow, Item, Lane
    from epp.core.bands import Bands
    from epp.core.incarnation import Endpoint
    from epp.core.ledger import Ledger
    from epp.core.policy import FlowControlPolicy


class BrokenPromiseError(AssertionError):
    """The state contradicts itself or a promise. Always a bug of ours."""


def check_books(bands: Bands, queued: Mapping[int, Item]) -> None:
    """Promise 6: every queued item stands where it belongs, once, and every counter is the recounted one."""
    seen: Counter[int] = Counter()
    for band in bands:
        items = [item for lane in band.lanes.values() for item in lane.items.values()]
        seen.update(item.request.request_id for item in items)
        _expect(band.queued_requests == len(items), f"band {band.priority} counts {band.queued_requests}")
        size = sum(item.request.size_bytes for item in items)
        _expect(
            band.queued_bytes == size, f"band {band.priority} counts {band.queued_bytes} bytes, not {size}"
        )
        _expect(all(lane.items for lane in band.lanes.values()), f"band {band.priority} keeps an empty lane")
        for (eligibility, need), lane in band.lanes.items():
            kinds = {(item.request.eligibility, item.request.need) for item in lane.items.values()}
            _expect(kinds == {(eligibility, need)}, f"a lane of band {band.priority} mixes {kinds}")
        for lane in band.lanes.values():
            flows = len({item.flow for item in lane.items.values()})
            _expect(
                lane.flows == flows, f"a lane of band {band.priority} counts {lane.flows} flows, not {flows}"
            )
        free = sum(not item.request.need for item in items)
        _expect(band.queued_free == free, f"band {band.priority} counts {band.queued_free} without need")
        _check_flows(band, items)
    _expect(max(seen.values(), default=1) == 1, "an item is queued twice")
    _expect(set(seen) == set(queued), "the table of queued requests differs from the bands")
    _expect(bands.queued_requests == len(queued), f"{bands.queued_requests} counted, {len(queued)} queued")
    total = sum(item.request.size_bytes for item in queued.values())
    _expect(bands.queued_bytes == total, f"{bands.queued_bytes} bytes counted, {total} queued")
    ceilings = [band.ceiling for band in bands]
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
            usable = open_now if lane.need else ledger.listed.values()
            for endpoint in usable:
                _expect(
                    not lane.eligibility.admits(endpoint.spec),
                    f"{len(lane.items)} of priority {band.priority} wait, and {endpoint.spec.address} "
                    f"has room ({policy.capacity.name})",
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
        size = sum(item.request.size_bytes for item in mine)
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
