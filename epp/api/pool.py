"""The reconciler: objects in, core events out; the same for files and for an API server.

It promises that what it holds depends only on the objects that exist now, never on the order in which they came or on
how they came. One thing is remembered on purpose: without a pool name, the pool in use stays in use when a second one
appears, because an object that someone adds must not take a running pool away.

What comes of many objects at once can be worked out in `steps`, so that an event loop gets its turn in between; the
result, and what is told of it at the end, are those of `apply`.

An object without a namespace belongs to the pool's. The pool's is the one that is configured, or else its manifest's,
or else `default`. Events are made only when something changed that matters to the core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from epp.api.changes import Batch, Changes, Note, Objective, PoolInfo
from epp.api.claims import PoolIdentity
from epp.api.endpoints import EndpointTable
from epp.api.manifest import POOL_GROUP
from epp.api.objectives import ObjectiveTable
from epp.api.objects import (
    ApiObject,
    InferenceModelRewrite,
    InferenceObjective,
    InferencePool,
    ObjectRef,
    Pod,
)
from epp.api.problem import Problem, Severity
from epp.api.rewrites import RewriteTable, Rewriting
from epp.core.events import EndpointsChanged, ObjectivesChanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from epp.api.verdict import Verdict
    from epp.core.endpoint import EndpointSpec

DEFAULT_NAMESPACE = "default"
STEP = 200
"""So many objects are worked off in one step: a millisecond or two."""


class PoolReconciler:
    """Follows one pool. Pure: no clock, no I/O, no logging."""

    def __init__(
        self, *, pool_name: str | None, pool_namespace: str | None, pool_group: str = POOL_GROUP
    ) -> None:
        self._wanted_name = pool_name
        self._wanted_namespace = pool_namespace
        self._wanted_group = pool_group
        self._pools: dict[ObjectRef, InferencePool] = {}
        self._endpoints = EndpointTable()
        self._objectives = ObjectiveTable()
        self._rewrites = RewriteTable()
        self._retarget(None)
        self.pool: PoolInfo | None = None
        """The pool that is served; None while there is none, or too many to choose."""
        self.pool_note: Note | None = self._absent()
        """What is to be said of the pool: why there is none, or that there is a second one."""

    def upsert(self, obj: ApiObject) -> Changes:
        """An object is new, or different."""
        return self.apply(upserts=(obj,))

    def delete(self, ref: ObjectRef) -> Changes:
        """An object is gone; one that was never there is no error."""
        return self.apply(deletes=(ref,))

    def apply(self, *, upserts: Iterable[ApiObject] = (), deletes: Iterable[ObjectRef] = ()) -> Changes:
        """Many changes at once: deletes first, and at most one event of each kind for all of them."""
        for ref in deletes:
            self._forget(ref)
        for obj in upserts:
            self._take(obj)
        return self._finish(self._choose_pool())

    def steps(self, batch: Batch, *, size: int = STEP) -> Iterator[Changes]:
        """The same in steps of so many objects, to be taken to the end; only the last one has anything to tell.

        Whoever asks between two steps gets the endpoints, objectives and rewrites of before the batch. Another batch
        may be applied there; it then tells of what was worked off so far as well.
        """
        for done, ref in enumerate(batch.deletes, start=1):
            self._forget(ref)
            if done % size == 0:
                yield Changes()
        for done, obj in enumerate(batch.upserts, start=1):
            self._take(obj)
            if done % size == 0:
                yield Changes()
        notes = self._choose_pool()
        for table in (self._objectives.claims, self._rewrites.claims, self._endpoints):
            while table.settle(size):
                yield Changes()
        yield self._finish(notes)

    def _finish(self, notes: tuple[Note, ...]) -> Changes:
        """Bring everything up to date, and tell what is different."""
        endpoints, priorities = self._endpoints.endpoints, self._objectives.priorities
        objectives, rewrites = self._objectives.flush(), self._rewrites.flush()
        notes += objectives.notes + rewrites.notes + self._endpoints.flush()
        events: list[EndpointsChanged | ObjectivesChanged] = []
        if self._objectives.priorities != priorities:
            events.append(ObjectivesChanged(self._objectives.priorities))
        if self._endpoints.endpoints is not endpoints:
            events.append(EndpointsChanged(self._endpoints.endpoints))
        return Changes(tuple(events), notes, objectives.judged + rewrites.judged)

    @property
    def endpoints(self) -> tuple[EndpointSpec, ...]:
        """The pool's endpoints, in the order of their pods' names and ports."""
        return self._endpoints.endpoints

    def objective(self, name: str) -> Objective | None:
        """The objective of the pool that requests mean by `name`."""
        return self._objectives.objective(name)

    def rewriting(self, model: str) -> Rewriting | None:
        """What becomes of requests for `model`; None if they keep it."""
        return self._rewrites.rewriting(model)

    def concerns(self, ref: ObjectRef) -> bool:
        """Whether what is wrong with an object is this pool's business: not if it is known to name another one."""
        match ref.kind:
            case "InferenceObjective":
                return self._objectives.claims.concerns(ref)
            case "InferenceModelRewrite":
                return self._rewrites.claims.concerns(ref)
            case _:
                return True

    def verdict(self, ref: ObjectRef) -> Verdict | None:
        """What became of an objective or a rewrite; None if it names another pool or is not known here."""
        match ref.kind:
            case "InferenceObjective":
                return self._objectives.claims.verdict(ref)
            case "InferenceModelRewrite":
                return self._rewrites.claims.verdict(ref)
            case _:
                return None

    def why_no_endpoints(self) -> str:
        """For people who wonder why the pool has no endpoints: what keeps its pods from being some."""
        return self._endpoints.why_empty()

    def _take(self, obj: ApiObject) -> None:
        if obj.terminating:
            # What is being deleted is gone for us: it must get no new work.
            self._forget(obj.ref)
            return
        match obj:
            case Pod():
                self._endpoints.put(obj)
            case InferenceObjective():
                self._objectives.claims.put(obj)
            case InferenceModelRewrite():
                self._rewrites.claims.put(obj)
            case InferencePool():
                self._pools[obj.ref] = obj
            case _:
                assert_never(obj)

    def _forget(self, ref: ObjectRef) -> None:
        match ref.kind:
            case "Pod":
                self._endpoints.remove(ref)
            case "InferenceObjective":
                self._objectives.claims.remove(ref)
            case "InferenceModelRewrite":
                self._rewrites.claims.remove(ref)
            case _:
                self._pools.pop(ref, None)

    def _retarget(self, pool: PoolInfo | None) -> None:
        identity = self._identity(pool)
        self._endpoints.retarget(pool)
        self._objectives.claims.retarget(identity)
        self._rewrites.claims.retarget(identity)

    def _choose_pool(self) -> tuple[Note, ...]:
        candidates = self._candidates()
        current = (self.pool.namespace, self.pool.name) if self.pool else None
        note: Note | None = None
        chosen: InferencePool | None = None
        if not candidates:
            note = self._absent()
        elif len(candidates) == 1:
            (current,) = candidates
            chosen = candidates[current]
        else:
            chosen = candidates.get(current) if current else None
            note = _ambiguous(sorted(candidates), kept=current if chosen else None)
        self.pool = _info(chosen, current[0]) if chosen and current else None
        self._retarget(self.pool)
        fresh = note is not None and note != self.pool_note
        self.pool_note = note
        return (note,) if note is not None and fresh else ()

    def _candidates(self) -> dict[tuple[str, str], InferencePool]:
        """The pools that may be meant, by namespace and name."""
        found: dict[tuple[str, str], InferencePool] = {}
        for ref in sorted(self._pools):  # without a namespace first, so that a stated one replaces it
            if ref.group != self._wanted_group or self._wanted_name not in {None, ref.name}:
                continue
            if self._wanted_namespace is not None and ref.namespace not in {"", self._wanted_namespace}:
                continue
            namespace = ref.namespace or self._wanted_namespace or DEFAULT_NAMESPACE
            found[namespace, ref.name] = self._pools[ref]
        return found

    def _identity(self, pool: PoolInfo | None) -> PoolIdentity | None:
        """Whom objectives and rewrites have to name.

        Known without the pool if its name is configured, so that requests keep their priority while a pool is
        deleted and created again.
        """
        if pool is not None:
            return PoolIdentity(pool.group, pool.namespace, pool.name, exists=True)
        if self._wanted_name is None:
            return None
        return PoolIdentity(
            self._wanted_group,
            self._wanted_namespace or DEFAULT_NAMESPACE,
            self._wanted_name,
            exists=False,
        )

    def _absent(self) -> Note:
        name = f" named {self._wanted_name}" if self._wanted_name else ""
        place = f" in namespace {self._wanted_namespace}" if self._wanted_namespace else ""
        message = (
            f"there is no InferencePool of group {self._wanted_group}{name}{place}, so there are no endpoints"
        )
        return Note(None, Problem(Severity.WARNING, (), "", message))


def _ambiguous(pools: list[tuple[str, str]], *, kept: tuple[str, str] | None) -> Note:
    names = ", ".join("/".join(pool) for pool in pools)
    remedy = "choose one with --pool-name" + (
        " and --pool-namespace" if len({name for _, name in pools}) == 1 else ""
    )
    if kept is None:
        message = f"there are several InferencePools and none is used: {names}; {remedy}"
        return Note(None, Problem(Severity.ERROR, (), "", message))
    message = (
        f"there are several InferencePools: {names}; {'/'.join(kept)} stays in use until a restart: {remedy}"
    )
    return Note(None, Problem(Severity.WARNING, (), "", message))


def _info(pool: InferencePool, namespace: str) -> PoolInfo:
    return PoolInfo(
        group=pool.group,
        namespace=namespace,
        name=pool.name,
        app_protocol=pool.app_protocol,
        selector=pool.selector,
        target_ports=pool.target_ports,
    )
