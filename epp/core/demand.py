"""Demand: queued requests that could go now if there were room on an endpoint. For them running ones may give way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from epp.core.bands import Bands
    from epp.core.incarnation import Endpoint
    from epp.core.ledger import Ledger


class Demand(NamedTuple):
    """What one lane waits for."""

    priority: int
    requests: int
    endpoints: Mapping[Endpoint, None]
    """That it may use, and that have no room for its band."""


def demand(bands: Bands, ledger: Ledger) -> Iterator[Demand]:
    """That of the highest band with requests that nothing but room keeps back, lane by lane."""
    for band in bands.in_order:
        if not band.queued_requests or band.ceiling <= 0:
            continue
        lanes = [lane for lane in band.lanes.values() if lane.need and lane.dispatchable]
        room = ledger.room(band.ceiling).views
        for lane in lanes:
            wanted = ledger.listed.values() if lane.eligible is None else lane.eligible
            full = {each: None for each in wanted if each not in room and not ledger.is_shunned(each)}
            yield Demand(band.priority, lane.dispatchable, full)
        if lanes:
            return
