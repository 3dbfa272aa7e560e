"""Made-up model servers in virtual time: slots, speeds, a queue of their own, and what they say of themselves."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from epp.core.endpoint import EngineSample
from epp.core.events import Ended, FirstByte, Scraped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.core.actions import Dispatch, Refuse
    from epp.core.events import Event
    from epp.eventlog.codec import Truth
    from epp.eventlog.header import Engine
    from epp.whatif.world import World

_ASKED_AFTER_S = 0.002
"""How long a scrape takes that is asked for."""


class _Server:
    """One of them, at work."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.running: set[int] = set()
        self.waiting: deque[int] = deque()
        self.tokens = 0

    def sample(self) -> EngineSample:
        """What its metrics page says now."""
        return EngineSample(
            len(self.waiting), len(self.running), min(1.0, self.tokens / self.engine.cache_tokens)
        )


class EngineService:
    """Serves what is dispatched, as `epp.whatif.world.Watcher`. An address that it doesn't know serves at once."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        truths: Mapping[int, Truth],
        *,
        scrape_interval_s: float,
        first_bytes: bool,
    ) -> None:
        self._servers = {address: _Server(engine) for address, engine in engines.items()}
        self._truths = truths
        self._interval_s = scrape_interval_s
        self._first_bytes = first_bytes
        self._world: World | None = None
        self._where: dict[int, _Server] = {}

    def attach(self, world: World, begun_s: float) -> None:
        """Serve in this world, and be scraped there."""
        self._world = world
        for number, address in enumerate(self._servers):
            # One after the other, as a scraper does that spreads its work.
            first_s = begun_s + self._interval_s * (number + 1) / len(self._servers)
            world.schedule(first_s, partial(self._scraped, (address, ""), True))

    def dispatched(self, action: Dispatch, now: float, /) -> None:
        """It runs as soon as its server has a slot."""
        server = self._servers.get(action.endpoint.address)
        if server is None or action.request_id not in self._truths:
            self._schedule(now, Ended(action.request_id))
            return
        truth = self._truths[action.request_id]
        self._where[action.request_id] = server
        server.tokens += truth.input_tokens + truth.output_tokens
        if len(server.running) < server.engine.slots:
            self._start(server, action.request_id, now)
        else:
            server.waiting.append(action.request_id)

    def refused(self, action: Refuse, now: float, /) -> None:
        """Nothing to do."""

    def left(self, request_id: int, now: float, /) -> None:
        """Its slot is the next one's."""
        server = self._where.pop(request_id, None)
        if server is None:
            return
        truth = self._truths[request_id]
        server.tokens -= truth.input_tokens + truth.output_tokens
        if request_id in server.running:
            server.running.remove(request_id)
            if server.waiting:
                self._start(server, server.waiting.popleft(), now)
        else:
            server.waiting.remove(request_id)

    def asked(self, key: tuple[str, str], now: float, /) -> None:
        """Answer in a moment."""
        if self._world is not None and key[0] in self._servers:
            self._world.schedule(now + _ASKED_AFTER_S, partial(self._scraped, key, False))

    def _start(self, server: _Server, request_id: int, now: float) -> None:
        truth, engine = self._truths[request_id], server.engine
        server.running.add(request_id)
        first_s = now + truth.input_tokens / engine.prefill_tokens_per_s
        if self._first_bytes:
            self._schedule(first_s, FirstByte(request_id))
        self._schedule(
            first_s + truth.output_tokens / engine.tokens_per_s,
            Ended(request_id, truth.input_tokens, truth.output_tokens),
        )

    def _scraped(self, key: tuple[str, str], again: bool, now: float) -> Event:
        if again and self._world is not None:
            self._world.schedule(now + self._interval_s, partial(self._scraped, key, True))
        return Scraped(key, now, now, self._servers[key[0]].sample())

    def _schedule(self, at_s: float, event: Event) -> None:
        assert self._world is not None  # `attach` comes first
        self._world.schedule(at_s, event)
