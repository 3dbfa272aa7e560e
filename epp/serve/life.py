"""The life of a running picker: ready or not, and the steps of stopping.

From the first SIGTERM or SIGINT: another replica may lead, and once it does this one is not ready any more; everything
is still served, for `--drain-timeout`. Then what is queued, and whoever still comes, is refused, and running responses
go on until they end or for `--stream-drain-timeout`. A second signal goes on to the next step at once, and so does the
first SIGINT: it comes from a person at a terminal, and no gateway has to be given time to notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Protocol

import structlog

from epp.core.events import Draining
from epp.extproc.health import Serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from epp.core.statistics import Statistics
    from epp.extproc.health import HealthServer
    from epp.extproc.transports.transport import Transport
    from epp.serve.director import Director
    from epp.serve.settings import ServeSettings

_GOODBYE_S = 1.0
"""Gateways are told to open no more streams here; those that are on their way until they have heard it are refused."""

log = structlog.get_logger()


class Follower(Protocol):
    """Keeps the picker up to date."""

    async def follow(self) -> None:
        """Until cancelled."""


class Succession(Protocol):
    """Lets another replica take this one's place."""

    async def hand_over(self) -> None:
        """Stop leading. Takes a few seconds at most."""

    async def until_succeeded(self) -> None:
        """Until gateways can be sent elsewhere."""


class Alone:
    """There is no other replica."""

    async def hand_over(self) -> None:
        """Nobody would take it."""

    async def until_succeeded(self) -> None:
        """Nobody will come."""


class Life:
    """One picker, from ready to gone."""

    def __init__(
        self,
        settings: ServeSettings,
        *,
        director: Director,
        extproc: Transport,
        health: HealthServer,
        statistics: Callable[[], Statistics],
        obstacles: Sequence[Callable[[], str | None]],
        succession: Succession,
    ) -> None:
        """Prepare. Each of `obstacles` says why the picker isn't ready, or None."""
        self._settings = settings
        self._director = director
        self._extproc = extproc
        self._health = health
        self._statistics = statistics
        self._obstacles = obstacles
        self._succession = succession
        self._draining = False
        self._was_ready = False
        self._interrupted = False
        self._stop = asyncio.Event()
        self._said: str | None = ""
        """Why it was not ready when the log last heard of it; None if it was."""

    def why_not_ready(self) -> str | None:
        """What readiness waits for; None if ready."""
        if self._draining:
            return "stopping"
        return next((reason for obstacle in self._obstacles if (reason := obstacle()) is not None), None)

    def readiness_may_have_changed(self) -> None:
        """Tell the probes, and the log if it is news."""
        reason = self.why_not_ready()
        self._health.set_ready(Serving.NO if reason else Serving.YES)
        if reason == self._said or self._draining:
            return
        if reason is None:
            log.info("ready")
            self._was_ready = True
        else:
            say = log.warning if self._was_ready else log.info
            say("not ready", why=reason)
        self._said = reason

    async def run_until_stopped(self, follower: Follower) -> None:
        """Follow the objects until a signal, then go through the steps of stopping, still following."""
        self.readiness_may_have_changed()
        following = asyncio.create_task(follower.follow())
        stopping = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        try:
            for task in done:
                task.result()
            await self._wind_down()
        finally:
            for task in (following, stopping):
                task.cancel()
            ended, _ = await asyncio.gather(following, stopping, return_exceptions=True)
            if isinstance(ended, Exception):
                log.error("following the objects failed", exc_info=ended)

    async def _wind_down(self) -> None:
        settings = self._settings
        handing_over = asyncio.create_task(self._succession.hand_over())
        stepping_aside = asyncio.create_task(self._step_aside(handing_over))
        if not self._interrupted and (self._was_ready or self._extproc.streams):
            log.info(
                "stopping: still serving; a second signal goes on at once", seconds=settings.drain_timeout_s
            )
            await self._pause(settings.drain_timeout_s)
        stepping_aside.cancel()
        self._refuse_readiness()
        queued = self._statistics().queued_requests
        log.info("stopping: queued requests are refused, running responses go on", queued=queued)
        self._director.feed(Draining())
        if not await self._finished(settings.stream_drain_timeout_s):
            log.warning("stopping: running responses are cut off", streams=self._extproc.streams)
        await self._extproc.stop(_GOODBYE_S)
        await asyncio.gather(handing_over, stepping_aside, return_exceptions=True)
        log.info("stopped")

    async def _step_aside(self, handing_over: asyncio.Task[None]) -> None:
        """Send gateways elsewhere, once there is an elsewhere."""
        await asyncio.wait({handing_over})
        await self._succession.until_succeeded()
        self._refuse_readiness()

    def _refuse_readiness(self) -> None:
        self._draining = True
        self.readiness_may_have_changed()

    def _interrupt(self) -> None:
        self._interrupted = True
        self._stop.set()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless another signal comes."""
        self._stop.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _finished(self, seconds: float) -> bool:
        """Wait until no stream is open, unless another signal comes."""
        self._stop.clear()
        hurried = asyncio.create_task(self._stop.wait())
        drained = asyncio.create_task(self._extproc.drained(seconds))
        await asyncio.wait({hurried, drained}, return_when=asyncio.FIRST_COMPLETED)
        finished = drained.done() and drained.result()
        for task in (hurried, drained):
            task.cancel()
        await asyncio.gather(hurried, drained, return_exceptions=True)
        return finished

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Listen to signals from here on: before a port opens, or one that comes early would end us without a word."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
