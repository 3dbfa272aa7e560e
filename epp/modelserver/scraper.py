"""Keeps the metrics of a pool's endpoints fresh.

- Endpoints don't know of each other: a slow or broken server costs the others nothing.
- An endpoint that has left the pool is not heard of again.
- What fails is counted by kind. What is logged is bounded: one line when an endpoint's metrics are lost, one when
  they are back, and then none for `NOTICE_INTERVAL_S`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog

from epp.config.scrape import Scheme, ScrapeConfig
from epp.modelserver.connection import PageAddress
from epp.modelserver.engines import PageReader
from epp.modelserver.failures import FailureKind, ScrapeFailure
from epp.modelserver.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from epp.core.endpoint import EndpointSpec
    from epp.core.events import Scraped

DEFAULT_INTERVAL_S = 0.2
DEFAULT_TIMEOUT_S = 1.0
TICKS_PER_INTERVAL = 4
"""How finely the schedule is cut: scrapes due in the same tick go out together (see `target`)."""
NOTICE_INTERVAL_S = 30.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ScrapeNotice:
    """An endpoint's metrics were lost, or are back."""

    endpoint: EndpointSpec
    failure: ScrapeFailure | None
    """Why they were lost; None when they are back."""


@dataclass(frozen=True, slots=True)
class ScrapeStatistics:
    """What the scraper did so far."""

    endpoints: int
    scrapes: int
    failures: Mapping[FailureKind, int]
    """Of those scrapes, by kind; every kind is there."""


def log_notice(notice: ScrapeNotice) -> None:
    """Tells the log."""
    log = structlog.get_logger().bind(endpoint=notice.endpoint.address, name=notice.endpoint.name)
    if notice.failure is None:
        log.info("metrics are read again")
    else:
        log.warning(
            "metrics can't be read, own accounting stands in",
            kind=notice.failure.kind.value,
            detail=notice.failure.detail,
        )


class Scraper:
    """Scrapes the endpoints it was last told of, from `start` to `close`, on the running loop."""

    def __init__(
        self,
        *,
        config: ScrapeConfig,
        on_scraped: Callable[[Scraped], None],
        clock: Callable[[], float],
        interval_s: float = DEFAULT_INTERVAL_S,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        seed: int = 0,
        on_notice: Callable[[ScrapeNotice], None] = log_notice,
    ) -> None:
        self._config = config
        self._on_scraped = on_scraped
        self._clock = clock
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._seed = seed
        self._readers = {name: PageReader(engine) for name, engine in config.engines.items()}
        self._tls = _tls_context(config)
        self._targets = dict[Key, Target]()
        self._leaving = set[asyncio.Task[None]]()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._scrapes = 0
        self._failures: Counter[FailureKind] = Counter()
        self._notices = _Notices(on_notice)

    def set_endpoints(self, endpoints: Sequence[EndpointSpec]) -> None:
        """All endpoints of the pool: new ones are scraped at once, the missing ones no more."""
        wanted = {endpoint.key: endpoint for endpoint in endpoints}
        for key, target in list(self._targets.items()):
            endpoint = wanted.get(key)
            if endpoint is None:
                self._notices.forget(key)
            if endpoint is None or self._reader(endpoint) is not target.reader:
                del self._targets[key]
                self._retire(target)
            else:
                target.endpoint = endpoint
        for key, endpoint in wanted.items():
            if key not in self._targets:
                self._targets[key] = target = self._target(endpoint)
                if self._loop is not None:
                    target.ask()
        self._arm()

    def scrape_now(self, key: Key) -> None:
        """Asks for a sample that is younger than this call; of an unknown endpoint, nothing."""
        target = self._targets.get(key)
        if target is not None and self._loop is not None:
            target.ask()

    def statistics(self) -> ScrapeStatistics:
        """A snapshot, for metrics."""
        failures = MappingProxyType({kind: self._failures[kind] for kind in FailureKind})
        return ScrapeStatistics(len(self._targets), self._scrapes, failures)

    async def start(self) -> None:
        """Begins to scrape."""
        self._loop = asyncio.get_running_loop()
        for target in tuple(self._targets.values()):
            target.ask()
        self._arm()

    async def close(self) -> None:
        """Ends every scrape; returns when no task and no socket is left."""
        for target in self._targets.values():
            self._retire(target)
        self._targets.clear()
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await asyncio.gather(*self._leaving)

    def _arm(self) -> None:
        """Sees to it that there will be a tick, while there is something to scrape."""
        if self._loop is not None and self._timer is None and self._targets:
            self._timer = self._loop.call_later(self._interval_s / TICKS_PER_INTERVAL, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._arm()
        now_s = self._clock()
        # What falls due before the middle between two ticks is early rather than late: the mean is the interval.
        horizon_s = now_s + self._interval_s / TICKS_PER_INTERVAL / 2
        for target in tuple(self._targets.values()):
            target.tick(now_s, horizon_s=horizon_s)

    def _retire(self, target: Target) -> None:
        target.stop()
        if self._loop is not None:
            task = self._loop.create_task(target.stopped())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def _reader(self, endpoint: EndpointSpec) -> PageReader:
        return self._readers[self._config.engine_of(endpoint.labels).name]

    def _target(self, endpoint: EndpointSpec) -> Target:
        reader = self._reader(endpoint)
        host, _, port = endpoint.address.rpartition(":")
        return Target(
            endpoint,
            address=PageAddress(
                host=host.removeprefix("[").removesuffix("]"),
                port=self._config.port or int(port),
                path=self._config.path or reader.engine.path,
                tls=self._tls,
            ),
            reader=reader,
            report=self._report,
            clock=self._clock,
            interval_s=self._interval_s,
            timeout_s=self._timeout_s,
            jitter=random.Random(f"{self._seed}/{endpoint.address}/{endpoint.uid}"),  # noqa: S311 - no secret
        )

    def _report(self, target: Target, scraped: Scraped, failure: ScrapeFailure | None, /) -> None:
        self._scrapes += 1
        if failure is not None:
            self._failures[failure.kind] += 1
        self._notices.weigh(target.endpoint, failure, now_s=scraped.received_s)
        self._on_scraped(scraped)


class _Notices:
    """Which scrapes are worth a notice: the first that fails, and the first that works again."""

    def __init__(self, on_notice: Callable[[ScrapeNotice], None]) -> None:
        self._on_notice = on_notice
        self._lost = set[Key]()
        """Endpoints whose loss was told and whose return was not."""
        self._silent_until_s = dict[Key, float]()

    def weigh(self, endpoint: EndpointSpec, failure: ScrapeFailure | None, *, now_s: float) -> None:
        key = endpoint.key
        if failure is None:
            if key in self._lost:
                self._lost.discard(key)
                self._on_notice(ScrapeNotice(endpoint, None))
        elif key not in self._lost and now_s >= self._silent_until_s.get(key, now_s):
            self._lost.add(key)
            self._silent_until_s[key] = now_s + NOTICE_INTERVAL_S
            self._on_notice(ScrapeNotice(endpoint, failure))

    def forget(self, key: Key) -> None:
        self._lost.discard(key)
        self._silent_until_s.pop(key, None)


def _tls_context(config: ScrapeConfig) -> ssl.SSLContext | None:
    if config.scheme is Scheme.HTTP:
        return None
    context = ssl.create_default_context()
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
