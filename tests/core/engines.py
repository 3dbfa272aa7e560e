"""Model servers in virtual time, and the world between them and a controller. Their own truth judges the controller.

An engine has batch slots and a queue of its own; everything that crosses the world takes `transit_s`: a dispatch on
its way to the engine, the end of a response on its way back, each half of a scrape. Nothing here reads the ledger.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Protocol

from epp.core.actions import Dispatch, Evict, Refuse, ScrapeNow, WakeAt
from epp.core.endpoint import EngineSample
from epp.core.events import Cancelled, Ended, EndpointsChanged, Scraped, Tick
from tests.core.building import request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from epp.core.actions import Action
    from epp.core.endpoint import EndpointSpec
    from epp.core.events import Event
    from tests.core.naive import Waiting


class Controlled(Protocol):
    """A controller, and who waits in it: an oracle, or somebody who only looks on."""

    @property
    def queued(self) -> Mapping[int, Waiting]:
        """By id."""

    def handle(self, event: Event, now: float, /) -> list[Action]:
        """The controller's."""


@dataclass(slots=True, eq=False)
class Engine:
    """One model server: `slots` requests at once, the rest waits in it."""

    spec: EndpointSpec
    slots: int
    running: dict[int, float] = field(default_factory=dict)
    """Requests in the batch, and how long each takes."""
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    most_waiting: int = 0
    most_present: int = 0
    answers_scrapes: bool = True

    def sample(self) -> EngineSample:
        """Its metrics page."""
        return EngineSample(
            len(self.waiting), len(self.running), min(1.0, 0.7 * len(self.running) / self.slots)
        )

    @property
    def free(self) -> int:
        """Batch slots that do nothing."""
        return self.slots - len(self.running)


class World:
    """Engines, a judged controller, and what is on its way between them."""

    def __init__(
        self,
        oracle: Controlled,
        engines: list[Engine],
        *,
        seed: int = 1,
        transit_s: float = 0.003,
        scrape_interval_s: float = 0.2,
    ) -> None:
        self.now = 0.0
        self.oracle = oracle
        self.engines = {engine.spec.key: engine for engine in engines}
        self.idle_eligible_slot_s = 0.0
        """Engine truth: slot-seconds that were free while the core held work for them."""
        self.completed: list[tuple[float, int]] = []
        """(when the engine finished it, request)."""
        self.dispatched: dict[int, float] = {}
        """When each request was sent."""
        self.sent_to: dict[int, tuple[str, str]] = {}
        self.refused: dict[int, float] = {}
        self.random = Random(seed)
        self._transit_s = transit_s
        self._scrape_interval_s = scrape_interval_s
        self._service_s: dict[int, float] = {}
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._appointments = 0
        self._wake_s: float | None = None
        self._last_id = 0
        self.tell(EndpointsChanged(tuple(engine.spec for engine in engines)))
        for number, engine in enumerate(engines):
            self.at(scrape_interval_s * number / len(engines), partial(self._scrape_regularly, engine))

    # ------------------------------------------------------------------ the time

    def at(self, at_s: float, do: Callable[[], object]) -> None:
        """Make an appointment."""
        self._appointments += 1
        heappush(self._agenda, (at_s, self._appointments, do))

    def run(self, until_s: float) -> None:
        """Let the world go on until then."""
        while True:
            next_s = self._agenda[0][0] if self._agenda else until_s
            if self._wake_s is not None and self._wake_s <= min(next_s, until_s):
                self._pass_to(self._wake_s)
                self.tell(Tick())
            elif self._agenda and next_s <= until_s:
                at_s, _, do = heappop(self._agenda)
                self._pass_to(at_s)
                do()
            else:
                break
        self._pass_to(until_s)

    def _pass_to(self, at_s: float) -> None:
        elapsed_s = max(0.0, at_s - self.now)
        if elapsed_s and self.oracle.queued:
            for engine in self.engines.values():
                if engine.free:
                    self.idle_eligible_slot_s += elapsed_s * min(engine.free, self._wanting(engine.spec))
        self.now = max(self.now, at_s)

    def _wanting(self, spec: EndpointSpec) -> int:
        requests = [waiting.request for waiting in self.oracle.queued.values()]
        return sum(request.need for request in requests if request.eligibility.admits(spec))

    # ------------------------------------------------------------- towards the core

    def tell(self, event: Event) -> None:
        """Something happens to the core, and what it wants done gets under way."""
        self._wake_s = None
        for action in self.oracle.handle(event, self.now):
            self._carry_out(action)

    def arrive(self, service_s: float, priority: int = 0, tenant: str = "tenant", **fields: object) -> int:
        """A client sends a request that keeps an engine busy for `service_s`."""
        self._last_id += 1
        self._service_s[self._last_id] = service_s
        self.tell(request(self._last_id, priority, tenant, size_bytes=100, **fields))
        return self._last_id

    def cancel(self, request_id: int) -> None:
        """A client goes away; the engine hears of it at the same time."""
        for engine in self.engines.values():
            if engine.running.pop(request_id, None) is not None:
                self._admit(engine)
            engine.waiting = deque(entry for entry in engine.waiting if entry[0] != request_id)
        self._service_s.pop(request_id, None)
        self.tell(Cancelled(request_id))

    def _carry_out(self, action: Action) -> None:
        match action:
            case Dispatch(request_id, spec):
                self.dispatched[request_id] = self.now
                self.sent_to[request_id] = spec.key
                engine = self.engines[spec.key]
                self.at(self.now + self._transit_s, partial(self._receive, engine, request_id))
            case Refuse(request_id):
                self.refused[request_id] = self.now
            case ScrapeNow(key):
                self._scrape(self.engines[key])
            case WakeAt(at_s):
                self._wake_s = at_s
            case Evict():
                pass

    # ---------------------------------------------------------- towards the engines

    def _receive(self, engine: Engine, request_id: int) -> None:
        if request_id in self._service_s:
            engine.waiting.append((request_id, self._service_s[request_id]))
            self._admit(engine)
            engine.most_waiting = max(engine.most_waiting, len(engine.waiting))
            engine.most_present = max(engine.most_present, len(engine.waiting) + len(engine.running))

    def _admit(self, engine: Engine) -> None:
        while engine.waiting and engine.free:
            request_id, service_s = engine.waiting.popleft()
            engine.running[request_id] = service_s
            self.at(self.now + service_s, partial(self._complete, engine, request_id))

    def _complete(self, engine: Engine, request_id: int) -> None:
        if engine.running.pop(request_id, None) is None:
            return
        self.completed.append((self.now, request_id))
        self._admit(engine)
        self.at(self.now + self._transit_s, partial(self.tell, Ended(request_id)))

    # ------------------------------------------------------------------- the scrapes

    def _scrape_regularly(self, engine: Engine) -> None:
        self._scrape(engine)
        self.at(self.now + self._scrape_interval_s, partial(self._scrape_regularly, engine))

    def _scrape(self, engine: Engine) -> None:
        sent_s = self.now

        def look() -> None:
            seen = engine.sample() if engine.answers_scrapes else None
            self.at(
                self.now + self._transit_s,
                lambda: self.tell(Scraped(engine.spec.key, sent_s, self.now, seen)),
            )

        self.at(self.now + self._transit_s, look)
