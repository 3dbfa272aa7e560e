"""Seeded random events in virtual time, as rough as the world can be, from a driver that obeys `WakeAt`.

All times are multiples of 1/1024 s, so sums of them are exact and deadlines can be judged to the last bit. A storm
needs only a `handle`: a controller's, or an oracle's that judges it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from epp.core.actions import Action, Dispatch, Evict, Refuse, ScrapeNow, WakeAt
from epp.core.eligibility import ANY, Eligibility, Subset
from epp.core.endpoint import Contact, EndpointSpec, EngineSample
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    Event,
    FirstByte,
    ObjectivesChanged,
    PolicyChanged,
    Scraped,
    Tick,
)
from tests.core.building import endpoint

if TYPE_CHECKING:
    from epp.core.policy import FlowControlPolicy

GRID = 1024
"""Moments per second."""
Handle = Callable[[Event, float], list[Action]]


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How a storm blows: what happens how often, and to whom."""

    priorities: tuple[int, ...] = (-10, 0, 0, 5, 10)
    tenants: tuple[str, ...] = ("ada", "bob", "cyd", "dee")
    endpoints: int = 4
    ttls_s: tuple[float | None, ...] = (None, None, 0.0, 0.125, 1.0, 8.0)
    sizes: tuple[int, ...] = (0, 10, 100, 5000)
    charges: tuple[int, ...] = (1, 10, 100)
    shares: tuple[float, ...] = ()
    """Weights of requests; empty: all have the same."""
    slos_s: tuple[float | None, ...] = ()
    prefill_share: float = 0.0
    """Of the requests that need a second endpoint."""
    actuals: tuple[int, ...] = ()
    """What requests turn out to take, whatever was estimated; empty: nobody sees it."""
    bodiless_share: float = 0.1
    subset_share: float = 0.3
    longest_step_s: float = 0.0625
    largest_burst: int = 150
    refusals: float = 0.0
    """How often a scrape finds that nobody listens."""
    oversleeping: float = 0.0
    """How often the driver sleeps through a `WakeAt`."""
    policies: tuple[FlowControlPolicy, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    """How often each kind of event comes, where it differs from `USUAL`."""


USUAL = {
    "arrive": 40.0,
    "burst": 0.3,
    "cancel": 4.0,
    "desert": 0.1,
    "end": 45.0,
    "fail": 2.0,
    "scrape": 15.0,
    "endpoints": 1.5,
    "empty": 0.15,
    "objectives": 0.5,
    "policy": 0.4,
    "nonsense": 1.0,
    "tick": 2.0,
    "drain": 0.0,
    "begin": 0.0,
}


class Storm:
    """One seeded run."""

    def __init__(self, handle: Handle, *, seed: int, weather: Weather | None = None) -> None:
        self.weather = weather or Weather()
        self.now = 0.0
        self.queued: list[int] = []
        self.running: list[int] = []
        self.log: list[Action] = []
        """The actions of the last step, its wake-ups included."""
        self._handle = handle
        self._random = Random(seed)
        self._wake_s: float | None = None
        self._last_id = 0
        self._uids = dict.fromkeys(range(1, self.weather.endpoints + 1), 0)
        self._listed: list[EndpointSpec] = []
        self._deeds = {
            "arrive": self._arrive,
            "burst": self._burst,
            "cancel": self._cancel,
            "desert": self._desert,
            "end": self._end,
            "fail": self._fail,
            "scrape": self._scrape,
            "endpoints": self._change_endpoints,
            "empty": self._empty_pool,
            "objectives": self._change_objectives,
            "policy": self._change_policy,
            "nonsense": self._nonsense,
            "tick": self._tick,
            "drain": self._drain,
            "begin": self._begin,
        }
        weights = USUAL | self.weather.weights
        self._kinds = list(weights)
        self._weights = list(weights.values())
        self._change_endpoints()

    def run(self, steps: int) -> None:
        """So many random events, and every wake-up between them."""
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        """The next random event."""
        self.log = []
        self.pass_time(self._random.randrange(int(self.weather.longest_step_s * GRID) + 1) / GRID)
        self._deeds[self._random.choices(self._kinds, self._weights)[0]]()

    def pass_time(self, elapsed_s: float) -> None:
        """Time passes; every `WakeAt` is obeyed to the instant."""
        until_s = self.now + elapsed_s
        if self.weather.oversleeping and self._random.random() < self.weather.oversleeping:
            self.now = until_s
        while self._wake_s is not None and self._wake_s <= until_s:
            self.now = max(self.now, self._wake_s)
            self._do(Tick())
        self.now = until_s

    def finish(self) -> None:
        """Everybody goes home: running requests end, queued ones are cancelled."""
        self._do(EndpointsChanged(()))
        for request_id in list(self.queued):
            self._do(Cancelled(request_id))
        for request_id in list(self.running):
            self._do(Ended(request_id))
        self._do(ObjectivesChanged(frozenset()))

    # ------------------------------------------------------------------------ deeds

    def _do(self, event: Event) -> None:
        self._wake_s = None
        actions = self._handle(event, self.now)
        self.log += actions
        match event:
            case Arrived(request_id):
                self.queued.append(request_id)
            case Cancelled(request_id) | Ended(request_id) | DeliveryFailed(request_id):
                if not isinstance(event, Ended) and request_id in self.queued:
                    self.queued.remove(request_id)
                if request_id in self.running:
                    self.running.remove(request_id)
            case _:
                pass
        for action in actions:
            match action:
                case Dispatch(request_id):
                    self.queued.remove(request_id)
                    self.running.append(request_id)
                case Refuse(request_id):
                    self.queued.remove(request_id)
                case WakeAt(at_s):
                    self._wake_s = at_s
                case ScrapeNow() | Evict():
                    pass

    def _arrive(self) -> None:
        weather, random = self.weather, self._random
        self._last_id += 1
        self._do(
            Arrived(
                self._last_id,
                random.choice(weather.priorities),
                random.choice(weather.tenants),
                random.choice(weather.sizes),
                need=0 if random.random() < weather.bodiless_share else 1,
                input_tokens=random.choice(weather.charges),
                max_output_tokens=0,
                eligibility=self._eligibility(),
                ttl_s=random.choice(weather.ttls_s),
                weight=random.choice(weather.shares) if weather.shares else 1.0,
                slo_s=random.choice(weather.slos_s) if weather.slos_s else None,
                prefill=self._prefill(),
            )
        )

    def _prefill(self) -> Eligibility | None:
        if not self.weather.prefill_share or self._random.random() >= self.weather.prefill_share:
            return None
        return self._eligibility()

    def _begin(self) -> None:
        self._do(FirstByte(self._someone(self.running)))

    def _eligibility(self) -> Eligibility:
        random = self._random
        if random.random() >= self.weather.subset_share:
            return ANY
        numbers = random.sample(range(self.weather.endpoints + 1), random.randint(0, 2))
        return Subset.of(
            f"10.0.0.{number}:8000" if random.random() < 0.8 else f"10.0.0.{number}" for number in numbers
        )

    def _burst(self) -> None:
        for _ in range(self._random.randint(10, self.weather.largest_burst)):
            self._arrive()

    def _someone(self, among: list[int]) -> int:
        if among and self._random.random() < 0.98:
            return self._random.choice(among)
        return self._random.randint(1, self._last_id + 2)

    def _cancel(self) -> None:
        self._do(Cancelled(self._someone(self.queued if self._random.random() < 0.7 else self.running)))

    def _desert(self) -> None:
        """A gateway goes away, and with it the clients that have waited longest."""
        share = self._random.choice((0.5, 0.75, 0.9, 1.0))
        for request_id in self.queued[: int(share * len(self.queued))]:
            self._do(Cancelled(request_id))

    def _end(self) -> None:
        request_id, actuals = self._someone(self.running), self.weather.actuals
        if actuals and self._random.random() < 0.9:
            self._do(Ended(request_id, self._random.choice(actuals), self._random.choice(actuals)))
        else:
            self._do(Ended(request_id))

    def _fail(self) -> None:
        self._do(DeliveryFailed(self._someone(self.running)))

    def _scrape(self) -> None:
        if not self._listed:
            return
        random = self._random
        spec = random.choice(self._listed)
        sent_s = max(0.0, self.now - random.choice((0, 0, 1, 20, 300, 5000)) / GRID)
        metrics = EngineSample(
            random.choice((0, 0, 1, 4, 9)), random.randrange(12), random.choice((0.0, 0.3, 0.5, 0.9))
        )
        failed = random.random() < 0.1
        refused = bool(self.weather.refusals) and random.random() < self.weather.refusals
        contact = Contact.REFUSED if refused else Contact.REACHED
        self._do(Scraped(spec.key, sent_s, self.now, None if failed or refused else metrics, contact))

    def _change_endpoints(self) -> None:
        random = self._random
        number = random.choice(list(self._uids))
        if random.random() < 0.2:
            self._uids[number] += 1
        self._listed = [
            endpoint(
                each,
                uid=f"pod-{self._uids[each]}",
                max_concurrency=random.choice((1, 2, 3)) if random.random() < 0.1 else None,
            )
            for each in self._uids
            if random.random() < 0.75 or each == number
        ]
        self._do(EndpointsChanged(tuple(self._listed)))

    def _empty_pool(self) -> None:
        self._listed = []
        self._do(EndpointsChanged(()))

    def _change_objectives(self) -> None:
        choices = sorted(set(self.weather.priorities))
        self._do(ObjectivesChanged(frozenset(p for p in choices if self._random.random() < 0.7)))

    def _change_policy(self) -> None:
        if self.weather.policies:
            self._do(PolicyChanged(self._random.choice(self.weather.policies)))

    def _nonsense(self) -> None:
        """Events about requests and endpoints that nobody knows."""
        strangers: list[Event] = [
            Cancelled(-1),
            Ended(-1),
            DeliveryFailed(-1),
            Scraped(("10.9.9.9:1", "stranger"), self.now, self.now, EngineSample(0, 0, 0.0)),
            Ended(self._someone(self.queued)),
        ]
        self._do(self._random.choice(strangers))

    def _tick(self) -> None:
        self._do(Tick())

    def _drain(self) -> None:
        self._do(Draining())
