"""Which rewrite a model gets, and how its requests are spread."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.api import Severity
from epp.api.manifest import PoolRef
from epp.api.rewrites import Rewriting
from tests.api.builders import LEGACY_GROUP, a_pool, a_rewrite, a_rule, reconciler

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def test_a_model_without_a_rule_keeps_its_name():
    """And one with a rule gets its target, under the name of the rewrite."""
    pool = reconciler(a_pool(), a_rewrite("aliases", a_rule("llama", models=["chat", "base"])))
    assert pool.rewriting("chat") == pool.rewriting("base") == Rewriting("aliases", (("llama", 1.0),))
    assert pool.rewriting("other") is None
    assert pool.rewriting("") is None


def test_a_rule_without_matches_is_for_all_models():
    """Unless another one names the model, wherever that one stands."""
    old = a_rewrite("old", a_rule("all"), created=OLD)
    new = a_rewrite("new", a_rule("named", models=["chat"]), created=NEW)
    pool = reconciler(a_pool(), old, new)
    assert pool.rewriting("other").name == "old"
    assert pool.rewriting("chat").name == "new"


def test_the_oldest_rewrite_decides_then_the_name_then_the_place():
    """One without a time, as in a file, comes after those that have one."""
    rule = a_rule("x", models=["chat"])
    inner = (a_rule("first", models=["chat"]), a_rule("second", models=["chat"]))
    ranked = [
        a_rewrite("z", *inner, created=OLD),
        a_rewrite("a", rule, created=NEW),
        a_rewrite("b", rule, created=NEW),
        a_rewrite("c", rule),
        a_rewrite("d", rule),
    ]
    for order in itertools.permutations(ranked):
        pool = reconciler(a_pool(), *order)
        for best in ranked:
            assert pool.rewriting("chat").name == best.name
            if best.name == "z":
                assert pool.rewriting("chat").targets == (("first", 1.0),)
            pool.delete(best.ref)
        assert pool.rewriting("chat") is None


def test_the_newer_group_wins_per_name_whatever_its_age():
    """The loser gets a note, and counts again when the winner is gone."""
    legacy = a_rewrite("aliases", a_rule("legacy"), group=LEGACY_GROUP, created=OLD)
    winner = a_rewrite("aliases", a_rule("ours"), created=NEW)
    pool = reconciler(a_pool(), legacy)
    assert pool.rewriting("m").targets == (("legacy", 1.0),)
    (note,) = pool.upsert(winner).notes
    assert (note.ref, note.problem.severity) == (legacy.ref, Severity.WARNING)
    assert pool.rewriting("m").targets == (("ours", 1.0),)
    pool.delete(winner.ref)
    assert pool.rewriting("m").targets == (("legacy", 1.0),)


def test_a_match_that_never_counts_is_noted_once():
    """By its field, with the rewrite that counts; again only after it counted in between."""
    first = a_rewrite("a", a_rule("x", models=["chat"]), a_rule("x"))
    second = a_rewrite("b", a_rule("y", models=["base", "chat"]), a_rule("y"), a_rule("z", models=["base"]))
    pool = reconciler(a_pool(), first)
    notes = pool.upsert(second).notes
    assert {note.ref for note in notes} == {second.ref}
    assert [note.problem.field for note in notes] == [
        "spec.rules[0].matches[1].model.value",
        "spec.rules[1]",
        "spec.rules[2].matches[0].model.value",
    ]
    assert [note.problem.message.split(":")[1][:10] for note in notes] == [
        " rewrite a",
        " rewrite a",
        " rewrite b",
    ]
    assert {note.problem.severity for note in notes} == {Severity.WARNING}
    assert pool.upsert(a_rewrite("c", a_rule("z", models=["other"]))).notes == ()
    assert pool.delete(first.ref).notes == ()
    assert len(pool.upsert(first).notes) == 2


def test_the_same_model_twice_in_one_rule_is_nothing_to_speak_of():
    """It changes nothing."""
    assert reconciler(a_pool()).upsert(a_rewrite("a", a_rule("x", models=["m", "m"]))).notes == ()


def test_the_notes_of_one_rewrite_are_bounded():
    """A rewrite of four thousand matches that never count makes a handful of them."""
    models = [f"m{number}" for number in range(64)]
    pool = reconciler(a_pool(), a_rewrite("a", a_rule("x", models=models)))
    assert 0 < len(pool.upsert(a_rewrite("b", *[a_rule("x", models=models)] * 64)).notes) <= 20


@pytest.mark.parametrize(
    "changed",
    [
        {"namespace": "other"},
        {"pool": PoolRef(name="other")},
        {"pool": PoolRef(name="pool", kind="Service")},
        {"pool": PoolRef(name="pool", group=LEGACY_GROUP)},
        {"terminating": True},
    ],
)
def test_a_rewrite_that_does_not_name_the_pool_has_no_effect(changed):
    """The same rules as for objectives; and it is no event for the core either way."""
    pool = reconciler(a_pool(), a_rewrite())
    assert pool.upsert(a_rewrite("aliases", **changed)).events == ()
    assert (pool.rewriting("m") is None) is ("namespace" not in changed)
    assert reconciler(a_pool(), a_rewrite("aliases", **changed)).rewriting("m") is None


def test_a_changed_rule_acts_at_once_and_is_no_event():
    """Rewrites are none of the core's business."""
    pool = reconciler(a_pool(), a_rewrite("aliases", a_rule("a")))
    assert pool.upsert(a_rewrite("aliases", a_rule("b"))).events == ()
    assert pool.rewriting("m").targets == (("b", 1.0),)
    pool.delete(a_rewrite().ref)
    assert pool.rewriting("m") is None


def test_weights_become_shares_and_none_means_equal_ones():
    """They add up to 1 whatever the weights are."""
    pool = reconciler(
        a_pool(), a_rewrite("w", a_rule(("a", 3), ("b", 1), models=["m"]), a_rule("c", "d", "e", "f"))
    )
    assert pool.rewriting("m").targets == (("a", 0.75), ("b", 0.25))
    assert pool.rewriting("n").targets == tuple((name, 0.25) for name in "cdef")
    assert [pool.rewriting("m").target(point) for point in (0.0, 0.74, 0.75, 0.999)] == ["a", "a", "b", "b"]


@given(weights=st.lists(st.integers(1, 1_000_000), min_size=1, max_size=16))
def test_evenly_spread_points_meet_every_target_by_its_weight(weights):
    """Within the width of one step, and the end of the range never falls off."""
    pairs = [(f"m{index}", weight) for index, weight in enumerate(weights)]
    rewriting = reconciler(a_pool(), a_rewrite("w", a_rule(*pairs))).rewriting("m")
    steps = 1000
    hits = [rewriting.target(step / steps) for step in range(steps)]
    for name, weight in pairs:
        assert abs(hits.count(name) - steps * weight / sum(weights)) <= 2
    assert rewriting.target(1 - 2**-53) == pairs[-1][0]
