"""What refused clients are told, against the wait that a request coming then would have had."""

from __future__ import annotations

import pytest

from benchmarks.fairness.waiting import REGIMES, accuracy
from epp.core.outlook import LONGEST_RETRY_S

BY_NAME = {regime.name: regime for regime in REGIMES}


def test_in_steady_overload_most_are_told_right_within_a_factor_of_two() -> None:
    """Of the refusals of four equal tenants under lasting overload, nine in ten and more."""
    found = accuracy(BY_NAME["steady overload"], samples=30, seed=1)
    assert found.refusals == 30
    assert found.within >= 0.9
    assert 0.8 <= found.percentile(50) <= 1.4


@pytest.mark.parametrize("size", ["large", "small"])
def test_tenants_of_unlike_sizes_are_told_right_as_well(size: str) -> None:
    """By requests ahead the large one would be told a third of its wait: others send ten while it sends one."""
    found = accuracy(BY_NAME[f"unlike sizes, the {size} one"], samples=15, seed=1)
    assert found.within >= 0.9


def test_a_band_that_does_not_drain_says_sixty_seconds() -> None:
    """While a higher band takes everything, nobody can tell, and nobody would get a turn."""
    found = accuracy(BY_NAME["dry band"], samples=5, seed=1)
    assert found.never
    assert found.told_s == LONGEST_RETRY_S
