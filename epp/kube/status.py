"""Writes what became of an object into its status: `Accepted`, for its owner to read.

- Only the leader writes. A standby follows what is to be said, so that it can go on where the leader stopped.
- The `resourceVersion` guards every write: what somebody else writes is never overwritten unseen.
- Nothing is written that is there already. However often an object changes while it waits, it is written once.
- A verdict is written on the generation that was judged, never on one that the picker has not seen.
- An object that moves to another pool gets one last word.
- Trouble costs delay and nothing else: writes are rate-limited, tried ever more seldom while the API server fails or
  somebody undoes them, and every ten minutes while they are forbidden.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from epp.api.conditions import next_conditions, no_room
from epp.api.wire import read_written
from epp.kube.agenda import Agenda
from epp.kube.connection import Unreachable
from epp.kube.judged import Judged, Saying
from epp.kube.pace import Backoff, TokenBucket, until
from epp.kube.resource import Resource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from epp.api.objects import ObjectRef
    from epp.api.verdict import Verdict
    from epp.api.written import Condition, Written
    from epp.kube.connection import ApiServer, Reply

WRITES_PER_S: Final = 10.0
BURST: Final = 20
MOST_PAUSE_S: Final = 60.0
DENIED_PAUSE_S: Final = 600.0
LOOK_AGAIN_S: Final = 10.0
"""A standby looks so often whether it leads, in case that began without anybody saying so."""
CONTESTS_TOLD: Final = 3
"""How often somebody undoes what we write before the log is told."""
_PLURALS: Final = {
    "InferenceObjective": "inferenceobjectives",
    "InferenceModelRewrite": "inferencemodelrewrites",
}
_REMEDY: Final = (
    "to have them written, give the picker's service account a Role with the verb patch on "
    "inferenceobjectives/status and inferencemodelrewrites/status in the pool's namespace"
)

log = structlog.get_logger()


class StatusFailure(Enum):
    """Why a status was not written."""

    UNREACHABLE = "unreachable"
    """The API server did not answer."""
    UNAVAILABLE = "unavailable"
    """It answered 5xx, or 401, which trouble with tokens looks like."""
    THROTTLED = "throttled"
    FORBIDDEN = "forbidden"
    REFUSED = "refused"
    """The object would have broken a rule."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class StatusStatistics:
    """What the writer did so far."""

    pending: int
    """Objects to be looked at."""
    written: int
    unchanged: int
    """Looks at objects whose status was right."""
    conflicts: int
    """Writes that came too late."""
    failures: Mapping[StatusFailure, int]
    """Every kind is there."""


class _Wanted(NamedTuple):
    """A write that is due."""

    ref: ObjectRef
    known: Judged
    written: Written
    conditions: tuple[Condition, ...]
    saying: Saying


class StatusWriter:
    """Writes the statuses of the objects that it is told of, while `leading`."""

    def __init__(
        self,
        server: ApiServer,
        *,
        pool: Callable[[], str],
        verdict: Callable[[ObjectRef], Verdict | None],
        written: Callable[[ObjectRef], Written | None],
        leading: Callable[[], bool],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._server = server
        self._pool = pool
        self._verdict = verdict
        self._written = written
        self._leading = leading
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._objects: dict[ObjectRef, Judged] = {}
        self._sweep_at = 1024
        self._agenda: Agenda[ObjectRef] = Agenda(clock=clock, sleep=sleep)
        self._bucket = TokenBucket(per_second=WRITES_PER_S, burst=BURST, clock=clock, sleep=sleep)
        self._trouble = Backoff(first_s=0.5, most_s=MOST_PAUSE_S)
        self._denied_until_s: dict[tuple[str, str], float] = {}
        """By group and kind, since one may be allowed without the other."""
        self._bell = asyncio.Event()
        """It may be for us to write now."""
        self._count = 0
        self._unchanged = 0
        self._conflicts = 0
        self._failures: Counter[StatusFailure] = Counter()

    def touch(self, refs: Iterable[ObjectRef]) -> None:
        """The verdict on these objects, their status or their metadata may have changed, come or gone."""
        for ref in refs:
            self._touch(ref)
        if len(self._objects) >= self._sweep_at:
            for ref in [each for each in self._objects if self._written(each) is None]:
                self._forget(ref)
            self._sweep_at = max(1024, 2 * len(self._objects))
        self._bell.set()

    def touch_all(self) -> None:
        """Leadership begins: every object that is ours, or awaits its last word, is looked at."""
        for ref in self._objects:
            self._agenda.add(ref)
        self._bell.set()

    def statistics(self) -> StatusStatistics:
        """A snapshot, for metrics."""
        return StatusStatistics(
            pending=len(self._agenda),
            written=self._count,
            unchanged=self._unchanged,
            conflicts=self._conflicts,
            failures=MappingProxyType({kind: self._failures[kind] for kind in StatusFailure}),
        )

    async def run(self) -> None:
        """Writes, until cancelled."""
        while True:
            await until(self._leading, self._bell, look_every_s=LOOK_AGAIN_S, sleep=self._sleep)
            await self._look(await self._agenda.take())
            await asyncio.sleep(0)  # a new leader looks at every object, and requests must not wait for that

    def _touch(self, ref: ObjectRef) -> None:
        written = self._written(ref)
        known = self._objects.get(ref)
        if known is not None and (written is None or known.uid != written.uid):
            self._forget(ref)
            known = None
        if written is None or ref.kind not in _PLURALS:
            return
        ours = self._verdict(ref) is not None
        if known is None and not ours:
            return
        if known is None:
            self._objects[ref] = Judged(written.uid)
        # A standby has to see that the leader had the last word, or it would say it again when it leads.
        if ours or self._leading() or self._wanted(ref) is not None:
            self._agenda.add(ref)

    def _forget(self, ref: ObjectRef) -> None:
        self._objects.pop(ref, None)
        self._agenda.discard(ref)

    def _wanted(self, ref: ObjectRef) -> _Wanted | None:
        """The write that is due. An object that needs no more attention is forgotten."""
        known, cached = self._objects.get(ref), self._written(ref)
        if known is None or cached is None or cached.uid != known.uid:
            self._forget(ref)
            return None
        verdict, written = self._verdict(ref), known.newest(cached)
        now = datetime.fromtimestamp(self._wall_clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = next_conditions(written, verdict, now=now, pool=self._pool())
        if conditions is not None:
            saying = Saying(written.uid, written.generation, verdict)
            return _Wanted(ref, known, written, conditions, saying)
        if verdict is None:
            self._forget(ref)
        elif no_room(written) and known.first_time("no room", generation=written.generation):
            log.warning("an object's status has no room for the condition Accepted", object=str(ref))
        return None

    async def _look(self, ref: ObjectRef) -> None:
        wanted = self._wanted(ref)
        if wanted is None:
            self._unchanged += 1
            return
        known, saying = wanted.known, wanted.saying
        if known.refused(saying, wanted.written.resource_version):
            return
        not_before_s = max(known.may_say_s(saying), self._denied_until_s.get((ref.group, ref.kind), 0.0))
        if not_before_s > self._clock():
            self._agenda.add_later(ref, not_before_s=not_before_s)
            return
        await self._bucket.take()
        wanted = self._wanted(ref)  # the newest state wins
        if not self._leading():
            self._agenda.add(ref)
        elif wanted is not None:
            await self._write(wanted)

    async def _write(self, wanted: _Wanted) -> None:
        body = {
            "metadata": {"resourceVersion": wanted.written.resource_version},
            "status": {"conditions": [_plain(each) for each in wanted.conditions]},
        }
        reply = await self._ask("PATCH", wanted.ref, body=body)
        if reply is None:
            return
        if reply.status == 409:
            await self._conflict(wanted)
        elif reply.status == 403:
            self._deny(wanted.ref, reply)
        elif reply.status != 200:
            self._refuse(wanted, reply)
        else:
            self._take_in(wanted, reply)
            self._count += 1
            self._denied_until_s.pop((wanted.ref.group, wanted.ref.kind), None)
            if wanted.known.say(wanted.saying, now_s=self._clock()) == CONTESTS_TOLD:
                log.warning(
                    "somebody else keeps changing the condition Accepted: it is written more and more seldom",
                    object=str(wanted.ref),
                )
            wanted.known.conflicts.reset()
            if wanted.saying.verdict is None:
                self._forget(wanted.ref)

    async def _conflict(self, wanted: _Wanted) -> None:
        self._conflicts += 1
        reply = await self._ask("GET", wanted.ref)
        # If the API server has a generation that was not judged yet, the watch brings it, and with it a verdict.
        if reply is not None and (reply.status != 200 or self._take_in(wanted, reply)):
            self._agenda.add_later(wanted.ref, not_before_s=self._clock() + wanted.known.conflicts.next_s())

    def _take_in(self, wanted: _Wanted, reply: Reply) -> bool:
        """Remembers what the API server holds, if it is of the generation that was judged."""
        fresh, known = read_written(reply.body), wanted.known
        judged = (fresh.uid, fresh.generation) == (known.uid, wanted.written.generation)
        if judged:
            known.learn(fresh, than=wanted.written.resource_version)
        return judged

    def _deny(self, ref: ObjectRef, reply: Reply) -> None:
        self._failures[StatusFailure.FORBIDDEN] += 1
        if not self._denied_until_s:
            log.warning("statuses can't be written", why=reply.message, remedy=_REMEDY)
        not_before_s = self._clock() + DENIED_PAUSE_S
        self._denied_until_s[ref.group, ref.kind] = not_before_s
        self._agenda.add_later(ref, not_before_s=not_before_s)

    def _refuse(self, wanted: _Wanted, reply: Reply) -> None:
        self._failures[StatusFailure.REFUSED] += 1
        wanted.known.refuse(wanted.saying, wanted.written.resource_version)
        if wanted.known.first_time("refused", generation=wanted.written.generation):
            log.warning("the API server refuses a status", object=str(wanted.ref), why=reply.message)

    async def _ask(self, method: str, ref: ObjectRef, *, body: object | None = None) -> Reply | None:
        """The reply, unless the object is gone or the API server in trouble, which is seen to."""
        path = Resource(
            group=ref.group,
            version="v1alpha2",
            plural=_PLURALS[ref.kind],
            kind=ref.kind,
            namespace=ref.namespace,
        ).object_path(ref.name)
        try:
            if body is None:
                reply = await self._server.request(method, path)
            else:
                reply = await self._server.request(
                    method,
                    f"{path}/status",
                    query={"fieldManager": "epp"},
                    body=body,
                    content_type="application/merge-patch+json",
                )
        except Unreachable as error:
            await self._pause(ref, StatusFailure.UNREACHABLE, str(error), None)
            return None
        if reply.status == 429:
            await self._pause(ref, StatusFailure.THROTTLED, reply.message, reply.retry_after_s)
            return None
        if reply.status == 401 or reply.status >= 500:
            await self._pause(ref, StatusFailure.UNAVAILABLE, reply.message, reply.retry_after_s)
            return None
        if self._trouble.failures:
            log.info("statuses are written again")
            self._trouble.reset()
        if reply.status == 404:
            self._failures[StatusFailure.GONE] += 1
            self._forget(ref)
            return None
        return reply

    async def _pause(
        self, ref: ObjectRef, failure: StatusFailure, why: str, retry_after_s: float | None
    ) -> None:
        self._failures[failure] += 1
        if not self._trouble.failures:
            log.warning("statuses can't be written now, which is tried again", why=why)
        self._agenda.add(ref)
        await self._sleep(self._trouble.next_s(retry_after_s))


def _plain(condition: Condition) -> dict[str, str | int]:
    """A condition for the API server: complete, since metav1 requires also what is empty."""
    plain: dict[str, str | int] = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
    }
    if condition.observed_generation:
        plain["observedGeneration"] = condition.observed_generation
    return plain
