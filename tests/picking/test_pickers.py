"""Pickers: one of the scored candidates."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.picking.pickers import MaxScorePicker, RandomPicker, WeightedRandomPicker

PICKERS = [MaxScorePicker(), RandomPicker(), WeightedRandomPicker()]
JUST_BELOW_ONE = 1.0 - 2.0**-53


@pytest.mark.parametrize("picker", PICKERS, ids=lambda picker: picker.name)
@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(-1e9, 1e9), st.integers(0, 1000)), min_size=1, max_size=50),
    draw=st.floats(0.0, JUST_BELOW_ONE),
)
def test_a_pick_is_always_a_candidate(picker, rows, draw):
    """Whatever the scores, loads and chances, the index is one of the list's."""
    scores, loads = [score for score, _ in rows], [load for _, load in rows]
    assert 0 <= picker.pick(scores, loads, lambda: draw) < len(rows)


def test_max_score_takes_the_best_without_chance():
    """One best score needs no generator."""
    assert MaxScorePicker().pick([0.1, 0.9, 0.5], [0, 99, 0], lambda: pytest.fail("drew")) == 1


def test_ties_go_to_the_least_loaded():
    """Of equal scores the endpoint with the smaller load wins, wherever it stands."""
    for draw in (0.0, 0.5, JUST_BELOW_ONE):
        assert MaxScorePicker().pick([1.0, 1.0, 0.2, 1.0], [4, 2, 0, 3], lambda draw=draw: draw) == 1


def test_ties_of_score_and_load_are_even():
    """What nothing decides, chance decides evenly; a fixed order would make a herd."""
    random = Random(7)
    picks = Counter(
        MaxScorePicker().pick([1.0, 0.0, 1.0, 1.0], [2, 0, 2, 2], random.random) for _ in range(3000)
    )
    assert set(picks) == {0, 2, 3}
    assert min(picks.values()) > 850


def test_random_ignores_scores():
    """Every candidate has the same chance."""
    random = Random(7)
    picks = Counter(RandomPicker().pick([9.0, 0.0, -5.0], [0, 0, 0], random.random) for _ in range(3000))
    assert len(picks) == 3
    assert min(picks.values()) > 850


def test_weighted_random_follows_the_scores():
    """Chances are in proportion to the scores, and nothing without a score is picked."""
    random = Random(7)
    picks = Counter(
        WeightedRandomPicker().pick([0.0, 3.0, 1.0, -2.0, 0.0], [0] * 5, random.random) for _ in range(4000)
    )
    assert set(picks) == {1, 2}
    assert 2.5 < picks[1] / picks[2] < 3.5


@pytest.mark.parametrize("draw", [0.0, 0.5, JUST_BELOW_ONE])
def test_weighted_random_never_picks_what_has_no_chance(draw):
    """Neither end of the range of chances, nor rounding, reaches a candidate without a score."""
    assert WeightedRandomPicker().pick([0.0, 0.1, 0.2, 0.0], [0] * 4, lambda: draw) in {1, 2}


def test_weighted_random_without_any_score_is_even():
    """All scores 0 or below: like the random picker."""
    random = Random(7)
    picks = Counter(WeightedRandomPicker().pick([0.0, -1.0], [0, 0], random.random) for _ in range(2000))
    assert min(picks[0], picks[1]) > 850
