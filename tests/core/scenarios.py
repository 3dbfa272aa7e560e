"""Runs that end in an assertion or in nothing: the simulations, told once, for green code and for mutants."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from epp.core import Controller
from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from epp.core.controller import STEP
from epp.core.events import EndpointsChanged
from tests.core import naive
from tests.core.building import dispatched, endpoint, policy, request
from tests.core.engines import Engine, World
from tests.core.leftovers import assert_empty
from tests.core.oracle import Oracle
from tests.core.storm import Storm, Weather

if TYPE_CHECKING:
    from epp.core.policy import FlowControlPolicy
    from tests.core.naive import Site
    from tests.core.scene import Room

TRANSIT_S = 0.003


def storm(
    rules: FlowControlPolicy,
    *,
    seed: int,
    calls: int,
    weather: Weather | None = None,
    audit_every: int = 50,
) -> Oracle:
    """A seeded storm of so many calls under the eyes of the oracle; at its end nothing may be left."""
    oracle = Oracle(Controller(rules, now=0.0), rules, audit_every=audit_every)
    rough = Storm(oracle.handle, seed=seed, weather=weather)
    while oracle.steps < calls:
        rough.step()
    rough.finish()
    oracle.audit()
    assert_empty(oracle)
    return oracle


CEILINGS = (1.0, 0.5, 0.0)
"""All that runs with a broken detector use."""


def guarded_room(rules: FlowControlPolicy, site: Site, ceiling: float) -> bool:
    """The broken detector's answer, own accounting where it is garbage, and never more room for a lower ceiling."""
    for each in CEILINGS:
        try:
            answer: object = rules.capacity.has_room(site.view(), each)
        except Exception:
            answer = None
        if not (answer if isinstance(answer, bool) else naive.own_accounting(site, each)):
            return False
        if each == ceiling:
            return True
    raise AssertionError(f"unexpected ceiling {ceiling}")


def survive(
    rules: FlowControlPolicy, *, seed: int, steps: int, room: Room = naive.has_room
) -> dict[tuple[str, str], int]:
    """A judged storm with broken policies; returns the faults that were counted."""
    core = Controller(rules, now=0.0)
    oracle = Oracle(core, rules, audit_every=20, room=room)
    rough = Storm(oracle.handle, seed=seed, weather=Weather(weights={"empty": 0.0}))
    rough.run(steps)
    rough.finish()
    assert_empty(oracle)
    assert oracle.dispatches > steps / 20, "the queue as good as stopped"
    return dict(core.statistics(rough.now).policy_faults)


def saturated_concurrency(*, seed: int = 1, seconds: float = 20.0, interval_s: float = 0.2) -> World:
    """More work than 4 engines can do, the concurrency limit being the batch: slots stay busy, none is overrun."""
    slots = 8
    world = _world(
        policy(capacity=ConcurrencyDetector(max_concurrency=slots)),
        slots=slots,
        seed=seed,
        interval_s=interval_s,
    )
    _overload(world, seconds)
    world.run(seconds)
    assert len(world.completed) > 4 * slots * seconds / 0.2 * 0.9, "the engines did too little"
    # Every slot is refilled one way there and one way back after it fell free, and filled once at the start.
    unavoidable_s = (len(world.completed) + 4 * slots) * 2 * TRANSIT_S
    assert world.idle_eligible_slot_s <= 1.05 * unavoidable_s, (world.idle_eligible_slot_s, unavoidable_s)
    for engine in world.engines.values():
        assert engine.most_present <= slots, f"{engine.most_present} on an engine that was given {slots}"
    return world


def saturated_utilization(*, seed: int = 1, seconds: float = 20.0) -> World:
    """The same by the engines' own queues: they never run dry, and never hold more than the threshold."""
    slots, threshold = 8, 3
    rules = policy(capacity=UtilizationDetector(queue_depth_threshold=threshold))
    world = _world(rules, slots=slots, seed=seed, interval_s=0.2)
    _overload(world, seconds)
    world.run(seconds)
    # The first batch is filled by `threshold` per look, and a look takes 20 ms and a round trip.
    looks = 1 + slots / threshold
    start_s = 4 * slots * looks * (0.02 + 4 * TRANSIT_S)
    assert world.idle_eligible_slot_s <= start_s, (world.idle_eligible_slot_s, start_s)
    for engine in world.engines.values():
        assert engine.most_waiting <= threshold, (
            f"{engine.most_waiting} wait in an engine, allowed are {threshold}"
        )
    return world


def burst_onto_idle(*, interval_s: float) -> None:
    """200 requests at once onto 4 idle servers under the default detector: sent as fast as asking early allows."""
    rules = policy(capacity=UtilizationDetector(), staleness_s=3 * interval_s, scrape_interval_s=interval_s)
    world = _world(rules, slots=64, seed=1, interval_s=interval_s)
    world.run(interval_s * 1.5)
    began_s = world.now
    for _ in range(200):
        world.arrive(30.0)
    world.run(began_s + 20.0)
    assert len(world.dispatched) == 200, f"only {len(world.dispatched)} of 200 were sent"
    for engine in world.engines.values():
        assert engine.most_waiting <= 5
    # 50 for each, 5 per look; a look takes 20 ms and a round trip.
    took_s = max(world.dispatched.values()) - began_s
    assert took_s <= 10 * (0.02 + 3 * TRANSIT_S), f"the last of 200 was sent after {took_s} s"


def scraping_dies(*, seed: int = 1, alive_s: float = 4.0) -> None:
    """Scraping stops for good, and the engines go on completing as much as before."""
    rules = policy(capacity=UtilizationDetector(), staleness_s=1.0)
    world = _world(rules, slots=8, seed=seed, interval_s=0.2)
    _overload(world, 2.0 * alive_s + 2.0)
    world.run(alive_s)
    before = len(world.completed)
    for engine in world.engines.values():
        engine.answers_scrapes = False
    world.run(alive_s + 2.0)
    stale = len(world.completed)
    world.run(2.0 * alive_s + 2.0)
    after = len(world.completed) - stale
    assert all(engine.most_waiting <= 5 for engine in world.engines.values())
    assert after > 0.95 * before, f"{before} in {alive_s} s with scraping, {after} without"


def between_two_steps() -> None:
    """A pass that needs two steps; whoever of lower priority comes between them waits for the second."""
    rules = policy()
    oracle = Oracle(Controller(rules, now=0.0), rules)
    for number in range(STEP + 20):
        oracle.handle(request(number, 5), 0.0)
    oracle.handle(EndpointsChanged(tuple(endpoint(number) for number in range(1, 201))), 1.0)
    assert oracle.wake_at_s == 1.0
    actions = oracle.handle(request(1000, 0), 1.0)
    assert dispatched(actions) == [*range(STEP, STEP + 20), 1000]


def one_blind_engine() -> World:
    """Four engines under load; the first one's metrics page never answers."""
    rules = policy(capacity=UtilizationDetector())
    world = _world(rules, slots=5, seed=3, interval_s=0.2)
    next(iter(world.engines.values())).answers_scrapes = False
    _overload(world, 5.0)
    world.run(5.0)
    return world


def _world(rules: FlowControlPolicy, *, slots: int, seed: int, interval_s: float) -> World:
    oracle = Oracle(Controller(rules, now=0.0), rules, audit_every=100, tolerance_s=1e-6)
    engines = [Engine(endpoint(number), slots) for number in range(1, 5)]
    return World(oracle, engines, seed=seed, transit_s=TRANSIT_S, scrape_interval_s=interval_s)


def _overload(world: World, seconds: float) -> None:
    """Three classes, together half as much again as four engines of eight slots can do at 0.2 s each."""
    random = world.random
    at_s = 0.0
    while at_s < seconds:
        at_s += random.expovariate(4 * 8 / 0.2 * 1.5)
        priority, tenant = random.choice((10, 0, -10)), random.choice("abc")
        service_s = random.uniform(0.1, 0.3)
        world.at(
            at_s,
            partial(world.arrive, service_s, priority, tenant, ttl_s=0.125),
        )
