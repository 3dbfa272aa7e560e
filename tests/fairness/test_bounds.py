"""Promise 5's bounds, over every interval in which two tenants stay backlogged, in runs of 20,000 steps.

One unit is cmax_f/w_f + cmax_g/w_g. With exact estimates no two tenants are charged more than one unit apart, whatever
the concurrency and the speeds; with corrections, and by delivered tokens, D + 1 units with D requests outstanding.
"""

from __future__ import annotations

import pytest

from benchmarks.fairness.lag import Counted
from benchmarks.fairness.pool import servers
from benchmarks.fairness.tenants import (
    Backlogged,
    Bursts,
    ClosedLoop,
    Guess,
    Mishaps,
    Tenant,
    around,
    constant,
    heavy_tailed,
    scaled,
    scattered,
)
from epp.core.eligibility import Subset
from tests.fairness.worlds import STEPS, run, worst

EVEN = 1e-9
"""What adding up fractions of tokens may be off."""

STEADY = [
    Tenant(name="large", demand=Backlogged(), size=around(1000)),
    Tenant(name="small", demand=Backlogged(), size=around(100)),
    Tenant(name="heavy", demand=Backlogged(depth=2), size=heavy_tailed(200), weight=4.0),
    Tenant(name="late", demand=Backlogged(from_s=40.0), size=around(300), weight=0.5),
]
PASSING = [
    Tenant(name="one-by-one", demand=ClosedLoop(1), size=around(400)),
    Tenant(name="two-by-two", demand=ClosedLoop(2, pause_s=0.5), size=around(150), weight=2.0),
    Tenant(name="three-by-three", demand=ClosedLoop(3), size=around(80)),
    Tenant(name="bursts", demand=Bursts(40, every_s=60.0, from_s=10.0), size=around(200)),
]


def guessed(tenants: list[Tenant], *guesses: Guess, mishaps: Mishaps | None = None) -> list[Tenant]:
    """The same tenants, whose requests are taken for something else, each by the next of these guesses."""
    return [
        Tenant(
            name=tenant.name,
            demand=tenant.demand,
            size=tenant.size,
            weight=tenant.weight,
            guess=guesses[number % len(guesses)],
            mishaps=mishaps or tenant.mishaps,
        )
        for number, tenant in enumerate(tenants)
    ]


@pytest.mark.parametrize("slots", [1, 5, 64])
def test_with_exact_estimates_charges_differ_by_one_unit_at_most(slots: int) -> None:
    """At any concurrency: tenants that always have work, beside others that come and go."""
    world = run([*STEADY, *PASSING], servers(slots, 100.0 / slots), seed=slots)
    assert world.steps >= STEPS
    assert worst(world, STEADY, Counted.CHARGED, turns=250).units <= 1 + EVEN


@pytest.mark.parametrize("seed", range(2))
def test_with_endpoints_of_unlike_speed_charges_differ_by_one_unit_at_most(seed: int) -> None:
    """Five endpoints, the fastest forty times as fast as the slowest."""
    world = run([*STEADY, *PASSING], servers(3, 5.0, 10.0, 20.0, 50.0, 200.0), seed=seed)
    assert worst(world, STEADY, Counted.CHARGED, turns=250).units <= 1 + EVEN


def test_tenants_of_one_subset_differ_by_one_unit_at_most() -> None:
    """In a mix of subsets that overlap, over every two tenants whose requests may use the same endpoints."""
    pool = servers(4, 20.0, 60.0, 100.0)
    a, b, c = (server.spec.address for server in pool)
    groups = [
        [
            Tenant(
                name=f"{number}-{name}",
                demand=Backlogged(),
                size=around(size),
                weight=weight,
                eligibility=(Subset.of(addresses),),
            )
            for name, size, weight in (("large", 1000, 1.0), ("small", 50, 1.0), ("favoured", 300, 3.0))
        ]
        for number, addresses in enumerate(((a, b, c), (a, b), (b, c), (a,)))
    ]
    world = run([tenant for group in groups for tenant in group], pool, seed=5)
    for group in groups:
        assert worst(world, group, Counted.CHARGED, turns=150).units <= 1 + EVEN


WRONG: dict[str, tuple[Guess, ...]] = {
    "ten times too high": (scaled(10.0),),
    "ten times too low": (scaled(0.1),),
    "anything": (scattered(10.0),),
    "always 256": (constant(256),),
    "each tenant another way": (scaled(10.0), scaled(0.1), scattered(5.0), constant(1)),
}


@pytest.mark.parametrize(
    ("guesses", "slots"), list(zip(WRONG.values(), (1, 8, 64, 16, 32), strict=True)), ids=WRONG.keys()
)
def test_with_wrong_estimates_corrected_charges_and_tokens_stay_within_the_wider_bound(
    guesses: tuple[Guess, ...], slots: int
) -> None:
    """D + 1 units, however wrong estimates are."""
    steady, passing = guessed(STEADY, *guesses), guessed(PASSING, *guesses)
    world = run([*steady, *passing], servers(slots, 100.0 / slots), seed=slots, steps=STEPS)
    for counted in (Counted.CORRECTED, Counted.DELIVERED):
        assert worst(world, steady, counted, turns=250).units <= world.most_running + 1


def test_mishaps_break_no_bound() -> None:
    """Missing usage, work that is cut off, answers that can't be delivered: charges stay within D + 1 units."""
    mishaps = Mishaps(usage_missing=0.2, aborted=0.1, undelivered=0.1)
    steady = guessed(STEADY, scattered(3.0), mishaps=mishaps)
    world = run([*steady, *PASSING], servers(8, 20.0), seed=9)
    assert worst(world, steady, Counted.CORRECTED, turns=250).units <= world.most_running + 1
