"""A running picker, from the first port to the last stream.

Order of starting: objects are read, the metrics and health ports open (not ready), ext_proc opens, scraping starts, and
once the pool is known the picker is ready. Order of stopping, from the first SIGTERM or SIGINT: not ready, while
everything is still served, for `--drain-timeout`; then what is queued, and whoever still comes, is refused, and running
responses go on until they end or for `--stream-drain-timeout`. A second signal goes on to the next step at once, and
so does the first SIGINT: it comes from a person at a terminal, and no gateway has to be given time to notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

from epp import __version__
from epp.config.build import build
from epp.config.memory import memory_limit_bytes
from epp.config.scrape import Scheme
from epp.core import Controller
from epp.core.events import Draining
from epp.extproc.headers import ControlHeaders
from epp.extproc.health import HealthServer, Serving
from epp.extproc.parsers import Parsers
from epp.extproc.request import ConversationSettings
from epp.extproc.server import ExtProcServer, ServerSettings
from epp.extproc.tls import CertificateError, CertificateReload, server_credentials
from epp.modelserver.scraper import Scraper
from epp.observe.http import ObserveServer
from epp.observe.limiter import RateLimitedLog
from epp.observe.metrics import Build, Metrics, Sources
from epp.serve.bookkeeping import Bookkeeping
from epp.serve.director import Director, DirectorSettings
from epp.serve.gateways import PROFILES, advice
from epp.serve.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from epp.config.model import EndpointPickerConfig
    from epp.config.runtime import Runtime
    from epp.config.scrape import ScrapeConfig
    from epp.core.events import Scraped
    from epp.core.statistics import Statistics
    from epp.serve.settings import ServeSettings

_MESSAGE_OVERHEAD_BYTES = 1024 * 1024
"""What a message may be larger than the body it carries."""
_SEED = 0
"""Of tie-breaks and jitter: the same traffic meets the same choices."""

log = structlog.get_logger()


class StartError(Exception):
    """The picker can't start. The message names the flag and the remedy."""


async def serve(settings: ServeSettings, config: EndpointPickerConfig) -> None:
    """Run a picker until it is told to stop. Raises `StartError`."""
    runtime = build(
        config,
        seed=_SEED,
        refresh_interval_s=settings.refresh_metrics_interval_s,
        memory_limit_bytes=memory_limit_bytes(),
    )
    for note in (
        *settings.notes,
        *runtime.notes,
        *advice(PROFILES[settings.gateway_profile], ttl_s=runtime.policy.ttl_s, hold_s=runtime.policy.hold_s),
    ):
        log.warning(note)
    async with contextlib.AsyncExitStack() as stack:
        picker = await _start(settings, runtime, stack)
        _settle_garbage_collector()
        await picker.run_until_stopped()


class _Part(Protocol):
    """Something that listens."""

    async def start(self) -> None:
        """Listen. Raises OSError if the port can't be had."""


class _Picker:
    """The parts, once they run."""

    def __init__(
        self,
        settings: ServeSettings,
        *,
        director: Director,
        extproc: ExtProcServer,
        health: HealthServer,
        objects: Objects,
        statistics: Callable[[], Statistics],
    ) -> None:
        self._settings = settings
        self._director = director
        self._extproc = extproc
        self._health = health
        self._objects = objects
        self._statistics = statistics
        self._draining = False
        self._interrupted = False
        self._stop = asyncio.Event()

    def why_not_ready(self) -> str | None:
        """What readiness waits for; None if ready."""
        if self._draining:
            return "stopping"
        return self._objects.why_no_pool()

    def readiness_may_have_changed(self) -> None:
        """Tell the probes."""
        self._health.set_ready(Serving.NO if self.why_not_ready() else Serving.YES)

    async def run_until_stopped(self) -> None:
        """Follow the objects until a signal, then go through the steps of stopping."""
        with self._signals():
            following = asyncio.create_task(self._objects.follow())
            stopping = asyncio.create_task(self._stop.wait())
            done, _ = await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
            try:
                for task in done:
                    task.result()
                await self._wind_down()
            finally:
                for task in (following, stopping):
                    task.cancel()
                await asyncio.gather(following, stopping, return_exceptions=True)

    async def _wind_down(self) -> None:
        settings = self._settings
        self._draining = True
        self.readiness_may_have_changed()
        if not self._interrupted:
            log.info(
                "stopping: not ready any more, still serving; a second signal goes on at once",
                seconds=settings.drain_timeout_s,
            )
            await self._pause(settings.drain_timeout_s)
        queued = self._statistics().queued_requests
        log.info("stopping: queued requests are refused, running responses go on", queued=queued)
        self._director.feed(Draining())
        if not await self._finished(settings.stream_drain_timeout_s):
            log.warning("stopping: running responses are cut off", streams=self._extproc.streams)
        await self._extproc.stop()
        log.info("stopped")

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
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


async def _start(settings: ServeSettings, runtime: Runtime, stack: contextlib.AsyncExitStack) -> _Picker:
    loop = asyncio.get_running_loop()
    controller = Controller(runtime.policy, now=loop.time())
    objects = Objects(settings, runtime)

    def scraped(event: Scraped) -> None:
        director.feed(event)

    def statistics() -> Statistics:
        return controller.statistics(loop.time())

    scraper = _scraper(settings, runtime, on_scraped=scraped)
    metrics = Metrics(
        sources=Sources(
            pool_name=objects.pool_name,
            detector=lambda: runtime.policy.capacity.name,
            statistics=statistics,
            scrape_failures=lambda: _failures(scraper),
        ),
        build=Build(commit=os.environ.get("EPP_COMMIT", ""), build_ref=__version__),
        clock=loop.time,
    )
    director = Director(
        controller,
        settings=DirectorSettings(
            longest_ttl_s=runtime.policy.ttl_s,
            ignore_subsets=settings.disable_endpoint_subset_filter,
        ),
        objective=objects.objective,
        scrape_now=_ask_nobody if scraper is None else scraper.scrape_now,
        bookkeeping=Bookkeeping(metrics, RateLimitedLog(clock=loop.time), clock=loop.time),
        loop=loop,
    )
    stack.callback(director.close)
    health = HealthServer(settings.grpc_health_port)
    extproc = _extproc(settings, runtime, director=director, health=health)
    picker = _Picker(
        settings, director=director, extproc=extproc, health=health, objects=objects, statistics=statistics
    )
    observe = ObserveServer(
        metrics=metrics,
        statistics=statistics,
        why_not_ready=picker.why_not_ready,
        port=settings.metrics_port,
    )
    parts: tuple[tuple[str, _Part, Callable[[], Awaitable[None]]], ...] = (
        ("--metrics-port", observe, observe.close),
        ("--grpc-health-port", health, health.stop),
        ("--grpc-port", extproc, extproc.stop),
    )
    for flag, part, close in parts:
        try:
            await part.start()
        except OSError as error:
            message = str(error)
            raise StartError(message if flag in message else f"{flag}: {message}") from error
        stack.push_async_callback(close)
    if scraper is not None:
        await scraper.start()
        stack.push_async_callback(scraper.close)
    objects.connect(feed=director.feed, scraper=scraper, changed=picker.readiness_may_have_changed)
    log.info(
        "serving",
        pool=objects.pool_name(),
        grpc_port=extproc.port,
        health_port=health.port,
        metrics_port=observe.port,
        tls=settings.secure_serving,
    )
    return picker


def _failures(scraper: Scraper | None) -> Mapping[str, int]:
    if scraper is None:
        return {}
    return {kind.value: count for kind, count in scraper.statistics().failures.items()}


def _scraper(
    settings: ServeSettings, runtime: Runtime, *, on_scraped: Callable[[Scraped], None]
) -> Scraper | None:
    if runtime.scrape is None:
        return None
    return Scraper(
        config=_scrape_config(settings, runtime.scrape),
        on_scraped=on_scraped,
        clock=asyncio.get_running_loop().time,
        interval_s=settings.refresh_metrics_interval_s,
        seed=_SEED,
    )


def _scrape_config(settings: ServeSettings, configured: ScrapeConfig) -> ScrapeConfig:
    """What upstream's deprecated flags say holds where the configuration says nothing else."""
    return replace(
        configured,
        scheme=Scheme(settings.metrics_scheme) if settings.metrics_scheme else configured.scheme,
        path=settings.metrics_path or configured.path,
        port=settings.metrics_port_override or configured.port,
        insecure_skip_verify=configured.insecure_skip_verify and settings.metrics_insecure_skip_verify,
    )


def _extproc(
    settings: ServeSettings, runtime: Runtime, *, director: Director, health: HealthServer
) -> ExtProcServer:
    largest = settings.max_request_body_bytes + _MESSAGE_OVERHEAD_BYTES
    receive = settings.grpc_max_recv_msg_bytes or largest
    credentials = None
    if settings.secure_serving:
        reload = CertificateReload.ON if settings.enable_cert_reload else CertificateReload.OFF
        try:
            credentials = server_credentials(settings.cert_path, reload=reload)
        except CertificateError as error:
            raise StartError(f"--cert-path: {error}") from error
    return ExtProcServer(
        director,
        conversation=ConversationSettings(
            parsers=Parsers(runtime.parsers),
            max_request_body_bytes=settings.max_request_body_bytes,
            control_headers=(ControlHeaders.KEEP if settings.keep_control_headers else ControlHeaders.REMOVE),
        ),
        settings=ServerSettings(
            port=settings.grpc_port,
            max_receive_bytes=receive,
            max_send_bytes=settings.grpc_max_send_msg_bytes or receive,
        ),
        credentials=credentials,
        health=health.service,
    )


def _settle_garbage_collector() -> None:
    """What exists now lives as long as the process: a full collection need not look at it, nor come often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _ask_nobody(key: tuple[str, str]) -> None:
    """Without scraping there is nobody to ask."""
    del key
