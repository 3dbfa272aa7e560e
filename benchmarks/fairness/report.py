"""What the report says: every workload under every policy, as plain numbers that fit into a JSON file."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import msgspec

from benchmarks.fairness.lag import Counted, course, jain, largest
from benchmarks.fairness.pool import controller
from benchmarks.fairness.posthoc import PostHocScheduler
from benchmarks.fairness.tenants import ClosedLoop
from benchmarks.fairness.waiting import Accuracy, accuracies
from benchmarks.fairness.workloads import WORKLOADS
from benchmarks.fairness.world import What, World
from epp.core.fairness import RoundRobinFairness, TokenFairness

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.fairness.workloads import Workload
    from benchmarks.fairness.world import Moment, Scheduler

OURS = "fairness by tokens"
POLICIES: dict[str, Callable[[], Scheduler]] = {
    "request round robin": lambda: controller(RoundRobinFairness()),
    "least attained service": PostHocScheduler,
    OURS: lambda: controller(TokenFairness()),
}
_COURSES = ("sizes 10:1", "bursts")
_COURSE_POINTS = 400
_COURSE_S = 2000.0
"""As much of a course as can be told apart in a figure."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One workload under one policy."""

    workload: str
    policy: str
    jain: float
    """Of the tokens per weight that tenants got while all of them wanted more."""
    lag_units: float
    """The largest gap in delivered tokens per weight between two tenants that both had work queued."""
    bound_units: int
    """D + 1: what promise 5 allows."""
    tokens: dict[str, int]
    """What every tenant got over the same time as `jain`."""
    turns: int
    """The fewest dispatches that any two compared tenants had while both had work queued."""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How far the first tenant of a workload got ahead of the second, over time."""

    workload: str
    policy: str
    at_s: list[float]
    ahead_units: list[float | None]
    """In delivered tokens per weight; None where they cease to compete."""
    bound_units: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    steps: int
    seed: int
    outcomes: list[Outcome]
    courses: list[Course]
    accuracies: list[Accuracy]


def measure(*, steps: int, seed: int, samples: int) -> Report:
    """Run everything. `samples` is how many refusals of each regime are followed up."""
    outcomes, courses = list[Outcome](), list[Course]()
    for workload in WORKLOADS:
        for name, scheduler in POLICIES.items():
            world = World(scheduler(), workload.tenants, workload.servers, seed=seed).run(steps=steps)
            outcomes.append(_outcome(workload, name, world))
            if workload.name in _COURSES:
                courses.append(_course(workload, name, world))
    return Report(
        steps=steps,
        seed=seed,
        outcomes=outcomes,
        courses=courses,
        accuracies=accuracies(samples=samples, seed=seed),
    )


def _outcome(workload: Workload, policy: str, world: World) -> Outcome:
    tokens = _while_all_want(world)
    lags = [
        lag
        for one, other in combinations(workload.tenants, 2)
        if not isinstance(one.demand, ClosedLoop)
        and not isinstance(other.demand, ClosedLoop)
        and (lag := largest(world.moments, one, other, Counted.DELIVERED)).turns
    ]
    return Outcome(
        workload=workload.name,
        policy=policy,
        jain=jain(tokens[tenant.name] / tenant.weight for tenant in workload.tenants),
        lag_units=max(lag.units for lag in lags),
        bound_units=world.most_running + 1,
        tokens=tokens,
        turns=min(lag.turns for lag in lags),
    )


def _while_all_want(world: World) -> dict[str, int]:
    """Delivered tokens while every tenant wants more: work queued, or, in a closed loop, always."""
    loops = {tenant.name for tenant in world.tenants if isinstance(tenant.demand, ClosedLoop)}
    wanting, got = set(loops), dict.fromkeys((tenant.name for tenant in world.tenants), 0)
    for moment in world.moments:
        _want(moment, wanting, loops)
        if moment.what is What.DELIVERED and len(wanting) == len(got):
            got[moment.tenant] += moment.tokens
    return got


def _want(moment: Moment, wanting: set[str], loops: set[str]) -> None:
    if moment.what is What.BACKLOGGED:
        wanting.add(moment.tenant)
    elif moment.what is What.IDLE and moment.tenant not in loops:
        wanting.discard(moment.tenant)


def _course(workload: Workload, policy: str, world: World) -> Course:
    one, other = workload.tenants[:2]
    points = [
        point for point in course(world.moments, one, other, Counted.DELIVERED) if point[0] <= _COURSE_S
    ]
    every = max(1, len(points) // _COURSE_POINTS)
    thinned = [point for number, point in enumerate(points) if not number % every or not point[1]]
    return Course(
        workload=workload.name,
        policy=policy,
        at_s=[round(at_s, 1) for at_s, _ in thinned],
        ahead_units=[None if units is None else round(units, 2) for _, units in thinned],
        bound_units=world.most_running + 1,
    )
