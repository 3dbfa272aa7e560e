"""How right `Retry-After` is: what the refused are told, against the wait that a request coming then would have had.

The second is not guessed: at a refusal the whole world is copied, caps are lifted in the copy, one more request of
the same tenant is sent in it, and it runs on until that request gets its turn.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from math import inf
from random import Random
from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from benchmarks.fairness.pool import policy, servers
from benchmarks.fairness.tenants import Bursts, ClosedLoop, Poisson, Tenant, around, scattered
from benchmarks.fairness.world import World
from epp.core import Controller
from epp.core.actions import Reason, Refuse
from epp.core.events import Arrived, PolicyChanged
from epp.core.fairness import TokenFairness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy

_FACTOR = 2.0
_LONGEST_LOOK_S = 120.0
_COUNTED = frozenset({Reason.SATURATED, Reason.TTL_EXPIRED, Reason.QUEUE_PRESSURE, Reason.WOULD_EXPIRE})


class Regime(NamedTuple):
    """Who sends what when."""

    name: str
    tenants: tuple[Tenant, ...]
    about: str
    lasts_s: float = 300.0
    only: str | None = None
    """Whose refusals count; None: everybody's."""


def _poisson(
    name: str, per_second: float, tokens: int = 150, *, until_s: float = inf, priority: int = 0
) -> Tenant:
    return Tenant(
        name=name,
        demand=Poisson(per_second, until_s=until_s),
        size=around(tokens),
        guess=scattered(2.0),
        priority=priority,
        ttl_s=None,
    )


REGIMES = (
    Regime(
        "steady overload",
        tuple(_poisson(f"tenant-{number}", 5.0) for number in range(4)),
        "Four equal tenants send half as much again as the pool can do.",
    ),
    Regime(
        "bursts",
        (
            _poisson("base", 8.0),
            Tenant(
                name="bursts",
                demand=Bursts(300, 60.0, from_s=20.0),
                size=around(150),
                guess=scattered(2.0),
                ttl_s=None,
            ),
        ),
        "A pool with a little to spare, and 300 requests at once every minute.",
    ),
    Regime(
        "recovering",
        (
            *(_poisson(f"stays-{n}", 5.0) for n in range(2)),
            *(_poisson(f"leaves-{n}", 5.0, until_s=40.0 + n) for n in range(4)),
        ),
        "Six tenants, four of whom stop after 40 s.",
        lasts_s=80.0,
    ),
    Regime(
        "unlike sizes, the large one",
        (_poisson("large", 3.0, 1000), _poisson("small", 15.0, 100)),
        "Two tenants, one with requests ten times as large: what its clients are told.",
        only="large",
    ),
    Regime(
        "unlike sizes, the small one",
        (_poisson("large", 3.0, 1000), _poisson("small", 15.0, 100)),
        "The same, and what the other's clients are told.",
        only="small",
    ),
    Regime(
        "many closed loops",
        (
            _poisson("hog", 20.0),
            *(
                Tenant(name=f"loop-{n}", demand=ClosedLoop(2, pause_s=0.5), size=around(150), ttl_s=None)
                for n in range(20)
            ),
        ),
        "Twenty tenants with two requests at a time each, beside one that sends all that it can.",
    ),
    Regime(
        "starved band",
        (_poisson("low", 5.0), _poisson("high", 12.5, priority=10)),
        "A higher band takes almost everything, what is left comes in fits and starts.",
        only="low",
    ),
    Regime(
        "dry band",
        (_poisson("low", 5.0), _poisson("high", 20.0, priority=10)),
        "A higher band takes everything: nobody can tell when the lower one will get its turn, and 60 s is said.",
        only="low",
    ),
)


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How right clients of one regime were told."""

    regime: str
    refusals: int
    """Those that were followed up."""
    told_s: float
    """Median of what they were told."""
    waited_s: float | None
    """Median of what they would have waited; None if most of them would never have got their turn."""
    ratios: list[float]
    """Told over waited, sorted, of those who would have got their turn within 120 s. What is under a second counts as
    one, since nobody is told less."""

    @property
    def within(self) -> float:
        """The share of them that is right within a factor of 2."""
        right = sum(1 / _FACTOR <= ratio <= _FACTOR for ratio in self.ratios)
        return right / len(self.ratios) if self.ratios else 0.0

    def percentile(self, percent: int) -> float:
        """Of the ratios."""
        if len(self.ratios) < 2:
            return self.ratios[0]
        return quantiles(self.ratios, n=100, method="inclusive")[percent - 1]

    @property
    def never(self) -> bool:
        """Whether most of them would not have got their turn at all."""
        return self.waited_s is None


class _Refusals:
    """The core, and whom it has refused since anybody looked."""

    def __init__(self, rules: FlowControlPolicy) -> None:
        self.core = Controller(rules, now=0.0)
        self.refused: list[tuple[str, int]] = []
        """(whose, told to come again after so many seconds)."""
        self._whose: dict[int, str] = {}

    def handle(self, event: Event, now: float) -> list[Action]:
        """See Controller."""
        if isinstance(event, Arrived):
            self._whose[event.request_id] = event.fairness_id
        actions = self.core.handle(event, now)
        for action in actions:
            if isinstance(action, Refuse) and action.reason in _COUNTED and action.retry_after_s is not None:
                self.refused.append((self._whose[action.request_id], action.retry_after_s))
        return actions


def accuracies(*, samples: int, seed: int) -> list[Accuracy]:
    """Of every regime."""
    return [accuracy(regime, samples=samples, seed=seed) for regime in REGIMES]


def accuracy(regime: Regime, *, samples: int, seed: int) -> Accuracy:
    """Follow up so many refusals of a regime, spread over its time."""
    rules = policy(TokenFairness(), max_requests=200, ttl_s=30.0)
    followed = _Refusals(rules)
    world = World(followed, regime.tenants, servers(4, *[100.0] * 5), seed=seed)
    dice = Random(seed)
    pairs: list[tuple[int, float]] = []
    for sample in range(samples):
        world.run(until_s=regime.lasts_s * (sample + dice.random()) / samples)
        followed.refused.clear()
        while world.now < regime.lasts_s and not _candidates(followed, regime):
            world.run(steps=world.steps + 1)
        for name, told_s in _candidates(followed, regime)[:1]:
            pairs.append((told_s, _would_wait_s(world, rules, name)))
    ratios = sorted(told_s / max(1.0, waited_s) for told_s, waited_s in pairs if waited_s < inf)
    middle_s = median(waited_s for _, waited_s in pairs)
    return Accuracy(
        regime=regime.name,
        refusals=len(pairs),
        told_s=median(told_s for told_s, _ in pairs),
        waited_s=middle_s if middle_s < inf else None,
        ratios=[round(ratio, 3) for ratio in ratios],
    )


def _candidates(followed: _Refusals, regime: Regime) -> Sequence[tuple[str, int]]:
    return [each for each in followed.refused if regime.only in {None, each[0]}]


def _would_wait_s(world: World, rules: FlowControlPolicy, name: str) -> float:
    """What one more request of the tenant would wait if it came now and had all the time in the world."""
    # Policies are values: the copy shares them.
    copy = deepcopy(world, {id(rules): rules} | {id(tenant): tenant for tenant in world.tenants})
    generous = replace(rules.default_band, max_requests=10 * rules.default_band.max_requests)
    copy.scheduler.handle(PolicyChanged(replace(rules, default_band=generous)), copy.now)
    came_s = copy.now
    copy.send(name, ttl_s=0.0)
    probe = copy.requests[copy.last_number]
    while probe.dispatched_s is None and copy.now < came_s + _LONGEST_LOOK_S:
        copy.run(steps=copy.steps + 16)
    return inf if probe.dispatched_s is None else probe.dispatched_s - came_s
