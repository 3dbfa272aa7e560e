"""Everything that a picker follows in its cluster: the pool, objectives, rewrites and pods of one namespace.

`run` hands over what is there and then what changes, in order, each object's versions only forwards. Nothing that the
API server does ends it; while it can't be asked, the last state stays. The pods are those that the pool selects, and
are listed again when it selects others.

In the log stands what an operator would want to know, once: that the API server is lost, and that it is back; which
RBAC rule is missing; which kind is not installed.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from epp.api.manifest import OBJECTIVE_GROUPS
from epp.kube.reflector import Reflector
from epp.kube.resource import Resource
from epp.kube.standing import State

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from epp.api.changes import Batch
    from epp.api.objects import ObjectRef
    from epp.api.problem import Problem
    from epp.api.selector import Selector
    from epp.api.written import Written
    from epp.kube.connection import ApiServer
    from epp.kube.standing import Standing

LOST_AFTER_S: Final = 1.0
"""A connection that breaks and is back within this is not worth a line."""
_OWNED = (("InferenceObjective", "inferenceobjectives"), ("InferenceModelRewrite", "inferencemodelrewrites"))

log = structlog.get_logger()


class ClusterObjects:
    """The objects of one pool, from an API server. `pool` is None if pods are selected without one."""

    def __init__(
        self,
        server: ApiServer,
        *,
        namespace: str,
        pool: str | None,
        pool_group: str,
        clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._host = server.host
        self._clock = clock
        self._take: Callable[[Batch], None] | None = None
        self._lost: dict[Reflector, float] = {}
        """What can't be followed, and since when."""
        self._lost_since_s: float | None = None
        """When the API server was lost, if that has been said."""
        self._told: dict[Reflector, State] = {}
        """What is forbidden or absent, as far as it has been said."""
        self._selector: Selector | None = None
        self._reselected = asyncio.Event()
        self._pod_run: asyncio.Task[None] | None = None

        def reflector(resource: Resource) -> Reflector:
            return Reflector(
                server,
                resource,
                take=self._hand_over,
                told=self._tell,
                clock=clock,
                rng=rng,
                sleep=sleep,
            )

        self._pool = None
        if pool is not None:
            self._pool = reflector(
                Resource(
                    group=pool_group,
                    version="v1",
                    plural="inferencepools",
                    kind="InferencePool",
                    namespace=namespace,
                    field_selector=f"metadata.name={pool}",
                )
            )
        self._owned = {
            (group, kind): reflector(Resource(group, "v1alpha2", plural, kind, namespace))
            for kind, plural in _OWNED
            for group in OBJECTIVE_GROUPS
        }
        self._pods = reflector(Resource("", "v1", "pods", "Pod", namespace))
        self._pods.idle()
        self._steady = tuple(each for each in (self._pool, *self._owned.values()) if each is not None)

    async def run(self, take: Callable[[Batch], None]) -> None:
        """Hand over what is there, and from then on what changes, until cancelled. It can be run again."""
        self._take = take
        async with asyncio.TaskGroup() as group:
            for each in self._steady:
                group.create_task(each.run())
            group.create_task(self._follow_pods())

    def select(self, selector: Selector | None) -> None:
        """The pods that are wanted from now on; None: nobody says which, so none are."""
        if selector == self._selector:
            return
        self._selector = selector
        self._reselected.set()
        if self._pod_run is not None:
            self._pod_run.cancel()

    def why_not_synced(self) -> str | None:
        """What the first complete look at everything waits for; None once it is done."""
        wanted = self._steady if self._selector is None else (*self._steady, self._pods)
        for each in wanted:
            # Without objectives requests have the priority that they have anyway; without a pool there is nothing.
            is_needed = each is self._pool or each is self._pods
            if not (each.was_listed if is_needed else each.is_settled):
                return self._awaited(each)
        return None

    @property
    def knows_pool(self) -> bool:
        """Whether the pool was ever seen, or seen to be missing. Until then nobody can say that it is."""
        return self._pool is None or self._pool.is_known

    def written(self, ref: ObjectRef) -> Written | None:
        """What the API server holds of the status of an objective or a rewrite, as far as we know."""
        reflector = self._owned.get((ref.group, ref.kind))
        return None if reflector is None else reflector.written(ref)

    def broken(self, ref: ObjectRef) -> tuple[Problem, ...]:
        """Why an objective or a rewrite as it is now can't be read; empty if it can be."""
        reflector = self._owned.get((ref.group, ref.kind))
        return () if reflector is None else reflector.broken(ref)

    def standings(self) -> tuple[Standing, ...]:
        """How well each collection is known now."""
        return tuple(each.standing() for each in (*self._steady, self._pods))

    async def _follow_pods(self) -> None:
        """Those that are selected, each time that others are."""
        while True:
            self._reselected.clear()
            if self._selector is None:
                forgotten = self._pods.idle()
                if any(forgotten):
                    self._hand_over(forgotten)
                await self._reselected.wait()
                continue
            self._pods.aim(replace(self._pods.resource, label_selector=str(self._selector)))
            run = self._pod_run = asyncio.create_task(self._pods.run())
            try:
                await asyncio.wait({run})
            finally:
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)
                self._pod_run = None
            if not run.cancelled():
                run.result()

    def _hand_over(self, batch: Batch) -> None:
        assert self._take is not None
        self._take(batch)

    def _awaited(self, each: Reflector) -> str:
        match each.state:
            case State.ABSENT:
                return f"the CRD {each.resource} is not installed"
            case State.FORBIDDEN:
                return f"{each.message}; {_remedy(each.resource)}"
            case _ if each.message:
                return f"waiting for the API server at {self._host}: {each.message}"
            case _:
                return f"reading {each.resource} from the API server at {self._host}"

    # -------------------------------------------------------------------------------- the log

    def _tell(self, each: Reflector) -> None:
        """Say what is new about a collection, if it is worth a line."""
        since_s = each.trouble_since_s
        if since_s is not None:
            if self._clock() - since_s >= LOST_AFTER_S:
                self._miss(each, since_s)
        elif each.state is not State.STARTING:
            self._found(each)
        before = self._told.get(each)
        if each.state is before:
            return
        match each.state:
            case State.FORBIDDEN:
                log.warning(
                    "the picker may not read objects",
                    resource=str(each.resource),
                    namespace=each.resource.namespace,
                    why=each.message,
                    remedy=_remedy(each.resource),
                )
            case State.ABSENT:
                say = log.warning if each is self._pool else log.info
                say("a kind is not installed: there are no objects of it", resource=str(each.resource))
            case State.FOLLOWING if before is not None:
                log.info("objects can be read now", resource=str(each.resource))
            case _:
                return
        if each.state is State.FOLLOWING:
            del self._told[each]
        else:
            self._told[each] = each.state

    def _miss(self, each: Reflector, since_s: float) -> None:
        self._lost.setdefault(each, since_s)
        if self._lost_since_s is None:
            self._lost_since_s = since_s
            is_new = each.state is State.STARTING
            log.warning(
                "waiting for the API server"
                if is_new
                else "the API server is lost: the last state is served",
                host=self._host,
                resource=str(each.resource),
                why=each.message,
            )

    def _found(self, each: Reflector) -> None:
        if self._lost.pop(each, None) is not None:
            for other in self._lost:
                other.hurry()
        if self._lost_since_s is not None and not self._lost:
            away_s = self._clock() - self._lost_since_s
            self._lost_since_s = None
            log.info("the API server is back", host=self._host, away_s=round(away_s, 1))


def _remedy(resource: Resource) -> str:
    group = f"API group {resource.group}" if resource.group else "the core API group"
    return (
        f"allow the picker's service account the verbs get, list and watch on {resource.plural} ({group}) "
        f"in namespace {resource.namespace}, by a Role and a RoleBinding"
    )
