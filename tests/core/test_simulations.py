"""Long seeded runs: what short property tests don't reach. Each of them is tens of thousands of calls of `handle`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from tests.core import scenarios
from tests.core.building import policy
from tests.core.policies import HONEST
from tests.core.storm import Weather

if TYPE_CHECKING:
    from epp.core.policy import FlowControlPolicy


@pytest.mark.parametrize(
    ("seed", "rules"),
    [
        (11, policy(capacity=ConcurrencyDetector(max_concurrency=3), max_requests=60, max_bytes=40_000)),
        (12, policy(capacity=UtilizationDetector(queue_depth_threshold=3), max_requests=40, staleness_s=0.5)),
    ],
    ids=["concurrency", "utilization"],
)
def test_a_long_storm_breaks_no_promise(seed: int, rules: FlowControlPolicy) -> None:
    """20,000 calls of every kind: each decision is right by brute force, and at the end nothing is left."""
    oracle = scenarios.storm(rules, seed=seed, calls=20_000, audit_every=100)
    assert oracle.dispatches > 2_000


def test_a_long_storm_of_changing_policies_breaks_no_promise() -> None:
    """20,000 calls while caps, ceilings, detectors, orders and budgets change under the queued work."""
    weather = Weather(
        policies=HONEST,
        shares=(0.5, 1.0, 2.0),
        actuals=(1, 20, 300),
        refusals=0.2,
        slos_s=(None, 0.25, 4.0),
        prefill_share=0.15,
        weights={"begin": 15.0, "policy": 1.0, "endpoints": 3.0, "objectives": 1.5},
    )
    oracle = scenarios.storm(HONEST[0], seed=13, calls=20_000, weather=weather, audit_every=100)
    assert oracle.dispatches > 1_500


def test_a_storm_that_ends_in_a_shutdown_gives_everybody_an_answer() -> None:
    """Once draining, whatever is queued or comes is refused, in bounded steps, and nothing is left."""
    weather = Weather(weights={"drain": 0.1, "burst": 1.0})
    for seed in range(4):
        scenarios.storm(policy(), seed=seed, calls=800, weather=weather, audit_every=20)


def test_a_storm_of_cancellations_breaks_no_promise() -> None:
    """Bursts that are cancelled before their deadlines, and a driver that oversleeps, harm nobody who still waits."""
    weights = {"arrive": 10.0, "burst": 3.0, "desert": 3.0, "empty": 2.0, "endpoints": 6.0}
    weather = Weather(weights=weights, ttls_s=(1.0, 8.0), endpoints=1, largest_burst=300, oversleeping=0.2)
    oracle = scenarios.storm(policy(hold_s=0.5), seed=14, calls=8_000, weather=weather)
    assert sum(end == "cancelled" for end in oracle.ends.values()) > 1_000


def test_engines_never_idle_beside_work_under_the_concurrency_detector() -> None:
    """By the engines' own truth a slot is free only for the round trip that refills it, and no engine is overrun."""
    world = scenarios.saturated_concurrency(seconds=40.0)
    assert world.oracle.steps >= 20_000


def test_engines_do_not_need_scrapes_under_the_concurrency_detector() -> None:
    """Scraping every 5 s instead of 5 times a second makes no slot idle: our own accounting decides."""
    scenarios.saturated_concurrency(seconds=10.0, interval_s=5.0)


def test_engines_never_run_dry_nor_queue_deep_under_the_utilization_detector() -> None:
    """By the engines' own truth nobody idles once the first batch is full, and no queue passes the threshold."""
    world = scenarios.saturated_utilization(seconds=40.0)
    assert world.oracle.steps >= 20_000


@pytest.mark.parametrize("interval_s", [0.2, 1.0, 5.0])
def test_a_burst_onto_idle_servers_is_not_held_for_a_scrape_period(interval_s: float) -> None:
    """200 requests reach 4 idle servers as fast as asking early allows, however rarely they are scraped anyway."""
    scenarios.burst_onto_idle(interval_s=interval_s)


def test_dispatch_goes_on_when_scraping_dies() -> None:
    """Without any scrape, our own accounting keeps the engines as busy as before, and does not overrun them."""
    scenarios.scraping_dies()


def test_one_endpoint_that_is_never_scraped_still_gets_its_share() -> None:
    """An engine whose metrics never come is used by our own accounting, neither as full nor as free."""
    world = scenarios.one_blind_engine()
    blind, *others = world.engines.values()
    served = {engine.spec.key: 0 for engine in world.engines.values()}
    for site in world.sent_to.values():
        served[site] += 1
    assert served[blind.spec.key] > 0.5 * max(served[engine.spec.key] for engine in others)
    assert blind.most_present <= 5
