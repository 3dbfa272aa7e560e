"""The objects of a pool, put together and told: to the core, the scraper, the log and whoever else wants to know.

What a source hands over is taken in at once where it is little, so that a new priority counts for the next request;
where it is much, in steps between which the loop goes on. Either way in the order in which it came. Owners hear of it
once nothing is left to be taken in: only then do verdicts fit the objects that the source has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import structlog

from epp.api.problem import Severity
from epp.core.events import EndpointsChanged, Event
from epp.serve.complaints import complain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from epp.api.changes import Batch, Changes, Note, Objective
    from epp.api.objects import ObjectRef
    from epp.api.pool import PoolReconciler
    from epp.api.rewrites import Rewriting
    from epp.core.endpoint import EndpointSpec
    from epp.modelserver.scraper import Scraper
    from epp.serve.sources import Source

_TURNOVER = 250
"""Endpoints that come or go in one step: a few milliseconds of work."""

log = structlog.get_logger()


class Owners(Protocol):
    """Who tells the owners of objects what became of them."""

    def judged(self, refs: Sequence[ObjectRef]) -> None:
        """Everything has been taken in; the status of these objects may have to be written."""

    def noted(self, note: Note) -> None:
        """Something that an owner should know."""


class Objects:
    """What the pool's objects say, now and as they change."""

    def __init__(
        self,
        source: Source,
        reconciler: PoolReconciler,
        *,
        admits: Callable[[EndpointSpec], bool],
        label: str,
    ) -> None:
        self._source = source
        self._reconciler = reconciler
        self._admits = admits
        self._label = label
        self._feed: Callable[[Event], None] | None = None
        self._scraper: Scraper | None = None
        self._changed: Callable[[], None] = _nobody
        self._owners: Owners | None = None
        self._endpoints: tuple[EndpointSpec, ...] = ()
        """As last told to the core."""
        self._declared_models: frozenset[str] = frozenset()
        self._said_empty = False
        self._was_complete = False
        """Everything has been taken in once; from then on, what comes is news for a picker that serves."""
        self._to_judge: dict[ObjectRef, None] = {}
        self._unfinished: deque[Iterator[None]] = deque()
        self._more = asyncio.Event()

    def connect(
        self,
        *,
        feed: Callable[[Event], None],
        scraper: Scraper | None,
        changed: Callable[[], None],
        owners: Owners | None,
    ) -> None:
        """Whom to tell."""
        self._feed, self._scraper, self._changed, self._owners = feed, scraper, changed, owners

    async def follow(self) -> None:
        """Take in what is there and what changes, until cancelled."""
        self._select()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._source.run(self.take))
            group.create_task(self._finish())

    def objective(self, name: str) -> Objective | None:
        """The objective of our pool by that name."""
        return self._reconciler.objective(name)

    def declared_models(self) -> frozenset[str]:
        """The models that pods of the pool declare to serve."""
        return self._declared_models

    def rewriting(self, model: str) -> Rewriting | None:
        """What is asked of the model servers instead of `model`; None if nothing else is."""
        return self._reconciler.rewriting(model)

    def pool_name(self) -> str:
        """The pool's name for metrics: the one that is served, else the one that was asked for."""
        pool = self._reconciler.pool
        return pool.name if pool is not None else self._label

    def why_not_ready(self) -> str | None:
        """What is still missing to serve the pool; None if nothing is."""
        reason = self._source.why_not_synced()
        if reason is not None:
            return reason
        if self._unfinished and not self._was_complete:
            return "the pool's objects are being taken in"
        if self._reconciler.pool is not None:
            return None
        note = self._reconciler.pool_note
        return str(note) if note is not None else "the InferencePool is not known yet"

    @property
    def is_settled(self) -> bool:
        """Whether everything that came has been taken in."""
        return not self._unfinished

    def take(self, batch: Batch) -> None:
        """From the source: objects that came, changed and went."""
        work = self._take_in(batch)
        if self._unfinished or next(work, _DONE) is not _DONE:
            self._unfinished.append(work)
            self._more.set()
        else:
            self._settle()

    async def _finish(self) -> None:
        """Go on with what is too much to be taken in at once."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._unfinished:
                await asyncio.sleep(0)
                if next(self._unfinished[0], _DONE) is _DONE:
                    self._unfinished.popleft()
            self._settle()

    def _settle(self) -> None:
        """Nothing is left to be taken in: tell what that means."""
        self._was_complete = self._was_complete or self._source.why_not_synced() is None
        if self._owners is not None:
            refs, self._to_judge = tuple(self._to_judge), {}
            self._owners.judged(refs)
        self._say_if_empty()
        self._changed()

    def _take_in(self, batch: Batch) -> Iterator[None]:
        """Yields wherever the loop may have its turn; nothing that is left to a later step is urgent."""
        self._to_judge.update(dict.fromkeys(batch.seen))
        for number, changes in enumerate(self._reconciler.steps(batch)):
            if number:
                yield None
            yield from self._tell(changes)
        self._note(batch.notes)

    def _tell(self, changes: Changes) -> Iterator[None]:
        assert self._feed is not None
        self._note(changes.notes)
        self._to_judge.update(dict.fromkeys(changes.judged))
        self._select()
        for event in changes.events:
            if isinstance(event, EndpointsChanged):
                yield from self._set_endpoints(tuple(filter(self._admits, event.endpoints)))
            else:
                self._feed(event)
                log.info(
                    "objectives changed",
                    priorities=" ".join(map(str, sorted(event.priorities, reverse=True))),
                )

    def _select(self) -> None:
        """Say which pods are wanted: those of the pool, which may be there before anything came from the source."""
        pool = self._reconciler.pool
        self._source.select(pool.selector if pool is not None else None)

    def _set_endpoints(self, endpoints: tuple[EndpointSpec, ...]) -> Iterator[None]:
        assert self._feed is not None
        for number, step in enumerate(gradually(self._endpoints, endpoints, most=_TURNOVER)):
            if number:
                yield None
            self._endpoints = step
            self._declared_models = frozenset().union(*(each.models for each in step if each.models))
            if self._scraper is not None:
                self._scraper.set_endpoints(step)
            self._feed(EndpointsChanged(step))
        if endpoints:
            log.info(
                "endpoints changed",
                count=len(endpoints),
                endpoints=" ".join(each.address for each in endpoints[:16]),
            )

    def _note(self, notes: Sequence[Note]) -> None:
        for note in notes:
            if self._owners is None:
                complain(note.problem.severity, self._source.locate(note))
            elif note.ref is None or self._reconciler.concerns(note.ref):
                complain(note.problem.severity, self._source.locate(note))
                self._owners.noted(note)
            else:  # a namespace may have many pools, and each its own picker
                complain(Severity.DEBUG, self._source.locate(note))

    def _say_if_empty(self) -> None:
        """Once per time that the pool is there and has no endpoints."""
        empty = (
            self._reconciler.pool is not None
            and not self._endpoints
            and self._source.why_not_synced() is None
        )
        if empty and not self._said_empty:
            log.warning(
                "the pool has no endpoints: requests are held", why=self._reconciler.why_no_endpoints()
            )
        self._said_empty = empty


_DONE = object()
_Key = tuple[str, str]


def gradually(
    old: tuple[EndpointSpec, ...], new: tuple[EndpointSpec, ...], *, most: int
) -> Iterator[tuple[EndpointSpec, ...]]:
    """From `old` to `new` in steps of at most `most` (2 or more) endpoints that come, go or change; the last is `new`.

    As many come as go in each, so that a pool which is replaced is never small on the way; who comes to an address
    comes in the step in which the one before goes.
    """
    size = most // 2
    if not old:
        # Nobody leaves, so nobody has to be paired: for a large pool that would be more work than a whole step.
        for end in range(size, len(new), size):
            yield new[:end]
        yield new
        return
    current = {each.key: each for each in old}
    goal = {each.key: each for each in new}
    leaving = {key[0]: key for key in current if key not in goal}
    turnover: list[tuple[_Key | None, _Key | None]] = [
        (key, None) for key, each in goal.items() if key in current and current[key] is not each
    ]
    coming = [(key, leaving.pop(key[0], None)) for key in goal if key not in current]
    others = iter(list(leaving.values()))
    turnover += [(key, gone or next(others, None)) for key, gone in coming]
    turnover += [(None, gone) for gone in others]
    rest = iter(turnover)
    for _ in range(size, len(turnover), size):
        for come, gone in islice(rest, size):
            if gone is not None:
                del current[gone]
            if come is not None:
                current[come] = goal[come]
        yield tuple(current.values())
    yield new


def _nobody() -> None:
    """Nobody wants to know."""
