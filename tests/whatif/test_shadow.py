"""A shadow beside a live core: what it would have done, what it costs, and that it never harms."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from epp.core import Controller
from epp.core.actions import Dispatch
from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from epp.core.events import Cancelled, Ended, EndpointsChanged
from epp.whatif import Shadow
from epp.whatif.world import World
from tests.core.building import GLOBAL_STRICT, A, B, policy, request, scraped
from tests.core.policies import HONEST
from tests.core.storm import Storm, Weather

if TYPE_CHECKING:
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy

RUN_S = 1.0


class Beside:
    """A live core with a shadow, as a director has them."""

    def __init__(self, live: FlowControlPolicy, *shadows: FlowControlPolicy, **settings: Any) -> None:
        self.live = Controller(live, now=0.0)
        self.shadows = [Shadow(f"s{n}", each, now=0.0, **settings) for n, each in enumerate(shadows)]

    def handle(self, event: Event, now: float) -> list[Action]:
        """The live one decides, the shadows watch."""
        actions = self.live.handle(event, now)
        for shadow in self.shadows:
            shadow.observe(event, actions, now)
        return actions


class Serving:
    """Requests run for a second; the rest is nobody's business."""

    def __init__(self) -> None:
        self.world: World
        self.waits: dict[int, float] = {}

    def dispatched(self, action: Dispatch, now: float, /) -> None:
        """A second later it is over."""
        self.waits[action.request_id] = action.waited_s
        self.world.schedule(now + RUN_S, Ended(action.request_id, 100, 100))

    def refused(self, action: object, now: float, /) -> None:
        """Nothing."""

    def left(self, request_id: int, now: float, /) -> None:
        """Nothing."""

    def asked(self, key: object, now: float, /) -> None:
        """Nothing."""


def run(live: FlowControlPolicy, shadow: FlowControlPolicy, *, requests: int = 200, seed: int = 1) -> Beside:
    """A steady overload of two endpoints by three tenants."""
    beside = Beside(live, shadow)
    serving = Serving()
    serving.world = World(beside, serving)
    serving.world.tell(EndpointsChanged((A, B)), 0.0)
    random = Random(seed)
    now = 0.0
    for number in range(requests):
        now += random.expovariate(3.0)
        tenant = random.choice(("heavy", "heavy", "heavy", "light"))
        serving.world.tell(request(number, random.choice((0, 5)), tenant, charge_tokens=200), now)
    serving.world.pass_time(now + 500.0)
    beside.handle(Cancelled(-1), now + 500.0)
    return beside


def test_a_shadow_with_the_live_policy_regrets_nothing() -> None:
    """The same policy would have decided the same: no wait differs by more than what is learned at the start."""
    beside = run(policy(), policy())
    said = beside.shadows[0].statistics()
    assert said.dropped_because is None
    assert [band.priority for band in said.bands] == [5, 0]
    both = sum(band.dispatched_by_both for band in said.bands)
    assert both > 100
    for band in said.bands:
        assert abs(band.wait_difference_s) / band.dispatched_by_both < 0.05
        assert band.refused_by_live <= 3
        assert band.refused_by_shadow <= 3
    assert (said.queued_requests, said.running_requests) == (0, 0)


def test_more_room_is_less_waiting() -> None:
    """A policy that lets three run at a time would have waited less, and the numbers say so."""
    beside = run(policy(ttl_s=8.0), policy(ttl_s=8.0, capacity=ConcurrencyDetector(max_concurrency=3)))
    said = beside.shadows[0].statistics()
    assert all(band.wait_difference_s < 0 for band in said.bands)
    assert sum(band.refused_by_live for band in said.bands) > 0


def test_refusals_are_told_apart() -> None:
    """A shadow with a short queue would have refused what was sent."""
    tight = replace(policy().default_band, max_requests=1)
    beside = run(policy(), policy(default_band=tight))
    said = beside.shadows[0].statistics()
    assert sum(band.refused_by_shadow for band in said.bands) > 20


def test_tokens_tell_whom_it_would_have_served() -> None:
    """Without turns between tenants the heavy one gets more, and the light one less."""
    beside = Beside(policy(), policy(default_band=GLOBAL_STRICT))
    beside.handle(EndpointsChanged((A,)), 0.0)
    for number in range(40):
        beside.handle(request(number, tenant="heavy", charge_tokens=10), 0.0)
    for number in range(40, 60):
        beside.handle(request(number, tenant="light", charge_tokens=10), 0.0)
    for second in range(1, 21):
        running = next(iter(beside.live._running.requests))
        beside.handle(Ended(running), float(second))
    flows = {flow.fairness_id: flow.tokens for flow in beside.shadows[0].statistics().flows}
    assert flows["heavy"] > 0 > flows["light"]


@pytest.mark.parametrize("number", range(0, len(HONEST), 3))
def test_storms_neither_break_nor_bloat_a_shadow(number: int) -> None:
    """Whatever happens, it goes on, remembers open requests only, and the live core decides as if it were alone."""
    weather = Weather(policies=HONEST, subset_share=0.3)
    alone = Controller(HONEST[number], now=0.0)
    beside = Beside(HONEST[number], HONEST[-1 - number])
    one, other = (Storm(each.handle, seed=7, weather=weather) for each in (alone, beside))
    for _ in range(400):
        one.step()
        other.step()
        assert repr(one.log) == repr(other.log)
    shadow = beside.shadows[0]
    assert shadow.statistics().dropped_because is None
    other.finish()
    beside.handle(Cancelled(-1), other.now + 4000.0)
    assert len(shadow._open) == 0
    assert shadow.statistics().running_requests == 0


def test_a_fault_ends_the_shadow_and_nothing_else() -> None:
    """It says why, and is quiet from then on."""
    beside = Beside(policy(), policy())
    beside.handle(EndpointsChanged((A,)), 0.0)
    beside.shadows[0]._world = None  # type: ignore[assignment]
    assert beside.handle(request(1), 1.0)
    said = beside.shadows[0].statistics()
    assert said.dropped_because is not None
    assert "AttributeError" in said.dropped_because
    assert beside.handle(request(2), 2.0)
    assert beside.shadows[0].statistics().events == said.events


def test_open_requests_are_bounded() -> None:
    """A shadow with too much on its mind gives up."""
    beside = Beside(policy(), policy(), most_open=50)
    for number in range(100):
        beside.handle(request(number), 0.0)
    assert beside.shadows[0].statistics().dropped_because == "more than 50 requests are open"


def test_tenants_are_bounded() -> None:
    """Of many tenants, those with the smallest differences are forgotten."""
    beside = Beside(policy(), policy(), most_flows=20)
    beside.handle(EndpointsChanged((A,)), 0.0)
    for number in range(500):
        beside.handle(request(number, tenant=f"t{number}"), number / 10)
        beside.handle(Ended(number), number / 10 + 0.05)
    shadow = beside.shadows[0]
    assert len(shadow._differences) <= 20
    assert len(shadow.statistics().flows) <= 10


def test_facts_are_not_kept() -> None:
    """What a request carried is not the shadow's business."""
    seen: list[object] = []

    class Curious:
        def choose(self, candidates: Any, facts: object, /) -> Any:
            seen.append(facts)
            return candidates[0]

    beside = Beside(policy(), policy(choice=Curious()))
    beside.handle(EndpointsChanged((A, B)), 0.0)
    beside.handle(request(1, facts={"prompt": "secret"}), 0.0)
    assert seen == [None]


def test_samples_are_what_engines_would_say_there() -> None:
    """What the live core has on an endpoint, and the shadow hasn't, is no foreign load to the shadow."""
    roomy = UtilizationDetector(queue_depth_threshold=3)
    beside = Beside(policy(capacity=roomy), policy(capacity=ConcurrencyDetector(max_concurrency=1)))
    beside.handle(EndpointsChanged((A,)), 0.0)
    for number in range(3):
        beside.handle(request(number), 0.0)
    beside.handle(scraped(A, 0.5, running=3), 0.5)
    (seen,) = beside.shadows[0]._world._controller.statistics(0.5).endpoints
    assert (seen.view.own_requests, seen.view.sample.running, seen.view.foreign_requests) == (1, 1, 0)
