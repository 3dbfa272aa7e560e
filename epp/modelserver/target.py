"""One endpoint's scrapes, one after the other.

- Each ends in exactly one report, at the latest with the first tick after the timeout. Never two at once.
- `ask` is answered by a scrape that is sent after the call: at once, or, when one is under way, right after it.
- After `stop` nothing is reported.

A target has no timer: its owner ticks all of them together. Scrapes that fall due in the same tick are sent back to
back, and the process wakes a few dozen times a second instead of a thousand.
"""

from __future__ import annotations

import asyncio
import math
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from epp.core.endpoint import Contact
from epp.core.events import Scraped
from epp.modelserver.connection import PageAddress, ServerConnection, connect
from epp.modelserver.failures import FailureKind, ScrapeFailure

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from epp.core.endpoint import EndpointSpec, EngineSample
    from epp.modelserver.engines import PageReader
    from epp.modelserver.response import Response

JITTER = 0.25
"""How far a pause may differ from the interval, as a share of it, so that endpoints don't march in step."""


class _State(Enum):
    IDLE = auto()
    UNDER_WAY = auto()
    STOPPED = auto()


class Report(Protocol):
    """Who hears of every scrape."""

    def __call__(self, target: Target, scraped: Scraped, failure: ScrapeFailure | None, /) -> None:
        """`failure` says why `scraped` has no sample."""


class Target:
    """Scrapes one endpoint, from its first tick to `stop`."""

    def __init__(
        self,
        endpoint: EndpointSpec,
        *,
        address: PageAddress,
        reader: PageReader,
        report: Report,
        clock: Callable[[], float],
        interval_s: float,
        timeout_s: float,
        jitter: random.Random,
    ) -> None:
        self.endpoint = endpoint
        self.reader = reader
        self._address = address
        self._request = address.request()
        self._report = report
        self._clock = clock
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._jitter = jitter
        self._connection: ServerConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._state = _State.IDLE
        self._due_s = -math.inf
        self._deadline_s = math.inf
        """When the scrape that is under way has taken too long."""
        self._sent_s = 0.0
        self._asked = False
        self._reused = False
        """Whether the scrape under way was sent on a connection that had already served one."""
        # The first pause has any length up to the interval: endpoints that come together don't stay together.
        self._pause_s = interval_s * jitter.random()

    def tick(self, now_s: float, *, horizon_s: float) -> None:
        """Begins a scrape that is due by the horizon, and ends one that takes too long."""
        if self._state is _State.IDLE and horizon_s >= self._due_s:
            self._begin(now_s)
        elif self._state is _State.UNDER_WAY and now_s >= self._deadline_s:
            self._abandon()
            message = f"no complete answer within {self._timeout_s:g} s"
            self._finish(None, ScrapeFailure(FailureKind.TIMEOUT, message))

    def ask(self) -> None:
        """Wants a scrape that is sent from now on."""
        if self._state is _State.IDLE:
            self._begin(self._clock())
        else:
            self._asked = True

    def stop(self) -> None:
        """Gives up what is under way."""
        self._state = _State.STOPPED
        self._abandon()

    async def stopped(self) -> None:
        """Returns when, after `stop`, no task and no socket is left."""
        if self._connecting is not None:
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._connection is not None:
            await self._connection.lost()

    def _begin(self, now_s: float) -> None:
        self._state = _State.UNDER_WAY
        self._asked = False
        self._sent_s = now_s
        self._due_s = now_s + self._pause_s
        self._pause_s = self._interval_s * (1 + JITTER * (2 * self._jitter.random() - 1))
        self._deadline_s = now_s + self._timeout_s
        if self._connection is not None and self._connection.is_open:
            self._reused = True
            self._connection.ask(self._request, self._heard)
        else:
            self._connect()

    def _connect(self) -> None:
        self._reused = False
        self._connecting = asyncio.get_running_loop().create_task(self._connect_and_ask())

    async def _connect_and_ask(self) -> None:
        try:
            self._connection = connection = await connect(self._address)
        except ScrapeFailure as failure:
            self._finish(None, failure)
            return
        self._sent_s = self._clock()
        if connection.is_open:
            connection.ask(self._request, self._heard)
        else:
            self._finish(None, ScrapeFailure(FailureKind.CLOSED, "the server hung up at once"))

    def _abandon(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.drop()

    def _heard(self, outcome: Response | ScrapeFailure) -> None:
        if isinstance(outcome, ScrapeFailure):
            assert self._connection is not None
            if outcome.kind is FailureKind.CLOSED and self._reused and self._connection.silent:
                # A server may close a connection that is idle; that says nothing of the server. Ask once more.
                self._connect()
            else:
                self._finish(None, outcome)
        elif outcome.status != 200:
            redirect = f" to {outcome.location!r}" if outcome.location else ""
            message = f"the server answered with status {outcome.status}{redirect}"
            self._finish(None, ScrapeFailure(FailureKind.STATUS, message))
        else:
            try:
                sample = self.reader.read(outcome.body)
            except ScrapeFailure as failure:
                self._finish(None, failure)
            else:
                self._finish(sample, None)

    def _contact(self, failure: ScrapeFailure | None) -> Contact:
        """Only the endpoint's own port says something of the endpoint: pages may be served on another one."""
        refused = failure is not None and failure.kind is FailureKind.REFUSED
        own_port = self.endpoint.address.rpartition(":")[2] == str(self._address.port)
        return Contact.REFUSED if refused and own_port else Contact.REACHED

    def _finish(self, sample: EngineSample | None, failure: ScrapeFailure | None) -> None:
        self._state = _State.IDLE
        scraped = Scraped(self.endpoint.key, self._sent_s, self._clock(), sample, self._contact(failure))
        try:
            self._report(self, scraped, failure)
        except Exception as error:
            # Whoever listens has a bug; the endpoint's next sample is still wanted.
            context = {"message": "a listener to scrapes raised", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        if self._asked and self._state is _State.IDLE:
            self._begin(self._clock())
