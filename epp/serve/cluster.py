"""What a picker has to do with its cluster besides following objects: who leads, what owners are told, who may read.

One replica leads, by a Lease, if there are several; the others are warm and not ready. What a replica does that is not
the leader, or can't be sure of it any more:

                  ready   serves whoever comes anyway
    leads         yes     yes
    unconfirmed   yes     yes                     it can't renew (--lease-loss=keep), and has seen no other leader
    fenced        no      no, it refuses          it can't renew (--lease-loss=stop), and another one may lead soon
    standby       no      keep: yes, stop: no

So with `keep` two replicas can serve at once, while one is cut off from the API server and not from its gateways; with
`stop` none serves for a moment instead.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

import structlog

from epp.api.verdict import Acceptance, Verdict
from epp.core.events import Draining, Resumed
from epp.kube.access import MetricsAccess, TokenAccess
from epp.kube.connection import ApiServer
from epp.kube.errors import ConnectError
from epp.kube.leadership import Leadership, lease_name, own_identity
from epp.kube.lease import LeaseLoss, LeaseTerms, Standing
from epp.kube.notices import Notices, notice_of
from epp.kube.source import ClusterObjects
from epp.kube.status import StatusWriter
from epp.observe.cluster import ClusterStatistics, LeaseStatistics, ResourceStatistics
from epp.observe.http import Access
from epp.serve.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epp.api.changes import Batch, Note
    from epp.api.objects import ObjectRef
    from epp.api.pool import PoolReconciler
    from epp.api.selector import Selector
    from epp.core.events import Event
    from epp.kube.notices import NoticeStatistics
    from epp.kube.status import StatusStatistics
    from epp.serve.settings import ServeSettings

COMPONENT = "epp"
"""Who reports, in Kubernetes Events."""

_OVERLAP_S = 5.0
"""For so long a successor is looked at by probes, and known to gateways, before its predecessor sends them away."""
_LOOK_FOR_SUCCESSOR_S = 0.05

log = structlog.get_logger()


class Cluster:
    """One API server and all that is done there. It is a source of objects, and tells their owners."""

    def __init__(
        self,
        server: ApiServer,
        settings: ServeSettings,
        *,
        namespace: str,
        pool_name: str,
        reconciler: PoolReconciler,
    ) -> None:
        clock = asyncio.get_running_loop().time
        rng = random.Random()  # noqa: S311 - replicas must not wait in step
        identity = own_identity(os.environ)
        self._server = server
        self._reconciler = reconciler
        self._on_loss = LeaseLoss(settings.lease_loss)
        self._feed: Callable[[Event], None] | None = None
        self._changed: Callable[[], None] | None = None
        self._refusing = False
        self._is_settled: Callable[[], bool] = bool
        self._stepping_aside = False
        """It led, and gateways may come until they know its successor."""
        self.objects = ClusterObjects(
            server,
            namespace=namespace,
            pool=None if settings.selected is not None else pool_name,
            pool_group=settings.pool_group,
            clock=clock,
            rng=rng,
        )
        self.access = MetricsAccess(server, clock=clock)
        self._status = StatusWriter(
            server,
            pool=lambda: f"InferencePool {namespace}/{pool_name}",
            verdict=self._verdict,
            written=self.objects.written,
            leading=self._may_judge,
            clock=clock,
            wall_clock=time.time,
        )
        self._notices = Notices(
            server,
            namespace=namespace,
            reporter=COMPONENT,
            instance=identity,
            leading=self.leads,
            clock=clock,
            wall_clock=time.time,
        )
        self._leadership: Leadership | None = None
        if settings.leader_election:
            self._leadership = Leadership(
                server,
                namespace=namespace,
                name=lease_name(namespace, pool_name),
                identity=identity,
                terms=LeaseTerms.of(settings.lease_duration_s),
                on_loss=self._on_loss,
                clock=clock,
                wall_clock=time.time,
                rng=rng,
                sleep=asyncio.sleep,
                changed=self._standing_changed,
            )

    @classmethod
    async def connect(cls, settings: ServeSettings) -> ApiServer:
        """The API server that the flags mean. Raises `StartError` if there is none to be meant."""
        try:
            return await ApiServer.connect(settings.kubeconfig)
        except ConnectError as error:
            raise StartError(str(error)) from error

    # -------------------------------------------------------------------------- its life

    def attend(
        self,
        *,
        feed: Callable[[Event], None],
        changed: Callable[[], None],
        is_settled: Callable[[], bool],
    ) -> None:
        """Whom to tell when the role changes, and who says whether all objects have been taken in."""
        self._feed, self._changed, self._is_settled = feed, changed, is_settled
        self._refuse_or_serve()

    async def run(self, take: Callable[[Batch], None]) -> None:
        """Follow the objects, and do everything else, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.objects.run(take))
            group.create_task(self._status.run())
            group.create_task(self._notices.run())
            if self._leadership is not None:
                group.create_task(self._leadership.run())

    async def hand_over(self) -> None:
        """Let another replica lead, from now on and for good."""
        if self._leadership is not None:
            self._stepping_aside = self._on_loss is LeaseLoss.KEEP and self.leads()
            await self._leadership.release()

    async def until_succeeded(self) -> None:
        """Until another replica has led for long enough that gateways know it, if this one led and may still serve."""
        leadership = self._leadership
        if leadership is None or not self._stepping_aside:
            return
        while leadership.holder in {"", leadership.identity}:  # noqa: ASYNC110 - seconds away, once in a life
            await asyncio.sleep(_LOOK_FOR_SUCCESSOR_S)
        log.info("another replica leads", holder=leadership.holder)
        await asyncio.sleep(_OVERLAP_S)
        self._stepping_aside = False

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    # -------------------------------------------------------------------------- its role

    def leads(self) -> bool:
        """Whether this replica is the one that serves and writes."""
        return self._leadership is None or self._leadership.standing.may_dispatch

    def why_not_leading(self) -> str | None:
        """Why this replica must not be sent requests; None if it leads."""
        leadership = self._leadership
        if leadership is None or leadership.standing.may_dispatch or self._stepping_aside:
            return None
        if leadership.standing is Standing.FENCED:
            return "the lease could not be renewed in time (--lease-loss=stop)"
        holder = leadership.holder
        if holder == leadership.identity:
            return "standby: this replica gives its lease back"
        return f"standby: {holder} leads" if holder else "standby: nobody leads yet"

    def _standing_changed(self, standing: Standing) -> None:
        if standing.may_dispatch:
            self._status.touch_all()
            self._notices.begin_leading()
        self._refuse_or_serve()
        if self._changed is not None:
            self._changed()

    def _refuse_or_serve(self) -> None:
        refusing = self._on_loss is LeaseLoss.STOP and not self.leads()
        if refusing != self._refusing and self._feed is not None:
            self._refusing = refusing
            self._feed(Draining() if refusing else Resumed())

    # ------------------------------------------------------------------ a source of objects

    def select(self, selector: Selector | None) -> None:
        """These pods are wanted from now on."""
        self.objects.select(selector)

    def why_not_synced(self) -> str | None:
        """What the first complete look at everything waits for."""
        return self.objects.why_not_synced()

    def locate(self, note: Note) -> str:
        """An object's name says where it is."""
        return str(note)

    # -------------------------------------------------------------------- telling the owners

    def judged(self, refs: Sequence[ObjectRef]) -> None:
        """Everything has been taken in; the status of these objects may have to be written."""
        self._status.touch(refs)

    def noted(self, note: Note) -> None:
        """Something that an owner should know."""
        notice = notice_of(note)
        if notice is not None and note.ref is not None:
            held = self.objects.written(note.ref)
            self._notices.tell(
                note.ref,
                held.uid if held is not None else "",
                kind=notice.kind,
                reason=notice.reason,
                message=notice.message,
            )

    def _may_judge(self) -> bool:
        """Whether what is written of objects now would be true, and is ours to write.

        It would not be while the reconciler lags behind the cache that gives the objects' versions, nor before anybody
        knows whether the pool exists.
        """
        return self.leads() and self._is_settled() and self.objects.knows_pool

    def _verdict(self, ref: ObjectRef) -> Verdict | None:
        """What became of an object in the version that the API server has now."""
        verdict = self._reconciler.verdict(ref)
        broken = self.objects.broken(ref)
        if verdict is None or not broken:
            return verdict
        problems = "; ".join(map(str, broken))
        return Verdict(Acceptance.INVALID, f"{problems}; what it said before still counts")

    # ------------------------------------------------------------------------------ figures

    async def authorize(self, token: str, path: str) -> Access:
        """Who may read the metrics: implements `observe.http.Authorizer`."""
        return _ACCESS[await self.access(token, path)]

    def statistics(self) -> ClusterStatistics:
        """For the metrics page."""
        leadership = self._leadership
        return ClusterStatistics(
            resources=tuple(
                ResourceStatistics(
                    resource=each.resource,
                    state=each.state.value,
                    objects=each.objects,
                    contact_age_s=each.contact_age_s,
                    relists=each.relists,
                    failures=each.failures,
                )
                for each in self.objects.standings()
            ),
            status_writes=_status_writes(self._status.statistics()),
            notices=_notices(self._notices.statistics()),
            lease=None
            if leadership is None
            else LeaseStatistics(
                leads=self.leads(),
                standing=leadership.standing.value,
                renewal_age_s=leadership.renewal_age_s(),
                transitions=leadership.transitions,
            ),
        )


def _status_writes(counted: StatusStatistics) -> dict[str, int]:
    failures = {f"failed_{kind.value}": count for kind, count in counted.failures.items()}
    return {"written": counted.written, "conflict": counted.conflicts} | failures


def _notices(counted: NoticeStatistics) -> dict[str, int]:
    return {
        "created": counted.created,
        "raised": counted.raised,
        "dropped": counted.dropped,
        "failed": counted.failures,
    }


_ACCESS = {
    TokenAccess.ALLOWED: Access.ALLOWED,
    TokenAccess.UNAUTHENTICATED: Access.UNAUTHENTICATED,
    TokenAccess.FORBIDDEN: Access.FORBIDDEN,
}
