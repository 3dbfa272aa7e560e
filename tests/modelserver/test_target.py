"""One endpoint's schedule, in virtual time and without sockets."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from epp.config.scrape import BUILT_IN_ENGINES
from epp.core.endpoint import EndpointSpec
from epp.core.events import Scraped
from epp.modelserver import target as module
from epp.modelserver.connection import PageAddress
from epp.modelserver.engines import PageReader
from epp.modelserver.failures import FailureKind, ScrapeFailure
from epp.modelserver.response import Connection, Response
from epp.modelserver.target import JITTER, Target

PAGE = b"vllm:num_requests_running 1\nvllm:num_requests_waiting 2\nvllm:kv_cache_usage_perc 0.5\n"
RESPONSE = Response(200, PAGE, "", Connection.KEPT)
INTERVAL_S = 0.2
TICK_S = INTERVAL_S / 4


class FakeConnection:
    """Remembers who asks."""

    def __init__(self) -> None:
        self.is_open = True
        self.silent = True
        self.hear: Callable[[Response | ScrapeFailure], None] | None = None

    def ask(self, request: bytes, hear: Callable[[Response | ScrapeFailure], None]) -> None:
        """See ServerConnection."""
        assert self.is_open
        assert self.hear is None, "two scrapes at once"
        assert request.startswith(b"GET /metrics HTTP/1.1\r\n")
        self.hear = hear

    def drop(self) -> None:
        """See ServerConnection."""
        self.is_open = False
        self.hear = None

    def answer(self) -> None:
        """The server's page arrives."""
        assert self.hear is not None
        hear, self.hear = self.hear, None
        hear(RESPONSE)


class World:
    """A target, its time, and what it reports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, seed: int = 0, timeout_s: float = 1.0) -> None:
        self.now_s = 1000.0
        self.connection = FakeConnection()
        self.connects = 0
        self.reports: list[tuple[Scraped, ScrapeFailure | None]] = []
        monkeypatch.setattr(module, "connect", self._connect)
        self.target = Target(
            EndpointSpec("10.0.0.1:8000"),
            address=PageAddress("10.0.0.1", 8000, "/metrics", None),
            reader=PageReader(BUILT_IN_ENGINES["vllm"]),
            report=lambda target, scraped, failure: self.reports.append((scraped, failure)),
            clock=lambda: self.now_s,
            interval_s=INTERVAL_S,
            timeout_s=timeout_s,
            jitter=random.Random(seed),
        )

    async def _connect(self, address: PageAddress) -> FakeConnection:
        assert address.port == 8000
        self.connects += 1
        self.connection = FakeConnection()
        return self.connection

    async def tick(self, after_s: float = TICK_S) -> None:
        """Time passes, and the owner ticks."""
        self.now_s += after_s
        self.target.tick(self.now_s, horizon_s=self.now_s + TICK_S / 2)
        await asyncio.sleep(0)  # lets a connection come about

    async def sent(self, ticks: int) -> list[float]:
        """When scrapes were sent during so many ticks, all of which the server answers at once."""
        times = []
        for _ in range(ticks):
            await self.tick()
            if self.connection.hear is not None:
                times.append(self.now_s)
                self.connection.answer()
        return times


async def test_the_mean_pause_is_the_interval_and_endpoints_do_not_march_in_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pauses stay within the jitter of the interval, average to it, and fall evenly on the ticks."""
    phases: Counter[int] = Counter()
    for seed in range(20):
        times = await World(monkeypatch, seed=seed).sent(2000)
        pauses = [later - earlier for earlier, later in pairwise(times[1:])]
        assert sum(pauses) / len(pauses) == pytest.approx(INTERVAL_S, rel=0.03)
        assert min(pauses) >= INTERVAL_S * (1 - JITTER) - TICK_S / 2 - 1e-6
        assert max(pauses) <= INTERVAL_S * (1 + JITTER) + TICK_S / 2 + 1e-6
        phases.update(round(time / TICK_S) % 4 for time in times)
    assert min(phases.values()) > 0.8 * max(phases.values())


async def test_the_schedule_is_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed, one schedule; another seed, another."""
    one, same, other = [await World(monkeypatch, seed=seed).sent(200) for seed in (1, 1, 2)]
    assert one == same != other


async def test_a_scrape_that_takes_too_long_is_given_up_on_the_next_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The timeout is reported once, the connection is dropped, and the next scrape has a new one."""
    world = World(monkeypatch, timeout_s=1.0)
    await world.tick(0.0)
    stuck = world.connection
    await world.tick(0.99)
    assert world.reports == []
    assert stuck.hear is not None
    await world.tick(0.02)
    ((scraped, failure),) = world.reports
    assert failure is not None
    assert failure.kind is FailureKind.TIMEOUT
    assert (scraped.sample, scraped.sent_s, scraped.received_s) == (None, 1000.0, pytest.approx(1001.01))
    assert not stuck.is_open
    await world.tick(0.02)
    assert world.connects == 2
    world.connection.answer()
    assert world.reports[1][1] is None
    assert world.reports[1][0].sample is not None


async def test_an_idle_connection_that_dies_with_the_request_is_replaced_and_a_talking_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hang-up without a byte on a reused connection is tried again; after a byte, or twice, it is a failure."""
    world = World(monkeypatch)
    hung_up = ScrapeFailure(FailureKind.CLOSED, "the server hung up")

    def hang_up(*, silent: bool) -> None:
        connection, hear = world.connection, world.connection.hear
        assert hear is not None
        connection.drop()
        connection.silent = silent
        hear(hung_up)

    await world.tick(0.0)
    world.connection.answer()
    await world.tick(INTERVAL_S)
    hang_up(silent=True)
    await asyncio.sleep(0)
    assert (world.connects, len(world.reports)) == (2, 1)
    hang_up(silent=True)
    assert world.reports[1][1] is hung_up
    await world.tick(2 * INTERVAL_S)
    world.connection.answer()
    await world.tick(2 * INTERVAL_S)
    assert world.connects == 3
    hang_up(silent=False)
    assert [failure for _, failure in world.reports] == [None, hung_up, None, hung_up]


async def test_after_stop_nothing_is_sent_and_nothing_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a tick nor an ask wakes a stopped target, and what was under way is dropped."""
    world = World(monkeypatch)
    await world.tick(0.0)
    world.target.stop()
    assert not world.connection.is_open
    world.target.ask()
    await world.tick(10.0)
    assert (world.connects, world.reports) == (1, [])
