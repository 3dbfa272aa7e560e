"""A shadow beside a live core: what it would have done, what it costs, and that it never harms."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from epp.core import Controller
from epp.core.actions import Dispatch, Evict
from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from epp.core.events import DeliveryFailed, Ended, EndpointsChanged, FirstByte, Tick
from epp.core.eviction import EvictionPolicy
from epp.core.fairness import TokenFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy
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
BY_TOKENS = BandPolicy(TokenFairness(), FcfsOrdering())


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

    def settle(self, now: float) -> None:
        """Nothing happens any more until the shadows have caught up."""
        self.handle(Tick(), now)
        while any(shadow._late for shadow in self.shadows):
            self.handle(Tick(), now)


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
    beside.settle(now + 500.0)
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
    beside.settle(other.now + 4000.0)
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
    assert said.dropped_because.startswith("AttributeError in epp.whatif.shadow, line ")
    assert beside.shadows[0].dropped_because == said.dropped_because
    assert beside.handle(request(2), 2.0)
    assert beside.shadows[0].statistics().events == said.events


def test_a_fault_names_no_tenant() -> None:
    """Why a shadow has ended is logged, and tenants' names aren't."""

    def weight_of(tenant: str, otherwise: float) -> float:
        raise KeyError(tenant, otherwise)

    beside = Beside(policy(), policy(), weight_of=weight_of)
    beside.handle(request(1, tenant="acme"), 1.0)
    reason = beside.shadows[0].dropped_because
    assert reason is not None
    assert reason.startswith("KeyError in ")
    assert "acme" not in reason


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


def _served_in_turn(beside: Beside, *, heavy_weight: float) -> dict[str, int]:
    """Two tenants, of whom 20 requests are served: what the shadow would have sent more or less of each."""
    beside.handle(EndpointsChanged((A,)), 0.0)
    for number in range(80):
        tenant, weight = ("heavy", heavy_weight) if number % 2 else ("light", 1.0)
        beside.handle(request(number, tenant=tenant, charge_tokens=10, weight=weight), 0.0)
    for second in range(1, 21):
        beside.handle(Ended(next(iter(beside.live._running.requests))), float(second))
    return {flow.fairness_id: flow.tokens for flow in beside.shadows[0].statistics().flows}


def test_a_shadow_goes_by_the_weights_of_its_own_configuration() -> None:
    """A tenant that it gives more than the live one does would have been served more."""

    def weight_of(tenant: str, otherwise: float) -> float:
        return 3.0 if tenant == "heavy" else otherwise

    fair = policy(default_band=BY_TOKENS)
    flows = _served_in_turn(Beside(fair, fair, weight_of=weight_of), heavy_weight=1.0)
    assert flows["heavy"] >= 40
    assert flows["light"] <= -40


def test_tenants_of_whom_its_configuration_says_nothing_keep_their_weight() -> None:
    """The weight that is in force is what is left to go by."""
    fair = policy(default_band=BY_TOKENS)
    asked: set[tuple[str, float]] = set()

    def weight_of(tenant: str, otherwise: float) -> float:
        asked.add((tenant, otherwise))
        return otherwise

    assert _served_in_turn(Beside(fair, fair, weight_of=weight_of), heavy_weight=3.0) == {}
    assert asked == {("heavy", 3.0), ("light", 1.0)}


def test_first_bytes_come_when_they_would_have_come() -> None:
    """A request that the shadow sends later begins later, and one that it sent before begins no earlier than live."""
    two = ConcurrencyDetector(max_concurrency=2)
    beside = Beside(policy(capacity=two), policy(eviction=EvictionPolicy()), policy())
    wants, other = beside.shadows
    assert (wants.wants_first_bytes, other.wants_first_bytes) == (True, False)
    beside.handle(EndpointsChanged((A,)), 0.0)
    beside.handle(request(1), 0.0)
    beside.handle(request(2), 0.0)
    beside.handle(FirstByte(1), 0.25)
    beside.handle(FirstByte(2), 0.5)
    running = wants._world._controller._running.requests
    assert running[1].begun
    beside.handle(Ended(1), 1.0)
    assert not running[2].begun
    beside.handle(Tick(), 1.25)
    assert not running[2].begun
    beside.handle(Tick(), 1.5)
    assert running[2].begun
    wants._drop("enough")
    assert not wants.wants_first_bytes


@pytest.mark.parametrize("is_spared", [False, True])
def test_an_evicted_run_was_cut_off_and_teaches_nothing(is_spared: bool) -> None:
    """It runs on where nobody evicts it, as long as its tokens make likely; one that was spared is like any other."""
    evicting = policy(eviction=EvictionPolicy(below_priority=1, grace_s=0.0))
    beside = Beside(evicting, policy())
    shadow = beside.shadows[0]
    beside.handle(EndpointsChanged((A,)), 0.0)
    beside.handle(request(1, charge_tokens=100), 0.0)
    beside.handle(Ended(1, 100, 0), 10.0)
    beside.handle(request(2, charge_tokens=100), 20.0)
    (evict, *_) = beside.handle(request(3, priority=5), 20.0)
    assert evict == Evict(2)
    if is_spared:
        beside.handle(FirstByte(2), 20.125)
    beside.handle(Ended(2, 100, 0), 20.25)
    assert (2 in shadow._world.running) is not is_spared
    likely_s = shadow._rates.run_s(A.key, 100)
    assert likely_s < 8.0 if is_spared else likely_s == 10.0
    beside.handle(Ended(3, 100, 0), 29.5)
    assert (2 in shadow._world.running) is not is_spared
    beside.settle(100.0)
    assert shadow._open == {}
    assert shadow.statistics().bands[-1].dispatched_by_both == 2


def test_one_event_takes_a_bounded_number_of_decisions() -> None:
    """Thousands that would have expired long ago don't hold the live core up, and are worked off later."""
    beside = Beside(policy(ttl_s=0.0), policy(ttl_s=1.0))
    shadow = beside.shadows[0]
    for number in range(1000):
        beside.handle(request(number), number / 1000)
    at_once: list[float] = []
    shown: list[int] = []
    while not shown or shadow._late:
        before = shadow._world.work
        beside.handle(Tick(), 100.0)
        at_once.append(shadow._world.work - before)
        shown.append(shadow.statistics().queued_requests)
    assert max(at_once) <= 128
    assert len(at_once) > 5
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] == 0


def test_looking_again_is_bounded_as_well() -> None:
    """Requests of which nothing is known yet are looked at now and then, however long nothing else happened."""
    roomy = policy(capacity=ConcurrencyDetector(max_concurrency=50))
    beside = Beside(roomy, roomy)
    shadow = beside.shadows[0]
    beside.handle(EndpointsChanged((A, B)), 0.0)
    for number in range(100):
        beside.handle(request(number), 0.0)
    before = shadow._world.work
    beside.handle(Tick(), 36_000.0)
    assert shadow._world.work - before <= 65
    assert len(shadow._late) == 1


@pytest.mark.parametrize("number", [1, 4, 7])
def test_falling_behind_changes_nothing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A shadow that was late with everything counts in the end what one counts that was always on time."""
    said = []
    for most in (1, 10**9):
        monkeypatch.setattr("epp.whatif.shadow._DECISIONS_AT_ONCE", most)
        beside = Beside(HONEST[number], HONEST[-1 - number], policy(ttl_s=2.0))
        storm = Storm(beside.handle, seed=3, weather=Weather(policies=HONEST, subset_share=0.3))
        late = 0
        for _ in range(300):
            storm.step()
            late = max(late, *(len(shadow._late) for shadow in beside.shadows))
        storm.finish()
        assert (late > 3) is (most == 1)
        beside.settle(storm.now + 4000.0)
        said.append([shadow.statistics()._replace(events=0) for shadow in beside.shadows])
    assert said[0] == said[1]


def test_a_shadow_that_falls_too_far_behind_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has yet to hear is bounded."""
    monkeypatch.setattr("epp.whatif.shadow._DECISIONS_AT_ONCE", 0)
    beside = Beside(policy(), policy(), most_open=50)
    for number in range(52):
        beside.handle(Tick(), float(number))
    assert beside.shadows[0].dropped_because == "it is more than 50 events behind"
    assert not beside.shadows[0]._late


def test_a_failed_delivery_is_nothing_sent() -> None:
    """What was counted as sent of it is taken back, on both sides."""
    two = ConcurrencyDetector(max_concurrency=2)
    beside = Beside(policy(capacity=two), policy())
    shadow = beside.shadows[0]
    beside.handle(EndpointsChanged((A,)), 0.0)
    beside.handle(request(1, charge_tokens=10), 0.0)
    beside.handle(request(2, charge_tokens=10), 0.0)
    assert [flow.tokens for flow in shadow.statistics().flows] == [-10]
    beside.handle(DeliveryFailed(2), 0.0)
    assert shadow.statistics().flows == ()
    beside.handle(DeliveryFailed(1), 0.0)
    assert shadow.statistics().flows == ()
    assert shadow.statistics().running_requests == 0


def test_what_the_shadow_would_be_done_with_stays_sent() -> None:
    """A request that the live one can't deliver any more would have been served, had it been sent in time."""
    beside = Beside(policy(), policy(capacity=ConcurrencyDetector(max_concurrency=2)))
    shadow = beside.shadows[0]
    beside.handle(EndpointsChanged((A,)), 0.0)
    beside.handle(request(1, charge_tokens=10), 0.0)
    beside.handle(Ended(1, 10, 0), 1.0)
    beside.handle(request(2, charge_tokens=10), 1.0)
    beside.handle(request(3, charge_tokens=10), 1.0)
    beside.handle(Ended(2, 10, 0), 9.0)
    assert 3 not in shadow._world.running
    beside.handle(DeliveryFailed(3), 9.0)
    assert [flow.tokens for flow in shadow.statistics().flows] == [10]
