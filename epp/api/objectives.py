"""The pool's objectives by name, kept up to date as objectives and the pool change.

An objective counts if its poolRef names our pool by group, kind and name, from the pool's own namespace. Where both
groups have one of the same name, `llm-d.ai` wins. The result depends on the objects only, never on the order in
which they came. Changes are collected; `flush` works off only the names that were touched.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from epp.api.changes import Note, Objective
from epp.api.manifest import OBJECTIVE_GROUPS
from epp.api.problem import FieldPath, Problem, Severity, describe

if TYPE_CHECKING:
    from epp.api.objects import InferenceObjective, ObjectRef


class PoolIdentity(NamedTuple):
    """Which pool objectives have to name. It is known also while the pool itself does not exist."""

    group: str
    namespace: str
    name: str


class ObjectiveTable:
    """Objectives in, priorities by name out."""

    def __init__(self) -> None:
        self._pool: PoolIdentity | None = None
        self._given: dict[str, dict[ObjectRef, InferenceObjective]] = {}
        """Every objective, by name: at most one of a name can count."""
        self._dirty: set[str] = set()
        """Names that have to be looked at again."""
        self._counted: dict[str, Objective] = {}
        self._priorities: Counter[int] = Counter()
        """How many of the counted objectives have each priority."""
        self._told: dict[str, dict[ObjectRef, Problem]] = {}
        """What is noteworthy now, by name."""

    def put(self, objective: InferenceObjective) -> None:
        """An objective is new, or different."""
        self._given.setdefault(objective.name, {})[objective.ref] = objective
        self._dirty.add(objective.name)

    def remove(self, ref: ObjectRef) -> None:
        """An objective is gone; one that was never there is no error."""
        if self._given.get(ref.name, {}).pop(ref, None) is not None:
            self._dirty.add(ref.name)

    def retarget(self, pool: PoolIdentity | None) -> None:
        """Another pool is served, or none."""
        if pool != self._pool:
            self._pool = pool
            self._dirty.update(self._given)

    def objective(self, name: str) -> Objective | None:
        """The pool's objective of that name."""
        return self._counted.get(name)

    @property
    def priorities(self) -> frozenset[int]:
        """The priorities that objectives of the pool give, besides 0, which is always there."""
        return frozenset(self._priorities) - {0}

    def flush(self) -> tuple[Note, ...]:
        """Bring everything up to date, and say what is noteworthy now and was not before."""
        notes: list[Note] = []
        for name in sorted(self._dirty):
            notes += self._refresh(name)
        self._dirty.clear()
        return tuple(notes)

    def _refresh(self, name: str) -> list[Note]:
        given = self._given.get(name, {})
        if not given:
            self._given.pop(name, None)
        used: ObjectRef | None = None
        noted: dict[ObjectRef, Problem] = {}
        if self._pool is not None:
            for ref in sorted(given, key=_preference):
                problem = _why_not(given[ref], self._pool)
                if problem is not None:
                    noted[ref] = problem
                elif used is None:
                    used = ref
                else:
                    noted[ref] = _superseded(ref, by=used)
        self._count(name, None if used is None else given[used])
        told = self._told.pop(name, {})
        if noted:
            self._told[name] = noted
        return [Note(ref, problem) for ref, problem in noted.items() if told.get(ref) != problem]

    def _count(self, name: str, objective: InferenceObjective | None) -> None:
        old = self._counted.pop(name, None)
        if old is not None:
            self._priorities[old.priority] -= 1
            if not self._priorities[old.priority]:
                del self._priorities[old.priority]
        if objective is not None:
            priority = objective.priority or 0
            self._counted[name] = Objective(name, priority, objective.queue_ttl_s, objective.weight)
            self._priorities[priority] += 1


def _preference(ref: ObjectRef) -> tuple[int, bool, ObjectRef]:
    """The order in which objectives of one name are considered: the newer group, then a stated namespace."""
    return OBJECTIVE_GROUPS.index(ref.group), not ref.namespace, ref


def _why_not(objective: InferenceObjective, pool: PoolIdentity) -> Problem | None:
    """Why an objective does not count for `pool`; None if it does."""
    if objective.namespace not in {"", pool.namespace}:
        message = f"is another namespace than that of pool {pool.namespace}/{pool.name}: no effect here"
        return _problem(Severity.INFO, ("metadata", "namespace"), objective.namespace, message)
    named = objective.pool
    if named.name != pool.name:
        message = f"is another pool than {pool.namespace}/{pool.name}, which is served here: no effect here"
        return _problem(Severity.INFO, ("spec", "poolRef", "name"), named.name, message)
    if named.kind != "InferencePool":
        message = f"pool {pool.name} is an InferencePool; the objective has no effect until it says so"
        return _problem(Severity.WARNING, ("spec", "poolRef", "kind"), named.kind, message)
    if named.group != pool.group:
        message = f"pool {pool.name} is of group {pool.group}; the objective has no effect until it says so"
        return _problem(Severity.WARNING, ("spec", "poolRef", "group"), named.group, message)
    return None


def _superseded(ref: ObjectRef, *, by: ObjectRef) -> Problem:
    return _problem(
        Severity.WARNING,
        ("metadata", "name"),
        ref.name,
        f"has no effect: {by} is used; remove one of the two",
    )


def _problem(severity: Severity, path: FieldPath, value: str, message: str) -> Problem:
    return Problem(severity, path, describe(value), message)
