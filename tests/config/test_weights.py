"""Tenants' weights: which of several statements counts, and what a lookup may cost."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.config.weights import MAX_PATTERNS, UNWEIGHTED, PatternWeight, Weights


def test_an_exact_id_wins_then_the_first_pattern_then_the_objective():
    """Wherever they stand, ids go before patterns; patterns go in their order; else the caller's weight holds."""
    weights = Weights(
        by_id={"team-a": 4.0},
        by_pattern=(PatternWeight("team-*", 2.0), PatternWeight("*-b", 3.0), PatternWeight("x?[12]", 5.0)),
    )
    found = {
        name: weights.of(name, 7.0) for name in ("team-a", "team-b", "own-b", "xy2", "xy3", "TEAM-b2", "")
    }
    assert found == {
        "team-a": 4.0,
        "team-b": 2.0,
        "own-b": 3.0,
        "xy2": 5.0,
        "xy3": 7.0,
        "TEAM-b2": 7.0,
        "": 7.0,
    }


def test_nothing_said_leaves_the_objectives_weight():
    """Without weights the annotation holds, or 1."""
    assert (UNWEIGHTED.of("anybody", 1.0), UNWEIGHTED.of("anybody", 0.5)) == (1.0, 0.5)


def test_a_pattern_is_matched_as_a_whole():
    """Neither a part of the id nor a line of it is enough."""
    weights = Weights(by_pattern=(PatternWeight("a", 2.0), PatternWeight("b*", 3.0)))
    assert [weights.of(name, 1.0) for name in ("a", "aa", "a\n", "b\nc", "ab")] == [2.0, 1.0, 1.0, 3.0, 1.0]


@given(
    ids=st.dictionaries(st.text("ab*", max_size=3), st.floats(0.001, 1e6), max_size=3),
    patterns=st.lists(st.tuples(st.text("ab*?[]", max_size=4), st.floats(0.001, 1e6)), max_size=4),
    name=st.text("ab*[", max_size=4),
)
def test_lookups_agree_with_a_plain_reading_of_the_rules(ids, patterns, name):
    """What the prepared lookup says is what the standard library's own matching says, one by one."""
    expected = ids.get(name)
    if expected is None:
        expected = next((weight for pattern, weight in patterns if fnmatchcase(name, pattern)), 1.0)
    weights = Weights(by_id=ids, by_pattern=tuple(PatternWeight(*each) for each in patterns))
    assert weights.of(name, 1.0) == expected


def test_a_hostile_id_is_not_expensive():
    """Many stars against a long id that almost matches need no exponential search; without that this never ends."""
    weights = Weights(by_pattern=(PatternWeight("*a" * 100 + "b", 2.0),) * MAX_PATTERNS)
    assert weights.of("a" * 1024, 1.0) == 1.0


@pytest.mark.parametrize("weight", [0.0, -1.0, 0.0009, 1_000_001.0, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused(weight):
    """Costs are divided by weights, so nothing that upsets that division gets in."""
    with pytest.raises(ValueError, match="out of range"):
        Weights(by_id={"a": weight})
    with pytest.raises(ValueError, match="out of range"):
        Weights(by_pattern=(PatternWeight("a*", weight),))


def test_the_number_of_patterns_is_bounded():
    """Every request may have to be compared with all of them."""
    with pytest.raises(ValueError, match="101 patterns are too many"):
        Weights(by_pattern=tuple(PatternWeight(f"{n}*", 1.0) for n in range(MAX_PATTERNS + 1)))


def test_equal_rules_are_equal_weights():
    """A reload can tell whether anything changed."""
    first, second = (Weights(by_id={"a": 2.0}, by_pattern=(PatternWeight("b*", 3.0),)) for _ in range(2))
    assert first == second
    assert first != UNWEIGHTED
