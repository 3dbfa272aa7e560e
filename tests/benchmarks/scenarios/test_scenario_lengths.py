"""Lengths of prompts and answers."""

from __future__ import annotations

import math
import random
from statistics import mean, median

import pytest

from benchmarks.scenarios.lengths import LengthError, sampler
from benchmarks.scenarios.scenario import Length, Lognormal, Uniform


def drawn(length: Length, number: int = 20_000) -> list[int]:
    """So many of them."""
    draw = sampler(length, random.Random(3))
    return [draw() for _ in range(number)]


def test_a_number_is_that_number() -> None:
    """Always."""
    assert set(drawn(17)) == {17}


def test_uniform_lengths_reach_both_ends() -> None:
    """Each of them is as likely as the others."""
    lengths = drawn(Uniform(least=3, most=6))
    assert {each: lengths.count(each) for each in range(3, 7)} == pytest.approx(
        dict.fromkeys(range(3, 7), 5000), rel=0.05
    )
    assert set(lengths) == {3, 4, 5, 6}


def test_lognormal_lengths_have_their_mean() -> None:
    """Their mean is as given, their median below it by as much as their spread says."""
    lengths = drawn(Lognormal(mean=400.0, sigma=0.7))
    assert mean(lengths) == pytest.approx(400.0, rel=0.03)
    assert median(lengths) == pytest.approx(400.0 * math.exp(-(0.7**2) / 2), rel=0.03)


def test_lognormal_lengths_stay_within_their_bounds() -> None:
    """None is 0, and none is above the most, however wide the spread."""
    lengths = drawn(Lognormal(mean=2.0, sigma=5.0, most=50))
    assert (min(lengths), max(lengths)) == (1, 50)
    assert set(drawn(Lognormal(mean=9.0, sigma=0.0))) == {9}


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (0, r" is 0: give 1 to 10000000 tokens"),
        (10_000_001, r" is 10000001: give 1 to"),
        (Uniform(least=0, most=3), r"\.least is 0: give 1 to"),
        (Uniform(least=4, most=3), r"\.least is 4: give at most 3, which is most"),
        (Uniform(least=4, most=10**9), r"\.most is 1000000000: give 1 to"),
        (Lognormal(mean=0.5), r"\.mean is 0.5: give at least 1 and at most 100000"),
        (Lognormal(mean=math.nan), r"\.mean is nan: give"),
        (Lognormal(mean=60.0, most=50), r"\.mean is 60: give at least 1 and at most 50"),
        (Lognormal(mean=60.0, most=0), r"\.most is 0: give 1 to"),
        (Lognormal(mean=60.0, sigma=-1.0), r"\.sigma is -1: give 0 to 5"),
        (Lognormal(mean=60.0, sigma=math.nan), r"\.sigma is nan: give 0 to 5"),
    ],
)
def test_impossible_lengths_are_errors(length: Length, message: str) -> None:
    """The message goes on from the field's name."""
    with pytest.raises(LengthError, match=f"^{message}"):
        sampler(length, random.Random(1))
