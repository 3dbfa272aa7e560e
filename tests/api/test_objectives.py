"""Which objectives count, and what requests get by naming them."""

import pytest

from epp.api import (
    Changes,
    Objective,
    Severity,
)
from epp.api.manifest import PoolRef
from epp.core.events import ObjectivesChanged
from tests.api.builders import LEGACY_GROUP, a_pool, an_objective, reconciler


def test_an_objective_of_the_pool_gives_requests_its_priority():
    """It is found by name, and its priority is a band from now on."""
    pool = reconciler(a_pool())
    changes = pool.upsert(an_objective(queue_ttl_s=5.0, weight=2.0))
    assert (changes.events, changes.notes) == ((ObjectivesChanged(frozenset({10})),), ())
    assert pool.objective("premium") == Objective("premium", 10, 5.0, 2.0)
    assert pool.objective("unknown") is None


def test_an_unset_priority_is_zero_and_makes_no_band():
    """Band 0 is always there, so neither an unset nor a stated 0 is a change."""
    pool = reconciler(a_pool())
    assert pool.upsert(an_objective(priority=None)).events == ()
    assert pool.upsert(an_objective("zero", 0)).events == ()
    assert pool.objective("premium").priority == 0


def test_a_band_stays_while_any_objective_has_its_priority():
    """Only the last one takes it away."""
    pool = reconciler(a_pool(), an_objective("a"), an_objective("b"))
    assert pool.delete(an_objective("a").ref).events == ()
    assert pool.delete(an_objective("b").ref).events == (ObjectivesChanged(frozenset()),)


def test_a_changed_ttl_is_no_event_but_counts_at_once():
    """The core needs priorities only; requests see the new value."""
    pool = reconciler(a_pool(), an_objective())
    assert pool.upsert(an_objective(queue_ttl_s=1.0)) == Changes()
    assert pool.objective("premium").queue_ttl_s == 1.0


@pytest.mark.parametrize(
    ("changed", "field", "severity"),
    [
        ({"namespace": "other"}, "metadata.namespace", Severity.INFO),
        ({"pool": PoolRef(name="other")}, "spec.poolRef.name", Severity.INFO),
        ({"pool": PoolRef(name="pool", kind="Service")}, "spec.poolRef.kind", Severity.WARNING),
        ({"pool": PoolRef(name="pool", group=LEGACY_GROUP)}, "spec.poolRef.group", Severity.WARNING),
    ],
)
def test_an_objective_of_another_pool_does_not_count_and_gets_one_note(changed, field, severity):
    """The note names the field that decides; it is not repeated."""
    pool = reconciler(a_pool())
    stranger = an_objective(**changed)
    changes = pool.upsert(stranger)
    assert changes.events == ()
    assert pool.objective("premium") is None
    (note,) = changes.notes
    assert (note.ref, note.problem.field, note.problem.severity) == (stranger.ref, field, severity)
    assert pool.upsert(stranger) == Changes()


def test_moving_an_objective_away_and_back_is_followed():
    """Re-pointing it takes its priority away, and the note comes again with each move."""
    pool = reconciler(a_pool(), an_objective())
    away = pool.upsert(an_objective(pool=PoolRef(name="other")))
    assert away.events == (ObjectivesChanged(frozenset()),)
    assert len(away.notes) == 1
    assert pool.upsert(an_objective()).events == (ObjectivesChanged(frozenset({10})),)
    assert len(pool.upsert(an_objective(pool=PoolRef(name="other"))).notes) == 1


def test_of_both_groups_the_newer_one_wins_with_a_note():
    """`llm-d.ai` is used and the other one superseded, in whatever order they come."""
    legacy = an_objective(priority=5, group=LEGACY_GROUP)
    for order in ([legacy, an_objective()], [an_objective(), legacy]):
        pool = reconciler(a_pool())
        notes = [note for obj in order for note in pool.upsert(obj).notes]
        assert pool.objective("premium").priority == 10
        assert [(note.ref, note.problem.severity) for note in notes] == [(legacy.ref, Severity.WARNING)]
        pool.delete(an_objective().ref)
        assert pool.objective("premium").priority == 5


def test_the_group_decides_before_the_namespace():
    """A stated namespace does not help a legacy objective against one of the newer group."""
    legacy = an_objective(priority=5, group=LEGACY_GROUP)
    assert reconciler(a_pool(), legacy, an_objective(namespace="")).objective("premium").priority == 10


def test_a_newer_objective_of_another_pool_supersedes_nothing():
    """Only those that name our pool compete."""
    stranger = an_objective(pool=PoolRef(name="other"))
    pool = reconciler(a_pool(), stranger, an_objective(priority=5, group=LEGACY_GROUP))
    assert pool.objective("premium").priority == 5


def test_an_objective_without_namespace_is_in_the_pools():
    """And gives way to an explicit one of the same name."""
    pool = reconciler(a_pool(), an_objective(priority=3, namespace=""))
    assert pool.objective("premium").priority == 3
    pool.upsert(an_objective())
    assert pool.objective("premium").priority == 10
