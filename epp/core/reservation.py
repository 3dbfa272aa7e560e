"""A reservation: a dispatched request on one incarnation of an endpoint, until its stream ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epp.core.band import Band, Item
    from epp.core.incarnation import Endpoint


class Reservation:
    """What has to be given back, and to whom."""

    __slots__ = ("band", "cost", "endpoint", "flow", "lifts", "need", "tokens")

    def __init__(self, item: Item, band: Band, endpoint: Endpoint, cost: float) -> None:
        self.band = band
        self.flow = item.flow
        self.lifts = item.flow.lifts
        self.endpoint = endpoint
        self.need = item.request.need
        self.tokens = item.view.charge_tokens if item.request.need else 0
        self.cost = cost
