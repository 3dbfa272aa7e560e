"""The known traps, re-introduced: each mutant patches the implementation with one wrong rule.

Every mutant comes with the run that has to go red; `test_mutations` also shows that the same run is green on the
real code, so what turns it red is the mutant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from epp.core.capacity import ConcurrencyDetector, UtilizationDetector
from tests.core import scenarios
from tests.core.building import policy
from tests.core.policies import (
    BY_TOKENS,
    ODD_ORDER,
    BrokenCapacity,
    BrokenChoice,
    RankCeiling,
    RisingCeiling,
    SteepCeiling,
)
from tests.core.storm import Weather

if TYPE_CHECKING:
    from epp.core.policy import FlowControlPolicy

Run = Callable[[], object]
MUTANTS: dict[str, Mutant] = {}


class Mutant(NamedTuple):
    """One trap."""

    patch: Callable[[pytest.MonkeyPatch], None]
    run: Run


def storms(rules: FlowControlPolicy, **weather: Any) -> Run:
    """A few seeds of a storm under the oracle."""

    def run() -> None:
        for seed in range(2):
            scenarios.storm(rules, seed=seed, calls=1000, audit_every=10, weather=Weather(**weather))

    return run


def broken_choice() -> None:
    """A storm with a choice that fails half of the time."""
    scenarios.survive(policy(choice=BrokenChoice()), seed=4, steps=300)


def broken_detector() -> None:
    """A storm with a detector that fails at some loads and ceilings."""
    rules = policy(capacity=BrokenCapacity(), ceiling=SteepCeiling())
    scenarios.survive(rules, seed=3, steps=800, room=scenarios.guarded_room)


PLAIN = storms(policy(capacity=ConcurrencyDetector(max_concurrency=2), max_requests=60))
UNRULY = storms(
    policy(capacity=ConcurrencyDetector(max_concurrency=2), default_band=ODD_ORDER), tenants=("a", "b")
)
SCRAPED = storms(
    policy(capacity=UtilizationDetector(queue_depth_threshold=2), max_requests=60, staleness_s=0.5),
    weights={"scrape": 40.0},
)
CAPPED = storms(policy(capacity=ConcurrencyDetector(max_concurrency=2), max_requests=8, max_bytes=9000))
RISING = storms(policy(capacity=ConcurrencyDetector(max_concurrency=4), ceiling=RisingCeiling()))
RANKED = storms(policy(capacity=ConcurrencyDetector(max_concurrency=4), ceiling=RankCeiling(0.25)))
CROWDED = storms(policy(max_flows=2, max_lanes=2), subset_share=0.6)
RESTLESS = storms(policy(ttl_s=1.0, hold_s=0.5), weights={"empty": 3.0, "endpoints": 6.0})
FAIR = storms(
    policy(capacity=ConcurrencyDetector(max_concurrency=2), default_band=BY_TOKENS),
    priorities=(0, 0, 0, 5),
    tenants=("ada", "bob", "cyd", "dee", "eve", "fay"),
    ttls_s=(None, 8.0),
    shares=(0.5, 1.0, 4.0),
    actuals=(1, 5, 50, 500),
    weights={"end": 30.0, "endpoints": 0.5, "fail": 3.0},
)
IN_FLIGHT = storms(
    policy(
        capacity=ConcurrencyDetector(max_concurrency=3),
        default_band=replace(BY_TOKENS, flow_max_in_flight=2),
    ),
    priorities=(0, 0, 5),
    tenants=("ada", "bob", "cyd"),
    ttls_s=(None, 8.0),
    actuals=(1, 5, 50),
    weights={"end": 30.0},
)
FAT = storms(
    policy(
        capacity=ConcurrencyDetector(max_concurrency=2),
        default_band=replace(BY_TOKENS, max_requests=8, max_bytes=9000, flow_max_requests=2),
        max_requests=12,
    ),
    sizes=(0, 10, 1000, 4000),
    weights={"end": 30.0},
)
BURSTS = storms(policy(), weights={"burst": 1.0, "empty": 1.0}, ttls_s=(1.0,))

SCRAPING_DIES = scenarios.scraping_dies
SATURATED = partial(scenarios.saturated_utilization, seconds=3.0)


def trap(run: Run) -> Callable[[Callable[[pytest.MonkeyPatch], None]], Callable[[pytest.MonkeyPatch], None]]:
    """Register a mutant with the run that must notice it."""

    def register(patch: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
        MUTANTS[patch.__name__] = Mutant(patch, run)
        return patch

    return register
