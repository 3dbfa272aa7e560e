"""What following a cluster looks like from outside: how old each cache is, who leads, what was written there.

Nothing of it appears where objects come from files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from epp.observe.exposition import Numbers, Reading, counter, gauge
from epp.observe.labels import label_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OBJECTS = gauge("epp_objects", "Objects held, by resource.")
STATES = gauge("epp_objects_state", "1 for the state that following a resource is in.")
AGES = gauge(
    "epp_objects_age_seconds",
    "Since the API server last said something about a resource; what was known before is still served.",
)
RELISTS = counter("epp_objects_relists_total", "Complete looks at a resource, by why another one was needed.")
FAILURES = counter("epp_objects_failures_total", "Requests for a resource that failed, by what went wrong.")
STATUS_WRITES = counter("epp_status_writes_total", "Statuses of objects, by what came of writing them.")
NOTICES = counter("epp_kubernetes_events_total", "Kubernetes Events for owners, by what came of them.")
LEADER = gauge("epp_leader", "1 if this replica leads. Absent without leader election.")
STANDINGS = gauge("epp_lease_standing", "1 for where this replica stands with the Lease.")
RENEWAL_AGES = gauge(
    "epp_lease_renewal_age_seconds", "Since this replica last renewed the Lease; absent if never."
)
TRANSITIONS = counter("epp_lease_transitions_total", "How often the Lease changed hands, as it says itself.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStatistics:
    """One resource that is followed."""

    resource: str
    """Plural and group, such as `inferenceobjectives.llm-d.ai`."""
    state: str
    objects: int
    contact_age_s: float | None
    """None before the first contact."""
    relists: Mapping[str, int]
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseStatistics:
    """The election."""

    leads: bool
    standing: str
    renewal_age_s: float | None
    transitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatistics:
    """What a picker does with its API server."""

    resources: tuple[ResourceStatistics, ...] = ()
    status_writes: Mapping[str, int] = field(default_factory=dict)
    notices: Mapping[str, int] = field(default_factory=dict)
    lease: LeaseStatistics | None = None
    """None without leader election."""


def read_cluster(statistics: ClusterStatistics | None) -> Iterator[Reading]:
    """The series; none without a cluster."""
    if statistics is None:
        return
    labelled = [(("resource", each.resource), each) for each in statistics.resources]
    yield Numbers(OBJECTS, [(label_text(label), each.objects) for label, each in labelled])
    yield Numbers(STATES, [(label_text(label, ("state", each.state)), 1) for label, each in labelled])
    yield Numbers(
        AGES,
        [
            (label_text(label), each.contact_age_s)
            for label, each in labelled
            if each.contact_age_s is not None
        ],
    )
    yield Numbers(
        RELISTS,
        [
            (label_text(label, ("reason", reason)), count)
            for label, each in labelled
            for reason, count in each.relists.items()
        ],
    )
    yield Numbers(
        FAILURES,
        [
            (label_text(label, ("kind", kind)), count)
            for label, each in labelled
            for kind, count in each.failures.items()
        ],
    )
    yield Numbers(STATUS_WRITES, _by("result", statistics.status_writes))
    yield Numbers(NOTICES, _by("result", statistics.notices))
    if statistics.lease is not None:
        yield from _read_lease(statistics.lease)


def _read_lease(lease: LeaseStatistics) -> Iterator[Reading]:
    yield Numbers(LEADER, [("", int(lease.leads))])
    yield Numbers(STANDINGS, [(label_text(("standing", lease.standing)), 1)])
    if lease.renewal_age_s is not None:
        yield Numbers(RENEWAL_AGES, [("", lease.renewal_age_s)])
    yield Numbers(TRANSITIONS, [("", lease.transitions)])


def _by(label: str, counts: Mapping[str, int]) -> list[tuple[str, float]]:
    return [(label_text((label, name)), count) for name, count in counts.items()]
