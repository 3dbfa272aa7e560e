"""Verdicts: what the owner of an objective or a rewrite is told, and when it is told anew."""

import pytest

from epp.api import Acceptance, Changes, PoolReconciler, Verdict
from epp.api.manifest import PoolRef
from tests.api.builders import LEGACY_GROUP, a_pod, a_pool, a_rewrite, a_rule, an_objective, reconciler

ELSEWHERE = PoolRef(name="other")


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (an_objective(), "priority 10 in pool team/pool"),
        (an_objective(priority=-3), "priority -3 in pool team/pool"),
        (an_objective(priority=None), "priority 0 by default in pool team/pool"),
        (an_objective(namespace=""), "priority 10 in pool team/pool"),
        (a_rewrite(), "1 rule in pool team/pool"),
        (a_rewrite("two", a_rule("a"), a_rule("b")), "2 rules in pool team/pool"),
    ],
)
def test_what_counts_is_accepted_with_what_it_gives(obj, message):
    """Once, and silently when it comes again."""
    pool = reconciler(a_pool())
    assert pool.upsert(obj).judged == (obj.ref,)
    assert pool.verdict(obj.ref) == Verdict(Acceptance.ACCEPTED, message)
    assert pool.verdict(obj.ref).status == "True"
    assert pool.upsert(obj) == Changes()


@pytest.mark.parametrize("make", [an_objective, a_rewrite])
@pytest.mark.parametrize(
    ("pool_ref", "words"),
    [
        (PoolRef(name="pool", kind="Service"), ("spec.poolRef.kind", '"Service"', "is an InferencePool")),
        (PoolRef(name="pool", group=LEGACY_GROUP), ("spec.poolRef.group", LEGACY_GROUP, "is of group")),
    ],
)
def test_our_pools_name_with_a_wrong_kind_or_group_is_an_invalid_reference(make, pool_ref, words):
    """Also while the pool does not exist: the message names the field, the value and what it ought to be."""
    obj = make(pool=pool_ref)
    for pool in (reconciler(a_pool(), obj), reconciler(obj)):
        verdict = pool.verdict(obj.ref)
        assert (verdict.reason, verdict.status) == (Acceptance.INVALID_POOL_REF, "False")
        assert all(word in verdict.message for word in words)


@pytest.mark.parametrize("make", [an_objective, a_rewrite])
def test_an_object_of_another_pool_is_not_ours_to_judge(make):
    """Neither one that names another pool, nor one in another namespace, nor one that nobody knows, nor a pod."""
    strangers = [make("a", pool=ELSEWHERE), make("b", namespace="other")]
    pool = reconciler(a_pool(), a_pod())
    assert pool.apply(upserts=strangers).judged == ()
    for ref in (*(obj.ref for obj in strangers), make("unknown").ref, a_pod().ref, a_pool().ref):
        assert pool.verdict(ref) is None


@pytest.mark.parametrize("make", [an_objective, a_rewrite])
def test_moving_away_and_going_take_the_verdict_back(make):
    """Both are told, so that the status can be settled one last time."""
    obj = make("x")
    for gone in ({"pool": ELSEWHERE}, {"terminating": True}):
        pool = reconciler(a_pool(), obj)
        assert pool.upsert(make("x", **gone)).judged == (obj.ref,)
        assert pool.verdict(obj.ref) is None
        assert pool.upsert(make("x", **gone)).judged == ()
        assert pool.upsert(obj).judged == (obj.ref,)
    pool = reconciler(a_pool(), obj)
    assert pool.delete(obj.ref).judged == (obj.ref,)
    assert pool.verdict(obj.ref) is None
    assert pool.delete(obj.ref).judged == ()


@pytest.mark.parametrize("make", [an_objective, a_rewrite])
def test_of_two_groups_the_loser_is_superseded_until_the_winner_goes(make):
    """Its message names the winner; the winner's verdict is none of its business."""
    legacy, winner = make("x", group=LEGACY_GROUP), make("x")
    pool = reconciler(a_pool(), legacy)
    assert pool.verdict(legacy.ref).reason is Acceptance.ACCEPTED
    assert set(pool.upsert(winner).judged) == {legacy.ref, winner.ref}
    verdict = pool.verdict(legacy.ref)
    assert (verdict.reason, verdict.status) == (Acceptance.SUPERSEDED, "False")
    assert verdict.message == f"{winner.ref} is used instead; remove one of the two"
    assert pool.verdict(winner.ref).reason is Acceptance.ACCEPTED
    assert set(pool.delete(winner.ref).judged) == {legacy.ref, winner.ref}
    assert pool.verdict(legacy.ref).reason is Acceptance.ACCEPTED


def test_without_the_pool_objectives_count_and_are_told_that_it_is_not_there():
    """Its name is configured, so requests keep their priority; the verdict changes as the pool comes and goes."""
    objects = [an_objective(), a_rewrite(), an_objective("x", group=LEGACY_GROUP), an_objective("x")]
    refs = {obj.ref for obj in objects}
    pool = reconciler(*objects)
    for ref in refs:
        verdict = pool.verdict(ref)
        assert (verdict.reason, verdict.status) == (Acceptance.POOL_NOT_FOUND, "False")
        assert "there is no InferencePool team/pool now" in verdict.message
        assert "takes effect when the pool exists" in verdict.message
    assert pool.objective("premium").priority == 10
    assert pool.rewriting("m") is not None
    came = pool.upsert(a_pool())
    assert (set(came.judged), came.notes, came.events) == (refs, (), ())
    assert pool.verdict(an_objective().ref).reason is Acceptance.ACCEPTED
    assert pool.verdict(objects[2].ref).reason is Acceptance.SUPERSEDED
    assert set(pool.upsert(a_pool(terminating=True)).judged) == refs
    assert pool.verdict(an_objective().ref).reason is Acceptance.POOL_NOT_FOUND


def test_without_a_name_and_a_pool_there_is_nothing_to_judge():
    """Verdicts come with the first pool, and go when a second one leaves none to choose."""
    pool = PoolReconciler(pool_name=None, pool_namespace=None)
    assert pool.upsert(an_objective()).judged == ()
    assert pool.verdict(an_objective().ref) is None
    assert pool.upsert(a_pool()).judged == (an_objective().ref,)
    assert pool.verdict(an_objective().ref).reason is Acceptance.ACCEPTED
    assert pool.delete(a_pool().ref).judged == (an_objective().ref,)
    assert pool.verdict(an_objective().ref) is None


def test_a_change_of_the_pool_that_does_not_matter_to_objectives_judges_nobody():
    """Other ports, another selector: who named the pool still does."""
    pool = reconciler(a_pool(), an_objective(), a_rewrite())
    assert pool.upsert(a_pool(target_ports=(1, 2))).judged == ()


def test_a_changed_priority_is_a_new_verdict_and_a_changed_ttl_is_not():
    """The status says the priority, so it must follow it."""
    pool = reconciler(a_pool(), an_objective())
    assert pool.upsert(an_objective(priority=11)).judged == (an_objective().ref,)
    assert pool.upsert(an_objective(priority=11, queue_ttl_s=3.0)).judged == ()
