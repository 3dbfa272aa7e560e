"""In the long run tokens go by weight, within 5 %: whatever the sizes, the speeds and the errors of estimates."""

from __future__ import annotations

import pytest

from benchmarks.fairness.lag import Counted, largest, received
from benchmarks.fairness.pool import controller, servers
from benchmarks.fairness.tenants import (
    Backlogged,
    Bursts,
    ClosedLoop,
    Guess,
    Tenant,
    around,
    constant,
    exact,
    heavy_tailed,
    scaled,
    scattered,
)
from benchmarks.fairness.world import Server, World
from epp.core.fairness import RoundRobinFairness
from tests.fairness.worlds import STEPS, run

BIASED = {"large": scaled(0.1), "small": scaled(10.0), "heavy": scattered(10.0)}


def tenants(**guesses: Guess) -> list[Tenant]:
    """Three of weights 1, 2 and 4, the largest requests with the smallest weight."""
    sizes = {"large": (around(1000), 1.0), "small": (around(100), 2.0), "heavy": (heavy_tailed(200), 4.0)}
    return [
        Tenant(name=name, demand=Backlogged(), size=size, weight=weight, guess=guesses.get(name, exact))
        for name, (size, weight) in sizes.items()
    ]


def per_weight(world: World, *, from_s: float = 0.0) -> dict[str, float]:
    """Tokens delivered to every tenant, by its weight."""
    got = received(world.moments, Counted.DELIVERED, from_s=from_s)
    return {tenant.name: got.get(tenant.name, 0) / tenant.weight for tenant in world.tenants}


def spread(shares: dict[str, float]) -> float:
    """The largest over the smallest."""
    return max(shares.values()) / min(shares.values())


@pytest.mark.parametrize(
    ("guesses", "pool"),
    [
        ({}, servers(1, 100.0)),
        (BIASED, servers(8, 10.0, 40.0)),
        (dict.fromkeys(BIASED, constant(256)), servers(64, 3.0)),
    ],
    ids=["exact", "biased", "constant"],
)
def test_tokens_go_by_weight_in_the_long_run(guesses: dict[str, Guess], pool: list[Server]) -> None:
    """Weights 1:2:4 give tokens 1:2:4 within 5 %, also where estimates are ten times off, each another way."""
    world = run(tenants(**guesses), pool, seed=3, steps=STEPS)
    assert spread(per_weight(world, from_s=world.now / 4)) <= 1.05
    one, *_, last = world.tenants
    assert largest(world.moments, one, last, Counted.CHARGED).turns >= 2_500


def test_request_round_robin_does_not_do_that() -> None:
    """The check can fail: by turns, who sends ten times as much gets ten times as much."""
    pair = [
        Tenant(name=name, demand=Backlogged(), size=around(size)) for name, size in (("a", 1000), ("b", 100))
    ]
    world = World(controller(RoundRobinFairness()), pair, servers(4, 100.0), seed=3).run(steps=STEPS)
    assert spread(per_weight(world)) > 9


def test_a_tenant_that_sends_one_at_a_time_does_not_take_everything() -> None:
    """Its tag outlives its idle moments: huge requests one by one get no more than a backlog of small ones."""
    world = run(
        [
            Tenant(name="one-by-one", demand=ClosedLoop(1), size=around(10_000)),
            Tenant(name="backlog", demand=Backlogged(), size=around(100)),
        ],
        servers(1, 1000.0),
        seed=1,
    )
    shares = per_weight(world)
    assert 0.95 <= shares["one-by-one"] / shares["backlog"] <= 1.05


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(
    ("guess", "slots"), [(exact, 1), (scaled(0.1), 2), (scaled(10.0), 8)], ids=["exact", "low", "high"]
)
def test_a_closed_loop_never_gets_more_than_its_share(depth: int, slots: int, guess: Guess) -> None:
    """One to three requests under way, ten times as large as others': at most half of the tokens beside one backlog."""
    world = run(
        [
            Tenant(name="loop", demand=ClosedLoop(depth), size=around(1000), guess=guess),
            Tenant(name="backlog", demand=Backlogged(), size=around(100), guess=guess),
        ],
        servers(slots, 100.0),
        seed=depth,
        steps=STEPS // 3,
    )
    shares = per_weight(world)
    assert shares["loop"] <= 1.05 * shares["backlog"]


def test_bursts_get_their_share_and_nothing_for_the_time_between() -> None:
    """Who sends a burst every minute gets half of the pool while the burst lasts, not all of it."""
    steady = Tenant(name="steady", demand=Backlogged(), size=around(100))
    bursts = Tenant(name="bursts", demand=Bursts(100, every_s=120.0, from_s=60.0), size=around(100))
    world = run([steady, bursts], servers(4, 50.0), seed=2)
    lag = largest(world.moments, steady, bursts, Counted.CHARGED)
    assert lag.units <= 1
    assert lag.turns >= 5_000
    shares = per_weight(world)
    assert shares["bursts"] < 0.8 * shares["steady"]


def test_who_was_idle_for_long_has_banked_nothing() -> None:
    """After half of the run without a request a tenant gets half of the tokens from then on, not those it missed."""
    early = Tenant(name="early", demand=Backlogged(), size=around(100))
    late = Tenant(name="late", demand=Backlogged(from_s=500.0), size=around(400))
    world = run([early, late], servers(4, 50.0), seed=4)
    assert world.now > 1000
    shares = per_weight(world, from_s=500.0)
    assert spread(shares) <= 1.05
    assert largest(world.moments, early, late, Counted.CHARGED).units <= 1
