"""Tells the owner of an object what is wrong with it, as Kubernetes Events: `kubectl describe` shows them.

- Telling never waits and never fails. Whoever tells too much loses the oldest, which is counted.
- The same said again within an hour raises the count of the Event that is there, at most once a minute.
- Only the leader tells. A standby keeps what is new of the last hour, and tells it when it begins to lead, since nobody
  may have led before. An Event's name says what it tells, so what a former leader told is found there, not told twice.
- Events are written at a bounded rate, more seldom while the API server fails, and not at all for ten minutes at a
  time while they are forbidden. What could not be told within an hour is dropped.

They are Events of the core group: `kubectl get events` and `kubectl describe` show those with their counts, and the
roles that pickers have always had allow them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog

from epp.api.conditions import cut
from epp.api.problem import Severity
from epp.kube.agenda import Agenda
from epp.kube.connection import Unreachable
from epp.kube.errors import UNREADABLE
from epp.kube.pace import Backoff, TokenBucket, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from epp.api.changes import Note
    from epp.api.objects import ObjectRef
    from epp.api.problem import Problem
    from epp.kube.connection import ApiServer, Reply

WRITES_PER_S: Final = 5.0
BURST: Final = 20
MOST_REMEMBERED: Final = 1000
MOST_PENDING: Final = 200
SAME_S: Final = 3600.0
"""For how long the same is the same Event; the API server keeps Events for as long by default."""
RAISE_INTERVAL_S: Final = 60.0
DENIED_PAUSE_S: Final = 600.0
MOST_PAUSE_S: Final = 60.0
LOOK_AGAIN_S: Final = 10.0
"""A standby looks so often whether it leads, in case that began without anybody saying so."""
MOST_MESSAGE_BYTES: Final = 1024
_MOST_NAME: Final = 253
_REMEDY: Final = (
    "to have them written, give the picker's service account a Role with the verbs create and patch on events"
)
_VERSIONS: Final = {
    "InferencePool": "v1",
    "InferenceObjective": "v1alpha2",
    "InferenceModelRewrite": "v1alpha2",
}
"""The kinds whose owners are told something."""

log = structlog.get_logger()


class NoticeKind(Enum):
    """How an Event is to be taken."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Notice(NamedTuple):
    """What the owner of an object should know."""

    ref: ObjectRef
    kind: NoticeKind
    reason: str
    """One word for machines, in camel case."""
    message: str


@dataclass(frozen=True, slots=True)
class NoticeStatistics:
    """What was told so far."""

    pending: int
    created: int
    raised: int
    """Events that were there and were told again."""
    dropped: int
    """What nobody was told although we led: too much at once, too late, or forbidden."""
    failures: int
    """Requests that failed, whatever became of them."""


class _Key(NamedTuple):
    """What is the same when it is told again."""

    uid: str
    notice: Notice


class _Stored(msgspec.Struct):
    """An Event as the API server has it."""

    count: int = 1


_STORED = msgspec.json.Decoder(_Stored)


@dataclass(slots=True)
class _Event:
    """What was told, and what the API server knows of it."""

    first_s: float
    """Wall time, as `last_s`."""
    last_s: float
    count: int = 1
    is_there: bool = False
    """Whether the API server has it, by all we know."""
    written: int | None = None
    """The count in the API server; None if nobody told us."""
    raise_s: float = 0.0
    """From when on, by the clock, its count may be written again."""


class Notices:
    """Writes Events about the objects in one namespace, while `leading`."""

    def __init__(
        self,
        server: ApiServer,
        *,
        namespace: str,
        reporter: str,
        instance: str,
        leading: Callable[[], bool],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._reporter = reporter
        self._instance = instance
        self._leading = leading
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._events: OrderedDict[_Key, _Event] = OrderedDict()
        """The ones that were told last come last."""
        self._agenda: Agenda[_Key] = Agenda(clock=clock, sleep=sleep)
        self._bucket = TokenBucket(per_second=WRITES_PER_S, burst=BURST, clock=clock, sleep=sleep)
        self._trouble = Backoff(first_s=0.5, most_s=MOST_PAUSE_S)
        self._denied_until_s: float | None = None
        self._refused: set[str] = set()
        """The reasons of Events that the API server did not take, which the log was told."""
        self._elected = asyncio.Event()
        self._created = 0
        self._raised = 0
        self._dropped = 0
        self._failures = 0

    def tell(self, ref: ObjectRef, uid: str, *, kind: NoticeKind, reason: str, message: str) -> None:
        """Something that the owner of this object should know. Returns at once."""
        if ref.kind not in _VERSIONS:
            return
        now_s = self._wall_clock()
        key = _Key(uid, Notice(ref, kind, reason, cut(message, most_bytes=MOST_MESSAGE_BYTES)))
        event = self._events.pop(key, None)
        if event is None or now_s - event.last_s >= SAME_S:
            event = _Event(now_s, now_s)
        else:
            event.count += 1
            event.last_s = now_s
        self._events[key] = event
        if event.is_there:
            self._agenda.add_later(key, not_before_s=event.raise_s)
        else:
            self._agenda.add(key)
        self._bound()

    def begin_leading(self) -> None:
        """Leadership begins: what was kept until now is told."""
        self._elected.set()

    def statistics(self) -> NoticeStatistics:
        """A snapshot, for metrics."""
        return NoticeStatistics(len(self._agenda), self._created, self._raised, self._dropped, self._failures)

    async def run(self) -> None:
        """Writes, until cancelled."""
        while True:
            if not self._leading():
                await until(self._leading, self._elected, look_every_s=LOOK_AGAIN_S, sleep=self._sleep)
                self._forget_old()
            key = await self._agenda.take()
            event = self._events.get(key)
            if event is None or event.written == event.count:
                continue
            if event.is_there and self._clock() < event.raise_s:
                self._agenda.add_later(key, not_before_s=event.raise_s)
                continue
            await self._bucket.take()
            if not self._leading():
                self._agenda.add(key)
            elif self._denied() or self._is_old(event):
                self._drop(key)
            else:
                await self._write(key, event)

    def _bound(self) -> None:
        while len(self._agenda) > MOST_PENDING:
            given_up = self._agenda.give_up_one()
            event = self._events.get(given_up)
            if event is not None and not event.is_there:
                self._drop(given_up)
        while len(self._events) > MOST_REMEMBERED:
            self._agenda.discard(self._events.popitem(last=False)[0])

    def _drop(self, key: _Key) -> None:
        if self._leading():  # what a standby doesn't keep, the leader has told
            self._dropped += 1
        self._forget(key)

    def _forget(self, key: _Key) -> None:
        self._events.pop(key, None)
        self._agenda.discard(key)

    def _forget_old(self) -> None:
        """What was kept for too long may not be true any more; who led then has told it."""
        for key in [key for key, event in self._events.items() if self._is_old(event)]:
            self._forget(key)

    def _is_old(self, event: _Event) -> bool:
        return self._wall_clock() - event.last_s >= SAME_S

    def _denied(self) -> bool:
        return self._denied_until_s is not None and self._clock() < self._denied_until_s

    async def _write(self, key: _Key, event: _Event) -> None:
        event.raise_s = self._clock() + RAISE_INTERVAL_S
        count, path = event.count, f"/api/v1/namespaces/{key.notice.ref.namespace or self._namespace}/events"
        name = _name(key)
        try:
            if not event.is_there:
                reply = await self._server.request("POST", path, body=self._document(key, event, name))
            else:
                change: dict[str, object] = {"lastTimestamp": _timestamp(event.last_s)}
                if event.written is not None:
                    change["count"] = count
                reply = await self._server.request(
                    "PATCH", f"{path}/{name}", body=change, content_type="application/merge-patch+json"
                )
        except Unreachable as error:
            await self._pause(key, str(error), None)
            return
        if reply.status == 201:
            self._created += 1
            event.is_there = True
        elif reply.status == 200:
            self._raised += 1
            if event.written is None:  # whoever told it before has counted it
                stored = _stored_count(reply)
                event.count, count = stored + event.count - count, stored
        else:
            await self._failed(key, event, reply)
            return
        event.written = count
        self._denied_until_s = None
        self._recovered()

    async def _failed(self, key: _Key, event: _Event, reply: Reply) -> None:
        if reply.status in {401, 429} or reply.status >= 500:
            await self._pause(key, reply.message, reply.retry_after_s)
            return
        self._recovered()
        if reply.status == 409:
            event.is_there, event.raise_s = True, 0.0  # it was told before: by another leader, or an hour ago
            self._agenda.add(key)
            return
        self._failures += 1
        if reply.status == 404 and event.is_there:
            event.is_there, event.written = False, None  # its time is over
            self._agenda.add(key)
            return
        if reply.status == 403:
            if self._denied_until_s is None:
                log.warning("Events can't be written", why=reply.message, remedy=_REMEDY)
            self._denied_until_s = self._clock() + DENIED_PAUSE_S
        elif key.notice.reason not in self._refused:
            self._refused.add(key.notice.reason)
            log.warning("the API server refuses an Event", reason=key.notice.reason, why=reply.message)
        self._drop(key)

    async def _pause(self, key: _Key, why: str, retry_after_s: float | None) -> None:
        self._failures += 1
        if not self._trouble.failures:
            log.warning("Events can't be written now, which is tried again", why=why)
        self._agenda.add(key)
        self._bound()
        await self._sleep(self._trouble.next_s(retry_after_s))

    def _recovered(self) -> None:
        if self._trouble.failures:
            log.info("Events are written again")
            self._trouble.reset()

    def _document(self, key: _Key, event: _Event, name: str) -> dict[str, object]:
        ref, kind, reason, message = key.notice
        namespace = ref.namespace or self._namespace
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": f"{ref.group}/{_VERSIONS[ref.kind]}",
                "kind": ref.kind,
                "namespace": namespace,
                "name": ref.name,
                "uid": key.uid,
            },
            "type": kind.value,
            "reason": reason,
            "message": message,
            "count": event.count,
            "firstTimestamp": _timestamp(event.first_s),
            "lastTimestamp": _timestamp(event.last_s),
            "source": {"component": self._reporter},
            "reportingComponent": self._reporter,
            "reportingInstance": self._instance,
        }


def notice_of(note: Note) -> Notice | None:
    """What the owner of an object is to be told of a note about it; None if it is not worth an Event."""
    ref, problem = note
    if ref is None or ref.kind not in _VERSIONS or problem.severity not in {Severity.ERROR, Severity.WARNING}:
        return None
    return Notice(ref, NoticeKind.WARNING, _reason(problem), str(problem))


def _reason(problem: Problem) -> str:
    """One word for what is wrong with a field."""
    match problem.path:
        case ():
            return "NeedsMending"
        case ("spec", "poolRef", *_):
            return "InvalidPoolRef"
        case ("metadata", "name") if problem.severity is Severity.WARNING:
            return "Superseded"  # names that the API server takes are right; another object has it, too
        case ("metadata", "annotations", *_):
            return "InvalidAnnotation"
        case _:
            return "InvalidField"


def _name(key: _Key) -> str:
    """The object's and what is told of it: the same from everybody who tells it, and from nobody else."""
    ref, kind, reason, message = key.notice
    told = "\0".join((key.uid, *ref, kind.value, reason, message))
    suffix = f".{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    return ref.name[: _MOST_NAME - len(suffix)].rstrip("-.") + suffix


def _stored_count(reply: Reply) -> int:
    try:
        return max(_STORED.decode(reply.body).count, 1)
    except UNREADABLE:
        return 1


def _timestamp(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
