"""A settlement leaves a flow as if the actual cost had been charged at dispatch: compared with one that knew it.

The oracle keeps every flow's history: when it woke, at which virtual time, and what its dispatches cost. A cost
that turns out otherwise is changed in the history, and the tag is worked out again from there. Nothing in it clamps
but the wakes, and those by what virtual time passed while the flow was idle: what it was behind by then it stays
behind. Sizes are whole numbers and weights are powers of two, so the comparison
is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.fairness.pool import controller, servers
from benchmarks.fairness.tenants import (
    Backlogged,
    Bursts,
    ClosedLoop,
    Mishaps,
    Tenant,
    around,
    heavy_tailed,
    scaled,
    scattered,
)
from benchmarks.fairness.world import World
from epp.core.actions import Dispatch, Refuse
from epp.core.eligibility import Subset
from epp.core.events import Arrived, Cancelled, DeliveryFailed, Ended
from epp.core.fairness import TokenFairness
from tests.fairness.worlds import STEPS, tags

if TYPE_CHECKING:
    from epp.core import Controller
    from epp.core.actions import Action
    from epp.core.events import Event


class History:
    """What happened to one flow's tag, and the tag after each of it."""

    def __init__(self) -> None:
        self.costs: list[float | None] = []
        """Of dispatches; None for a wake."""
        self.wakes: list[tuple[float, float]] = []
        """The virtual time at wakes, and below which tag nothing was missed; nothing at dispatches."""
        self.rested = 0.0
        """The virtual time when its queue became empty."""
        self.tags = [0.0]
        self.queued = 0

    @property
    def tag(self) -> float:
        return self.tags[-1]

    def wake(self, virtual: float) -> None:
        self._add(None, (virtual, min(self.rested, virtual)))

    def dispatch(self, cost: float) -> int:
        """Returns which it was."""
        self._add(cost, (0.0, 0.0))
        return len(self.costs) - 1

    def settle(self, which: int, cost: float) -> None:
        """It cost that in the first place."""
        self.costs[which] = cost
        costs, wakes = self.costs[which:], self.wakes[which:]
        del self.costs[which:], self.wakes[which:], self.tags[which + 1 :]
        for each, wake in zip(costs, wakes, strict=True):
            self._add(each, wake)

    def _add(self, cost: float | None, wake: tuple[float, float]) -> None:
        self.costs.append(cost)
        self.wakes.append(wake)
        virtual, floor = wake
        if cost is not None:
            self.tags.append(self.tag + cost)
        elif self.tag < floor:
            self.tags.append(virtual + self.tag - floor)
        else:
            self.tags.append(max(self.tag, virtual))


class Settled:
    """The core, compared with the histories after every call."""

    def __init__(self, core: Controller, addresses: list[str]) -> None:
        self.core = core
        self.settlements = self.wakes = self.lifts = 0
        self.flows: dict[str, History] = {}
        self._virtual = dict.fromkeys(addresses, 0.0)
        self._requests: dict[int, Arrived] = {}
        self._charges: dict[int, int] = {}
        """Which of its flow's history, by running request."""

    def handle(self, event: Event, now: float) -> list[Action]:
        actions = self.core.handle(event, now)
        self._take(event)
        for action in actions:
            if isinstance(action, Dispatch):
                self._dispatched(action)
            elif isinstance(action, Refuse):
                self._left(self._requests.pop(action.request_id))
        if not any(flow.queued for flow in self.flows.values()):
            self._start_anew()
        for name, tag in tags(self.core).items():
            assert tag == self.flows[name].tag, f"{name} has {tag}, and should have {self.flows[name].tag}"
        return actions

    def _take(self, event: Event) -> None:
        match event:
            case Arrived(request_id, _, name):
                self._requests[request_id] = event
                flow = self.flows.setdefault(name, History())
                flow.queued += 1
                if flow.queued == 1:
                    self.wakes += 1
                    virtual = self._virtual_for(event)
                    self.lifts += virtual > flow.tag
                    flow.wake(virtual)
            case Ended(request_id, int(tokens)):
                self._settle(request_id, float(tokens))
            case DeliveryFailed(request_id):
                self._settle(request_id, 0.0)
            case Ended(request_id) | Cancelled(request_id):
                self._requests.pop(request_id)
                self._charges.pop(request_id, None)
            case _:
                pass

    def _settle(self, request_id: int, tokens: float) -> None:
        self.settlements += 1
        request = self._requests.pop(request_id)
        charge = self._charges.pop(request_id, None)
        if charge is not None:
            self.flows[request.fairness_id].settle(charge, tokens / request.weight)

    def _start_anew(self) -> None:
        """The band is empty: nobody is ahead of anybody."""
        for name in self.flows:
            self.flows[name] = History()
        self._virtual = dict.fromkeys(self._virtual, 0.0)
        self._charges.clear()

    def _virtual_for(self, request: Arrived) -> float:
        if isinstance(request.eligibility, Subset):
            return max(self._virtual[each] for each in request.eligibility.entries)
        return max(self._virtual.values())

    def _dispatched(self, action: Dispatch) -> None:
        request = self._requests[action.request_id]
        flow = self.flows[request.fairness_id]
        where = action.endpoint.address
        for name, other in self.flows.items():
            if other.queued and self._alike(name, request):
                assert flow.tag <= other.tag, f"{name} at {other.tag} had to wait for {request.fairness_id}"
        self._virtual[where] = max(self._virtual[where], flow.tag)
        assert request.input_tokens is not None
        self._charges[request.request_id] = flow.dispatch(request.input_tokens / request.weight)
        self._left(request)

    def _left(self, request: Arrived) -> None:
        flow = self.flows[request.fairness_id]
        flow.queued -= 1
        if not flow.queued:
            flow.rested = self._virtual_for(request)

    def _alike(self, name: str, request: Arrived) -> bool:
        """Whether a tenant's requests may all go where this one may."""
        return name.startswith("any") or (name.startswith("on-a") and request.fairness_id.startswith("on-a"))


def crowd(pool_a: str) -> list[Tenant]:
    """Tenants of every kind, taken for something else each in another way."""
    mishaps = Mishaps(usage_missing=0.05, aborted=0.05, undelivered=0.05)
    on_a = (Subset.of([pool_a]),)
    return [
        Tenant(name="any-deep", demand=Backlogged(), size=around(300), guess=scaled(10.0)),
        Tenant(name="any-short", demand=Backlogged(depth=1), size=around(100), guess=scaled(0.1), weight=2.0),
        Tenant(name="any-one", demand=ClosedLoop(1), size=heavy_tailed(300), guess=scattered(10.0)),
        Tenant(
            name="any-two", demand=ClosedLoop(2, pause_s=5.0), size=around(50), guess=scaled(20.0), weight=0.5
        ),
        Tenant(name="any-three", demand=ClosedLoop(3, pause_s=60.0), size=around(50), guess=scaled(20.0)),
        Tenant(
            name="any-burst",
            demand=Bursts(15, every_s=97.0),
            size=around(200),
            guess=scattered(5.0),
            mishaps=mishaps,
        ),
        Tenant(
            name="on-a", demand=Backlogged(depth=2), size=around(200), guess=scattered(3.0), eligibility=on_a
        ),
        Tenant(
            name="on-a-too",
            demand=ClosedLoop(2, pause_s=9.0),
            size=around(200),
            guess=scaled(10.0),
            weight=4.0,
            eligibility=on_a,
            mishaps=mishaps,
        ),
    ]


@pytest.mark.parametrize("slots", [1, 5, 24])
def test_every_tag_is_what_it_would_be_had_the_truth_been_known(slots: int) -> None:
    """20,000 steps of tenants that come and go, wrong both ways, mishaps and a subset: exactly, after each."""
    pool = servers(slots, 100.0, 20.0)
    judged = Settled(controller(TokenFairness()), [server.spec.address for server in pool])
    world = World(judged, crowd(pool[0].spec.address), pool, seed=slots).run(steps=STEPS)
    assert world.steps >= STEPS
    assert judged.settlements > 5_000
    assert judged.wakes > 1_000
    assert judged.lifts > 100
