"""The ceilings of bands: upstream's formulas, and the laws that every policy of ours keeps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.core.ceilings import (
    ExplicitCeilings,
    HoldbackDomain,
    PriorityHoldback,
    SoftReflectiveCeiling,
    StaticCeiling,
)
from epp.core.guard import PolicyGuard

RANK, VALUE = HoldbackDomain.RANK, HoldbackDomain.VALUE

priorities = st.sets(st.integers(-1000, 1000), min_size=1, max_size=12).map(
    lambda drawn: tuple(sorted(drawn, reverse=True))
)
shares = st.floats(0, 1)


def test_the_static_ceiling_is_the_same_for_all() -> None:
    """One number per priority; 1.0 unless said otherwise."""
    assert list(StaticCeiling().ceilings((5, 0, -5))) == [1.0, 1.0, 1.0]
    assert list(StaticCeiling(threshold=0.5).ceilings((5, 0))) == [0.5, 0.5]


def test_holdback_by_rank_takes_equal_steps() -> None:
    """From the highest band's ceiling to the lowest one's, whatever the numbers between them."""
    holdback = PriorityHoldback(min_ceiling=0.5)
    assert list(holdback.ceilings((1000, 3, 2))) == [1.0, 0.75, 0.5]
    assert list(holdback.ceilings((7, -7))) == [1.0, 0.5]


def test_holdback_by_value_goes_by_the_number() -> None:
    """A priority close to the highest is hardly held back."""
    holdback = PriorityHoldback(domain=VALUE, min_ceiling=0.5, max_ceiling=0.9)
    assert list(holdback.ceilings((100, 75, 0))) == pytest.approx([0.9, 0.8, 0.5])
    assert list(holdback.ceilings((0, -100))) == pytest.approx([0.9, 0.5])


@pytest.mark.parametrize("domain", HoldbackDomain)
def test_a_band_alone_is_the_highest(domain: HoldbackDomain) -> None:
    """Nobody is there to hold anything back for."""
    holdback = PriorityHoldback(domain=domain, min_ceiling=0.2, max_ceiling=0.9)
    assert list(holdback.ceilings((-3,))) == [0.9]
    assert list(holdback.ceilings(())) == []


def test_explicit_ceilings_are_those_written_down() -> None:
    """A priority that isn't named takes the ceiling of the next higher one that is, and nothing is above 1.0."""
    written = ExplicitCeilings(((0, 0.8), (-10, 0.25), (100, 0.95)))
    assert list(written.ceilings((500, 100, 50, 0, -5, -10, -11))) == [
        1.0, 0.95, 0.95, 0.8, 0.8, 0.25, 0.25
    ]  # fmt: skip
    assert list(ExplicitCeilings(()).ceilings((1, 0))) == [1.0, 1.0]


def test_the_reflective_ceiling_is_where_its_own_inequality_ends() -> None:
    """Band i of N has room just below the fill that its ceiling names, and none at it."""
    for bands in (2, 3, 5):
        ceilings = SoftReflectiveCeiling().ceilings(tuple(range(bands, 0, -1)))
        for rank, ceiling in enumerate(ceilings):
            for fill, fits in ((ceiling - 1e-9, True), (ceiling + 1e-9, False)):
                assert (fill < 1 - rank * fill / (bands - 1)) is fits
    assert list(SoftReflectiveCeiling().ceilings((9,))) == [1.0]
    assert list(SoftReflectiveCeiling().ceilings((9, 1))) == [1.0, 0.5]


@given(
    in_use=priorities,
    bounds=st.tuples(shares, shares).map(sorted),
    domain=st.sampled_from(HoldbackDomain),
    named=st.dictionaries(st.integers(-1000, 1000), shares, max_size=6),
)
def test_ceilings_are_in_range_and_fall_with_priority(
    in_use: tuple[int, ...], bounds: list[float], domain: HoldbackDomain, named: dict[int, float]
) -> None:
    """Whatever the bands: one ceiling each, from 0 to 1, never above a higher band's, so the guard changes nothing."""
    falling = dict(zip(sorted(named), sorted(named.values()), strict=True))
    policies: list[Any] = [
        PriorityHoldback(domain=domain, min_ceiling=bounds[0], max_ceiling=bounds[1]),
        ExplicitCeilings(tuple(falling.items())),
        SoftReflectiveCeiling(),
        StaticCeiling(threshold=bounds[0]),
    ]
    for policy in policies:
        answer = list(policy.ceilings(in_use))
        assert len(answer) == len(in_use)
        assert all(0 <= each <= 1 for each in answer)
        assert answer == sorted(answer, reverse=True)
        guard = PolicyGuard()
        assert guard.ceilings(policy, in_use) == answer
        assert not guard.faults


@given(in_use=priorities, bounds=st.tuples(shares, shares).map(sorted))
def test_holdback_is_upstreams_formula(in_use: tuple[int, ...], bounds: list[float]) -> None:
    """By rank `max - i * (max - min) / (N - 1)`, by value in proportion to the number."""
    low, high = bounds
    by_rank = PriorityHoldback(min_ceiling=low, max_ceiling=high).ceilings(in_use)
    by_value = PriorityHoldback(domain=VALUE, min_ceiling=low, max_ceiling=high).ceilings(in_use)
    for rank, priority in enumerate(in_use):
        if len(in_use) == 1:
            assert by_rank[rank] == by_value[rank] == high
            continue
        share = (priority - in_use[-1]) / (in_use[0] - in_use[-1])
        assert by_rank[rank] == pytest.approx(high - rank * (high - low) / (len(in_use) - 1))
        assert by_value[rank] == pytest.approx(low + share * (high - low))


@given(in_use=priorities, named=st.dictionaries(st.integers(-1000, 1000), shares, max_size=6))
def test_explicit_ceilings_search_upwards(in_use: tuple[int, ...], named: dict[int, float]) -> None:
    """The naive search from each priority upwards finds the same."""
    answer = ExplicitCeilings(tuple(named.items())).ceilings(in_use)
    for priority, ceiling in zip(in_use, answer, strict=True):
        above = [each for each in named if each >= priority]
        assert ceiling == (named[min(above)] if above else 1.0)
