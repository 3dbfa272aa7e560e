"""Arrival times: their rates, by statistics with fixed seeds, and what is refused."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from benchmarks.scenarios.arrivals import ArrivalsError, draw
from benchmarks.scenarios.scenario import Burst, Poisson, Ramp

LONG_S = 1000.0


def drawn(
    arrivals: Poisson | Ramp | Burst, *, seed: int = 1, duration_s: float = LONG_S
) -> tuple[float, ...]:
    """From dice of that seed."""
    return draw(arrivals, random.Random(seed), duration_s=duration_s)


def within(times: tuple[float, ...], begin_s: float, end_s: float) -> int:
    """How many arrive then."""
    return sum(begin_s <= due_s < end_s for due_s in times)


@pytest.mark.parametrize("seed", range(5))
def test_poisson_arrivals_come_at_their_rate(seed: int) -> None:
    """As many as expected, within 5 standard deviations, in order, and inside their time."""
    times = drawn(Poisson(per_s=20.0, from_s=100.0, until_s=600.0), seed=seed)
    assert len(times) == pytest.approx(10_000, abs=5 * 100)
    assert list(times) == sorted(times)
    assert times[0] > 100.0
    assert times[-1] < 600.0


def test_poisson_gaps_are_exponential() -> None:
    """Mean, spread and the share of long gaps are those of the exponential distribution."""
    times = drawn(Poisson(per_s=50.0))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(1 / 50, rel=0.03)
    assert spread == pytest.approx(mean, rel=0.03)
    assert sum(gap > 2 / 50 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-2), rel=0.05)


@pytest.mark.parametrize(
    ("begin", "end"), [(0.0, 40.0), (40.0, 0.0), (10.0, 30.0), (30.0, 10.0), (20.0, 20.0)]
)
@pytest.mark.parametrize("seed", range(3))
def test_a_ramp_has_its_rate_everywhere(begin: float, end: float, seed: int) -> None:
    """In each fifth of its time there are as many as the integral of the rate, within 5 standard deviations."""
    times = drawn(Ramp(from_per_s=begin, to_per_s=end, from_s=200.0, until_s=700.0), seed=seed)
    assert within(times, 200.0, 700.0) == len(times)
    for fifth in range(5):
        middle = begin + (end - begin) * (fifth + 0.5) / 5
        count = within(times, 200.0 + 100.0 * fifth, 300.0 + 100.0 * fifth)
        assert count == pytest.approx(100.0 * middle, abs=5 * math.sqrt(100.0 * middle))


def test_a_ramp_is_exact_in_expectation() -> None:
    """Over many seeds, the mean number in its first fifth is the integral there: 4 % of all, not 20 %."""
    counts = [
        within(drawn(Ramp(from_per_s=0.0, to_per_s=20.0), seed=seed, duration_s=10.0), 0.0, 2.0)
        for seed in range(2000)
    ]
    assert sum(counts) / len(counts) == pytest.approx(4.0, abs=5 * math.sqrt(4.0 / 2000))


def test_a_ramp_that_does_not_rise_is_poisson() -> None:
    """The same dice give the same arrivals."""
    assert drawn(Ramp(from_per_s=7.0, to_per_s=7.0)) == drawn(Poisson(per_s=7.0))


def test_another_rate_stretches_the_same_arrivals() -> None:
    """Twice the rate, half the times."""
    slow, fast = drawn(Poisson(per_s=5.0)), drawn(Poisson(per_s=10.0))
    assert [due_s / 2 for due_s in slow] == pytest.approx(fast[: len(slow)])


@pytest.mark.parametrize(
    "arrivals",
    [
        Poisson(per_s=9.0),
        Poisson(per_s=9.0, from_s=20.0, until_s=800.0),
        Ramp(from_per_s=1.0, to_per_s=30.0, until_s=900.0),
        Burst(count=30, within_s=3.0, every_s=45.0),
    ],
)
def test_a_shorter_run_is_the_beginning_of_a_longer_one(arrivals: Poisson | Ramp | Burst) -> None:
    """The scenario's end cuts arrivals off and moves none."""
    assert drawn(arrivals, duration_s=90.0) == tuple(due_s for due_s in drawn(arrivals) if due_s < 90.0)


def test_a_burst_is_spread_evenly() -> None:
    """So many, from its moment on, and all at once if it takes no time."""
    assert drawn(Burst(count=4, at_s=10.0, within_s=2.0)) == (10.0, 10.5, 11.0, 11.5)
    assert drawn(Burst(count=3, at_s=10.0)) == (10.0, 10.0, 10.0)


def test_a_burst_comes_again_until_the_end() -> None:
    """At multiples of its period, the first included; what is due at the end or later is left out."""
    assert drawn(Burst(count=2, at_s=1.0, within_s=1.0, every_s=4.0), duration_s=9.5) == (
        1.0,
        1.5,
        5.0,
        5.5,
        9.0,
    )
    assert drawn(Burst(count=1, every_s=5.0), duration_s=10.0) == (0.0, 5.0)


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        (Poisson(per_s=0.0), "per_s is 0: give more"),
        (Poisson(per_s=-1.0), "per_s is -1: give requests per second"),
        (Poisson(per_s=math.nan), "per_s is nan: give"),
        (Poisson(per_s=math.inf), "per_s is inf: give"),
        (Poisson(per_s=1e9), r"it makes 1e\+12 requests: the most is 2,000,000"),
        (Poisson(per_s=1.0, from_s=-1.0), "from_s is -1: give seconds"),
        (Poisson(per_s=1.0, from_s=1000.0), "from_s is 1000: give less than 1000"),
        (Poisson(per_s=1.0, from_s=5.0, until_s=5.0), "from_s is 5: give less than 5"),
        (Poisson(per_s=1.0, until_s=math.nan), "until_s is nan: give seconds"),
        (Ramp(from_per_s=0.0, to_per_s=0.0), "to_per_s is 0, and so is from_per_s"),
        (Ramp(from_per_s=-1.0, to_per_s=2.0), "from_per_s is -1: give"),
        (Ramp(from_per_s=1.0, to_per_s=-2.0), "to_per_s is -2: give"),
        (Burst(count=0), "count is 0: give at least 1"),
        (Burst(count=1, at_s=1000.0), "at_s is 1000: give less than duration_s, which is 1000"),
        (Burst(count=1, at_s=math.inf), "at_s is inf: give seconds"),
        (Burst(count=1, within_s=-1.0), "within_s is -1: give seconds"),
        (Burst(count=1, every_s=0.0), "every_s is 0: give more than 0"),
        (
            Burst(count=1, every_s=1.0, within_s=2.0),
            "every_s is 1: give more than 0 and at least within_s, which is 2",
        ),
        (Burst(count=1, every_s=1e-9), "it makes"),
        (Burst(count=3_000_000), r"it makes 3e\+06 requests"),
    ],
)
def test_what_nobody_means_is_an_error(arrivals: Poisson | Ramp | Burst, message: str) -> None:
    """The message begins with the field and goes on with its value and the remedy."""
    with pytest.raises(ArrivalsError, match=f"^{message}"):
        drawn(arrivals)
