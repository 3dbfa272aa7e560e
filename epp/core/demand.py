"""Demand: queued requests that could go now if there were room on an endpoint. For them running ones may give way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.core.bands import Bands
    from epp.core.incarnation import Endpoint
    from epp.core.ledger import Ledger


class Demand(NamedTuple):
    """What one band waits for."""

    priority: int
    requests: int
    endpoints: Mapping[Endpoint, None]
    """That some of them may use, and that have no room for the band."""


def demand(bands: Bands, ledger: Ledger) -> Demand | None:
    """That of the highest band with requests that nothing but room on one endpoint keeps back; None if there is none.

    A request that needs two endpoints has nobody evicted: one that gives way may win nothing.
    """
    for band in bands.in_order:
        if not band.queued_requests or band.ceiling <= 0:
            continue
        room = ledger.room(band.ceiling).views
        requests = 0
        full: dict[Endpoint, None] = {}
        for lane in band.lanes.values():
            if not lane.need or not lane.dispatchable or lane.prefill is not None:
                continue
            requests += lane.dispatchable
            wanted = ledger.listed.values() if lane.eligible is None else lane.eligible
            full.update((each, None) for each in wanted if each not in room and not ledger.is_shunned(each))
        if requests:
            return Demand(band.priority, requests, full)
    return None
