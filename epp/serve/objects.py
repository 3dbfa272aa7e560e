"""The objects of a pool, from files: read, put together, told to the core, and every complaint logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import structlog

from epp.api import Severity
from epp.api.pool import PoolReconciler
from epp.core.events import EndpointsChanged, Event
from epp.files import ObjectFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.api.changes import Changes, Objective
    from epp.config.runtime import Runtime
    from epp.core.endpoint import EndpointSpec
    from epp.files import Delta
    from epp.modelserver.scraper import Scraper
    from epp.serve.settings import ServeSettings

log = structlog.get_logger()


class Objects:
    """What the files say, now and as they change."""

    def __init__(self, settings: ServeSettings, runtime: Runtime) -> None:
        self._runtime = runtime
        self._files = ObjectFiles(settings.objects)
        self._reconciler = PoolReconciler(
            pool_name=settings.pool_name,
            pool_namespace=settings.pool_namespace,
            pool_group=settings.pool_group,
        )
        self._label = settings.pool_name or ""
        self._feed: Callable[[Event], None] | None = None
        self._scraper: Scraper | None = None
        self._changed: Callable[[], None] | None = None
        self._was_empty: str | None = None

    def connect(
        self, *, feed: Callable[[Event], None], scraper: Scraper | None, changed: Callable[[], None]
    ) -> None:
        """Read everything for the first time, and from now on tell of it."""
        self._feed, self._scraper, self._changed = feed, scraper, changed
        self._take(self._files.load())
        if not self._reconciler.endpoints:
            self._log_endpoints(())

    async def follow(self) -> None:
        """Take in what changes, until cancelled."""
        async for delta in self._files.changes():
            self._take(delta)

    def objective(self, name: str) -> Objective | None:
        """The objective of our pool by that name."""
        return self._reconciler.objective(name)

    def pool_name(self) -> str:
        """The pool's name for metrics: the one that is served, else the one that was asked for."""
        pool = self._reconciler.pool
        return pool.name if pool is not None else self._label

    def why_no_pool(self) -> str | None:
        """What is to be said if no pool can be served; None if one is."""
        if self._reconciler.pool is not None:
            return None
        note = self._reconciler.pool_note
        return str(note) if note is not None else "the InferencePool is not known yet"

    def _take(self, delta: Delta) -> None:
        for found in delta.problems:
            _log(found.problem.severity, str(found))
        changes = self._reconciler.apply(upserts=delta.upserts, deletes=delta.deletes)
        for note in changes.notes:
            _log(note.problem.severity, str(self._files.locate(note)))
        self._tell(changes)

    def _tell(self, changes: Changes) -> None:
        assert self._feed is not None
        assert self._changed is not None
        for event in changes.events:
            if isinstance(event, EndpointsChanged):
                endpoints = tuple(each for each in event.endpoints if self._runtime.admits(each))
                if self._scraper is not None:
                    self._scraper.set_endpoints(endpoints)
                self._feed(EndpointsChanged(endpoints))
                self._log_endpoints(endpoints)
            else:
                self._feed(event)
                log.info(
                    "objectives changed",
                    priorities=" ".join(map(str, sorted(event.priorities, reverse=True))),
                )
        self._changed()

    def _log_endpoints(self, endpoints: tuple[EndpointSpec, ...]) -> None:
        if self._reconciler.pool is None:
            log.warning("there is no pool to serve yet", why=self.why_no_pool())
        elif endpoints:
            log.info(
                "endpoints changed",
                count=len(endpoints),
                endpoints=" ".join(each.address for each in endpoints[:16]),
            )
        else:
            log.warning(
                "the pool has no endpoints: requests are held", why=self._reconciler.why_no_endpoints()
            )


def _log(severity: Severity, what: str) -> None:
    match severity:
        case Severity.ERROR | Severity.WARNING:
            log.warning("an object needs mending", problem=what)
        case Severity.INFO:
            log.info("of an object", note=what)
        case Severity.DEBUG:
            log.debug("of an object", note=what)
        case _:
            assert_never(severity)
