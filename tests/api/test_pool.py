"""The reconciler: which pool is served, and what changes make which events and notes."""

import pytest

from epp.api import (
    AppProtocol,
    Changes,
    ObjectRef,
    PoolReconciler,
    Severity,
)
from epp.core.events import EndpointsChanged, ObjectivesChanged
from tests.api.builders import LEGACY_GROUP, a_pod, a_pool, addresses, an_objective, reconciler


def test_nothing_is_said_when_nothing_changed():
    """The same objects again, unknown deletes and changes that don't matter make no event."""
    pool = reconciler(a_pool(), a_pod(), an_objective())
    assert pool.apply(upserts=[a_pool(), a_pod(), an_objective()]) == Changes()
    assert pool.upsert(a_pool(app_protocol=AppProtocol.H2C)) == Changes()
    assert pool.pool.app_protocol is AppProtocol.H2C
    for kind in ("Pod", "InferencePool", "InferenceObjective"):
        assert pool.delete(ObjectRef("", kind, "team", "never-was")) == Changes()


def test_a_batch_makes_at_most_one_event_of_each_kind():
    """A first load of many objects is one change for the core."""
    pool = PoolReconciler(pool_name="pool", pool_namespace="team")
    changes = pool.apply(
        upserts=[
            *(a_pod(f"p{n}", f"10.0.0.{n}") for n in range(5)),
            *(an_objective(f"o{n}", n) for n in range(5)),
            a_pool(),
        ]
    )
    assert [type(event) for event in changes.events] == [ObjectivesChanged, EndpointsChanged]
    assert len(pool.endpoints) == 5


def test_what_comes_and_goes_within_a_batch_is_no_change():
    """Only the outcome of a batch counts."""
    pool = reconciler(a_pool(), a_pod(), an_objective())
    again = pool.apply(
        deletes=[a_pod().ref, an_objective().ref, a_pool().ref], upserts=[a_pool(), a_pod(), an_objective()]
    )
    assert again == Changes()


def test_a_deletion_timestamp_is_a_deletion():
    """An objective, a pod or a pool that is going is gone."""
    pool = reconciler(a_pool(), a_pod(), an_objective())
    assert pool.upsert(an_objective(terminating=True)).events == (ObjectivesChanged(frozenset()),)
    assert pool.upsert(a_pod(terminating=True)).events == (EndpointsChanged(()),)
    pool.upsert(a_pool(terminating=True))
    assert pool.pool is None


def test_a_pool_that_is_deleted_takes_the_endpoints_and_brings_them_back():
    """Objectives keep their priority meanwhile, because requests that wait for the pool need it."""
    pool = reconciler(a_pool(), a_pod(), an_objective())
    gone = pool.delete(a_pool().ref)
    assert gone.events == (EndpointsChanged(()),)
    assert [note.problem.severity for note in gone.notes] == [Severity.WARNING]
    assert "no InferencePool" in gone.notes[0].problem.message
    assert pool.objective("premium").priority == 10
    back = pool.upsert(a_pool(target_ports=(9000,)))
    assert [type(event) for event in back.events] == [EndpointsChanged]
    assert addresses(pool) == ["10.0.0.1:9000"]
    assert back.notes == ()


def test_before_the_pool_is_there_nothing_is_said_but_it_can_be_asked():
    """Objects come in any order at the start, so the absence is no news yet."""
    pool = PoolReconciler(pool_name="pool", pool_namespace="team")
    assert pool.upsert(a_pod()) == Changes()
    assert "no InferencePool of group inference.networking.k8s.io named pool in namespace team" in str(
        pool.pool_note
    )
    assert pool.upsert(a_pool()).notes == ()
    assert pool.pool_note is None


@pytest.mark.parametrize(
    "stranger",
    [a_pool("other"), a_pool(namespace="other"), a_pool(group=LEGACY_GROUP)],
)
def test_pools_of_another_name_namespace_or_group_are_not_ours(stranger):
    """Only the configured pool is served."""
    assert reconciler(stranger, a_pod()).pool is None


def test_without_a_name_the_only_pool_is_served():
    """Its namespace is its own, and the default one if it names none."""
    pool = reconciler(a_pool("any", "somewhere"), pool_name=None, pool_namespace=None)
    assert str(pool.pool) == "somewhere/any"
    pool = reconciler(a_pool("any", ""), a_pod(namespace="default"), pool_name=None, pool_namespace=None)
    assert str(pool.pool) == "default/any"
    assert addresses(pool) == ["10.0.0.1:8000"]


def test_a_pool_without_namespace_is_in_the_configured_one():
    """Files need not repeat what the flag says."""
    pool = reconciler(a_pool(namespace=""), a_pod(), an_objective())
    assert str(pool.pool) == "team/pool"
    assert addresses(pool) == ["10.0.0.1:8000"]
    assert pool.objective("premium").priority == 10


def test_objects_without_namespace_follow_the_pool():
    """When the pool's namespace changes, they move with it, and explicit ones don't."""
    objects = (a_pod("a", namespace=""), a_pod("b", "10.0.0.2"), an_objective(namespace=""))
    pool = reconciler(a_pool(), *objects, pool_name=None, pool_namespace=None)
    pool.apply(deletes=[a_pool().ref], upserts=[a_pool(namespace="other")])
    assert [endpoint.name for endpoint in pool.endpoints] == ["a-rank-0"]
    assert pool.objective("premium").priority == 10


def test_several_pools_at_the_start_leave_none_with_a_note_that_names_them_and_the_flag():
    """Nobody can tell which is meant, so nothing is guessed."""
    pool = PoolReconciler(pool_name=None, pool_namespace=None)
    changes = pool.apply(upserts=[a_pool("b"), a_pool("a"), a_pod()])
    assert pool.pool is None
    (note,) = changes.notes
    assert note.problem.severity is Severity.ERROR
    assert "team/a, team/b; choose one with --pool-name" in note.problem.message
    assert "--pool-namespace" not in note.problem.message
    pool.delete(a_pool("b").ref)
    assert str(pool.pool) == "team/a"


def test_several_pools_of_one_name_are_told_apart_by_namespace():
    """The remedy names the flag that helps."""
    pool = PoolReconciler(pool_name="pool", pool_namespace=None)
    (note,) = pool.apply(upserts=[a_pool(), a_pool(namespace="other")]).notes
    assert "--pool-namespace" in note.problem.message


def test_a_second_pool_does_not_take_the_first_away():
    """What somebody adds to a folder must not stop a running pool; the note says so."""
    pool = reconciler(a_pool(), a_pod(), pool_name=None, pool_namespace=None)
    changes = pool.upsert(a_pool("another"))
    assert changes.events == ()
    assert str(pool.pool) == "team/pool"
    assert changes.notes[0].problem.severity is Severity.WARNING
    assert "team/pool stays in use" in changes.notes[0].problem.message
    assert pool.upsert(a_pod("b", "10.0.0.2")).notes == ()
    pool.delete(a_pool().ref)
    assert str(pool.pool) == "team/another"
