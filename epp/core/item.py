"""An item: one request inside the core, from its arrival to its end.

First it is queued, in a lane and a flow; then it runs, and holds room on an endpoint until its stream ends. It is one
object for both lives: thousands are dispatched in a moment, and objects that were made just then are what the garbage
collector looks at first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.incarnation import NOWHERE

if TYPE_CHECKING:
    from epp.core.band import Band
    from epp.core.events import Arrived
    from epp.core.flow import Flow
    from epp.core.incarnation import Endpoint
    from epp.core.lane import Lane, Queue
    from epp.core.policy import FairnessPolicy, ItemView
    from epp.core.statistics import WaitReason


class Item:
    """One request."""

    __slots__ = (
        "band",
        "begun",
        "blocked_by",
        "body_bytes",
        "busy_key_s",
        "cost",
        "dispatched_s",
        "empty_key_s",
        "endpoint",
        "epoch",
        "evicting",
        "expected_s",
        "facts",
        "fairness",
        "fairness_id",
        "flow",
        "lane",
        "model",
        "order_key",
        "position",
        "prefill",
        "queue",
        "request_id",
        "tokens",
        "view",
    )

    # While it is queued.
    facts: object
    """For the choice of endpoint; None once that is made: they may be large."""
    fairness_id: str
    """Its tenant's, whose flow may be the overflow flow."""
    cost: float
    """What its flow is charged."""
    position: int
    """How many were queued before it, in its band and above, when it came."""
    blocked_by: WaitReason | None
    """Why it could not go at once; None if it could."""
    expected_s: float | None
    """How long it would wait, by an estimate; None if nobody asked."""

    queue: Queue
    """Its flow's, in its lane."""

    # Once it runs.
    endpoint: Endpoint
    prefill: Endpoint | None
    """The second endpoint, while it holds room there."""
    tokens: int
    """Tokens' worth of room that it takes there."""
    epoch: int
    """The flow's, at the charge."""
    fairness: FairnessPolicy
    """The one that charged it, and settles it."""
    begun: bool
    """Whether the first byte of its response was seen."""
    evicting: bool
    """Whether it was told to give way."""

    def __init__(
        self, request: Arrived, view: ItemView, *, order_key: float, band: Band, lane: Lane, flow: Flow
    ) -> None:
        self.request_id = request.request_id
        self.fairness_id = request.fairness_id
        self.model = request.model
        self.body_bytes = request.body_bytes
        self.facts = request.facts
        self.view = view
        self.order_key = order_key
        self.band = band
        self.lane = lane
        self.flow = flow
        self.busy_key_s: float | None = None
        self.empty_key_s: float | None = None
        self.cost = 0.0
        self.position = 0
        self.blocked_by = None
        self.expected_s = None
        self.endpoint = NOWHERE
        self.prefill = None
        self.tokens = 0
        self.epoch = 0
        self.fairness = band.policy.fairness
        self.dispatched_s = 0.0
        self.begun = self.evicting = False

    def start(self, endpoint: Endpoint, prefill: Endpoint | None, now: float) -> None:
        """It leaves the queue for an endpoint."""
        self.endpoint = endpoint
        self.prefill = prefill
        self.tokens = self.view.charge_tokens if self.lane.need else 0
        self.epoch = self.flow.epoch
        self.fairness = self.band.policy.fairness
        self.dispatched_s = now
        self.facts = None

    @property
    def priority(self) -> int:
        """That of its band."""
        return self.band.priority

    @property
    def need(self) -> int:
        """Requests' worth of room that it takes."""
        return self.lane.need

    @property
    def waited_s(self) -> float:
        """How long it was queued, once it runs."""
        return self.dispatched_s - self.view.arrived_s
