"""What is left of requests that have all had their end: nothing, neither in numbers nor in objects."""

from __future__ import annotations

import gc
from collections import Counter
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from epp.core.events import Tick

if TYPE_CHECKING:
    from tests.core.oracle import Oracle


def assert_empty(oracle: Oracle) -> None:
    """Promise 6: when all requests have ended, nothing of them is left anywhere."""
    assert not oracle.queued, "the test itself left requests queued"
    assert not oracle.running, "the test itself left requests running"
    # What was scraped is remembered until it is stale, even of an endpoint that has left.
    oracle.handle(Tick(), oracle.now + oracle.policy.staleness_s)
    statistics = oracle.controller.statistics(oracle.now)
    counted = (statistics.queued_requests, statistics.queued_bytes, statistics.running_requests)
    assert counted == (0, 0, 0), f"{counted} requests, bytes, running are left"
    assert (statistics.lanes, statistics.overflowed_flows) == (0, 0), "lanes or overflowed tenants are left"
    loads = [each.view.own_requests + each.view.own_tokens for each in statistics.endpoints]
    assert not any(loads), f"loads are left: {loads}"
    bands = [band.priority for band in statistics.bands]
    provided = sorted(oracle.provided(), reverse=True)
    assert bands == provided, f"bands {bands} are left, {provided} are provided for"
    kept = Counter(type(each).__name__ for each in _reachable(oracle.controller))
    for kind in ("Item", "Reservation", "Flow", "Queue", "Lane", "Arrived"):
        assert not kept[kind], f"{kept[kind]} objects of the kind {kind} are left"
    assert kept["Endpoint"] == len(statistics.endpoints), "endpoints are remembered that have left"


def _reachable(root: object) -> list[object]:
    """Everything that an object holds, however deep."""
    seen = {id(root): root}
    front = [root]
    while front:
        for each in gc.get_referents(front.pop()):
            if id(each) not in seen and not isinstance(each, (type, ModuleType, FunctionType)):
                seen[id(each)] = each
                front.append(each)
    return list(seen.values())
