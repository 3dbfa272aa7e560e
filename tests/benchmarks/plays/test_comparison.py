"""Ratios between targets: within a round, with times that never came, over medians that mean something."""

from __future__ import annotations

import math

import pytest

from benchmarks.load.histograms import ClassHistograms
from benchmarks.load.outcome import Result
from benchmarks.plays.comparison import Better, Comparison, compare, middle, reference
from benchmarks.plays.measures import Measure
from benchmarks.plays.play import Play
from tests.benchmarks.plays.played import NOTHING, answered, failed, play, used

PICKER, ENVOY = "picker", "envoy:least-request"
HISTOGRAMS = {"chat": ClassHistograms()}


def one(target: str, number: int, *ttfts: float | None) -> Play:
    """A round whose requests got their tokens after so long; None: one that was refused."""
    outcomes = [failed(Result.REFUSED) if each is None else answered(each) for each in ttfts]
    return play(*outcomes, target=target, round_number=number, histograms=HISTOGRAMS)


def found(plays: list[Play], measure: Measure, traffic: str | None = "chat") -> Comparison:
    """The only comparison of that measure."""
    (comparison,) = (each for each in compare(plays) if each.measure is measure and each.traffic == traffic)
    return comparison


def test_ratios_are_made_within_a_round() -> None:
    """A machine that is three times slower in one round changes nothing; medians of all rounds would be far off."""
    plays = [
        one(PICKER, 1, 0.1), one(ENVOY, 1, 0.2),
        one(ENVOY, 2, 0.6), one(PICKER, 2, 0.3),
        one(PICKER, 3, 0.1), one(ENVOY, 3, 0.4),
    ]  # fmt: skip
    comparison = found(plays, Measure.TTFT_P95_S)
    assert (comparison.ours, comparison.other) == (PICKER, ENVOY)
    assert comparison.ratios == pytest.approx((0.5, 0.5, 0.25))
    assert comparison.median == pytest.approx(0.5)
    assert comparison.spread == pytest.approx((0.25, 0.5))
    assert comparison.better is Better.LOWER
    assert found(plays, Measure.COMPLETED_SHARE).better is Better.HIGHER


def test_a_time_that_never_came_is_worse_than_any_number() -> None:
    """Infinitely, for whom it didn't come at; where it came at neither there is nothing to compare."""
    plays = [
        one(PICKER, 1, 0.1), one(ENVOY, 1, None),
        one(PICKER, 2, None), one(ENVOY, 2, 0.2),
        one(PICKER, 3, None), one(ENVOY, 3, None),
    ]  # fmt: skip
    comparison = found(plays, Measure.TTFT_P50_S)
    assert comparison.ratios == (0.0, math.inf, None)
    assert comparison.median == math.inf


def test_a_round_that_only_one_target_finished_compares_nothing() -> None:
    """It counts neither as better nor as worse."""
    plays = [one(PICKER, 1, 0.1), one(ENVOY, 1, 0.2), one(ENVOY, 2, 9.0)]
    assert found(plays, Measure.TTFT_P50_S).ratios == pytest.approx((0.5,))


def test_what_a_target_has_not_is_left_out() -> None:
    """Envoy alone has no picker whose CPU could be compared; what both have is."""
    evidence = [
        NOTHING.__class__(usage={"picker": used(1.0), "envoy": used(2.0)}, engines=()),
        NOTHING.__class__(usage={"envoy": used(1.0)}, engines=()),
    ]
    plays = [
        play(answered(), target=target, histograms=HISTOGRAMS, evidence=each)
        for target, each in zip((PICKER, ENVOY), evidence, strict=True)
    ]
    measures = {each.measure for each in compare(plays) if each.traffic is None}
    assert Measure.ENVOY_CPU_PER_REQUEST_S in measures
    assert Measure.PICKER_CPU_PER_REQUEST_S not in measures


def test_one_target_is_compared_with_nobody() -> None:
    """There is no ratio to itself."""
    assert compare([one(PICKER, 1, 0.1)]) == ()


def test_ours_is_the_picker_else_the_first() -> None:
    """In whatever order targets were named."""
    assert reference([ENVOY, PICKER]) == PICKER
    assert reference([ENVOY, "picker:lean"]) == "picker:lean"
    assert reference([ENVOY, "direct"]) == ENVOY


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 2.0], 2.0),
        ([1.0, 2.0], 1.5),
        ([None, 4.0, None], 4.0),
        ([0.0, 3.0], 3.0),
        ([3.0, math.inf], math.inf),
        ([None], None),
        ([], None),
    ],
)
def test_the_middle_lies_between_numbers_only(values: list[float | None], expected: float | None) -> None:
    """Between never and a number there is nothing; then it is the worse of both."""
    assert middle(values) == expected
