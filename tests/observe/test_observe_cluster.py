"""What following a cluster looks like on the metrics page."""

from __future__ import annotations

from dataclasses import replace

from epp.observe.cluster import ClusterStatistics, LeaseStatistics, ResourceStatistics

PODS = ResourceStatistics(
    resource="pods",
    state="behind",
    objects=7,
    contact_age_s=12.5,
    relists={"gone": 2, "first": 1},
    failures={"unreachable": 3},
)
LEADING = LeaseStatistics(leads=True, standing="leading", renewal_age_s=1.5, transitions=4)


def test_without_a_cluster_nothing_of_it_appears(world):
    """A picker that reads files has no caches that could be old, and no lease."""
    names = {name for name, _ in world.samples()}
    assert not {name for name in names if name.startswith(("epp_objects", "epp_lease", "epp_leader"))}


def test_every_resource_tells_its_state_its_size_and_its_age(world):
    """What an operator asks when objects seem to be ignored."""
    world.cluster = ClusterStatistics(resources=(PODS, replace(PODS, resource="others", contact_age_s=None)))
    assert world.value("epp_objects", resource="pods") == 7
    assert world.value("epp_objects_state", resource="pods", state="behind") == 1
    assert world.value("epp_objects_age_seconds", resource="pods") == 12.5
    assert world.value("epp_objects_relists_total", resource="pods", reason="gone") == 2
    assert world.value("epp_objects_failures_total", resource="pods", kind="unreachable") == 3
    assert world.value("epp_objects_age_seconds", resource="others") is None


def test_the_lease_appears_only_with_leader_election(world):
    """A single replica neither leads nor follows."""
    world.cluster = ClusterStatistics(status_writes={"written": 2}, notices={"created": 5})
    assert world.value("epp_leader") is None
    assert world.value("epp_status_writes_total", result="written") == 2
    assert world.value("epp_kubernetes_events_total", result="created") == 5
    world.cluster = ClusterStatistics(lease=LEADING)
    assert world.value("epp_leader") == 1
    assert world.value("epp_lease_standing", standing="leading") == 1
    assert world.value("epp_lease_renewal_age_seconds") == 1.5
    assert world.value("epp_lease_transitions_total") == 4
    world.cluster = ClusterStatistics(
        lease=replace(LEADING, leads=False, standing="standby", renewal_age_s=None)
    )
    assert world.value("epp_leader") == 0
    assert world.value("epp_lease_renewal_age_seconds") is None


def test_rewrites_are_counted_under_both_names_and_bounded(world):
    """Clients choose the models that a rule for all of them meets, so their number is capped."""
    world.metrics._label_limit = 2
    for model in ("a", "b", "c", "c"):
        world.metrics.model_rewritten("rule", asked=model, target="t")
    for name in (
        "llm_d_epp_model_rewrite_decisions_total",
        "inference_extension_model_rewrite_decisions_total",
    ):
        assert world.value(name, model_rewrite_name="rule", model_name="a", target_model="t") == 1
        assert world.value(name, model_rewrite_name="rule", model_name="other", target_model="t") == 2
