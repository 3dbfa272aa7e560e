"""A reservation: a dispatched request on one incarnation of an endpoint, until its stream ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.events import forgetful

if TYPE_CHECKING:
    from epp.core.band import Band
    from epp.core.flow import Flow
    from epp.core.incarnation import Endpoint
    from epp.core.lane import Item
    from epp.core.policy import FairnessPolicy, ItemView


class Reservation:
    """What has to be given back, and to whom. Small: thousands are made in a moment, and looked at by the collector."""

    __slots__ = (
        "band",
        "begun",
        "dispatched_s",
        "endpoint",
        "epoch",
        "evicting",
        "fairness",
        "item",
        "need",
        "prefill",
        "tokens",
    )

    begun: bool
    """Whether the first byte of its response was seen."""
    epoch: int
    """The flow's, at the charge."""
    evicting: bool
    """Whether it was told to give way."""
    fairness: FairnessPolicy
    """The one that charged it, and settles it."""
    need: int
    """Requests' worth of room that it holds."""
    prefill: Endpoint | None
    """The second endpoint, while it holds room there."""
    tokens: int
    """Tokens' worth of room that it holds."""

    def __init__(self, item: Item, band: Band, endpoint: Endpoint, *, now: float) -> None:
        # What the choice of endpoint went by may be large, and is no business of ours any more.
        if item.request.facts is not None:
            item.request = forgetful(item.request)
        self.item = item
        self.need = item.request.need
        self.tokens = item.view.charge_tokens if self.need else 0
        self.band = band
        self.endpoint = endpoint
        self.prefill = None
        self.epoch = item.flow.epoch
        self.fairness = band.policy.fairness
        self.dispatched_s = now
        self.begun = False
        self.evicting = False

    @property
    def request_id(self) -> int:
        """The shell's name for it."""
        return self.item.request.request_id

    @property
    def priority(self) -> int:
        """Of the request."""
        return self.item.request.priority

    @property
    def cost(self) -> float:
        """What its flow was charged."""
        return self.item.cost

    @property
    def flow(self) -> Flow:
        """Who was charged."""
        return self.item.flow

    @property
    def view(self) -> ItemView:
        """The request as policies saw it, with its estimates."""
        return self.item.view

    @property
    def model(self) -> str:
        """That it was sent on with."""
        return self.item.request.model

    @property
    def body_bytes(self) -> int:
        """Of its body, held or not."""
        return self.item.request.body_bytes

    @property
    def waited_s(self) -> float:
        """How long it was queued."""
        return self.dispatched_s - self.item.view.arrived_s
