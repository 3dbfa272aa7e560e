"""A pool in virtual time: tenants, a scheduler, endpoints that work at their speed; and a record of who got what.

The scheduler is the picker's own core, or anything else with its `handle`. What is recorded are plain moments, in
the order in which they came about, from which `lag` and `shares` work everything out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol, assert_never

from benchmarks.fairness.tenants import Backlogged, Bursts, ClosedLoop, Poisson
from epp.core.actions import Dispatch, Evict, Refuse, ScrapeNow, WakeAt
from epp.core.endpoint import EndpointSpec
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Ended,
    EndpointsChanged,
    ObjectivesChanged,
    Tick,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.fairness.tenants import Tenant
    from epp.core.actions import Action
    from epp.core.eligibility import Eligibility
    from epp.core.events import Event

_SOONEST_S = 1e-6


class Scheduler(Protocol):
    """What decides: the core's controller, or a rival."""

    def handle(self, event: Event, now: float) -> list[Action]:
        """What happened, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One endpoint of the pool."""

    number: int
    slots: int
    tokens_per_s: float
    """In each slot."""

    @property
    def spec(self) -> EndpointSpec:
        """As the core knows it."""
        return EndpointSpec(f"10.0.0.{self.number}:8000", max_concurrency=self.slots)


class What(Enum):
    """What a moment was."""

    BACKLOGGED = "backlogged"
    """The tenant's first request was queued; `tokens` is nothing."""
    IDLE = "idle"
    """Its last queued request left."""
    CHARGED = "charged"
    """A request was dispatched; `tokens` is what it was taken for."""
    CORRECTED = "corrected"
    """It was found to have taken so many more than that, or less."""
    DELIVERED = "delivered"
    """It was answered, in so many tokens."""


class Moment(NamedTuple):
    """Something that changed what a tenant has, or wants."""

    at_s: float
    tenant: str
    what: What
    tokens: int = 0


@dataclass(slots=True, kw_only=True)
class Request:
    """One request of a tenant."""

    number: int
    tenant: str
    eligibility: Eligibility
    tokens: int
    guessed: int
    sent_s: float
    dispatched_s: float | None = None


@dataclass(slots=True)
class _Standing:
    """What a tenant has under way."""

    tenant: Tenant
    dice: Random
    eligibility: Iterator[Eligibility]
    queued: int = 0
    running: int = 0
    pausing: int = 0
    rounds: int = field(default=0)


class World:
    """One seeded run."""

    def __init__(
        self, scheduler: Scheduler, tenants: Sequence[Tenant], servers: Sequence[Server], *, seed: int
    ) -> None:
        self.scheduler = scheduler
        self.now = 0.0
        self.steps = 0
        """Calls of `handle`."""
        self.moments: list[Moment] = []
        self.requests: dict[int, Request] = {}
        """Queued and running."""
        self.waits: list[tuple[float, str, float]] = []
        """(when, whose, how long) of every dispatch."""
        self.most_running = 0
        self._running = 0
        self.last_number = 0
        self._dice = Random(f"{seed}/pool")
        self._servers = {server.spec.address: server for server in servers}
        self._agenda: list[tuple[float, int, str, Event | None]] = []
        self._agenda_number = 0
        self._wake_s: float | None = None
        self._standings = {
            tenant.name: _Standing(tenant, Random(f"{seed}/{tenant.name}"), cycle(tenant.eligibility))
            for tenant in tenants
        }
        self._do(ObjectivesChanged(frozenset(tenant.priority for tenant in tenants)))
        self._do(EndpointsChanged(tuple(server.spec for server in servers)))
        for tenant in tenants:
            self._at(tenant.demand.from_s, tenant.name, None)

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """All of them."""
        return tuple(standing.tenant for standing in self._standings.values())

    def run(self, *, steps: int | None = None, until_s: float | None = None) -> World:
        """Until so many calls were made, or until a moment."""
        while self._agenda and (steps is None or self.steps < steps):
            at_s = self._agenda[0][0]
            if until_s is not None and min(at_s, at_s if self._wake_s is None else self._wake_s) > until_s:
                self.now = until_s
                break
            if self._wake_s is not None and self._wake_s <= at_s:
                self.now = max(self.now, self._wake_s)
                self._do(Tick())
            else:
                heappop_at, _, name, event = heappop(self._agenda)
                self.now = max(self.now, heappop_at)
                self._happen(self._standings[name], event)
            self._refill()
        return self

    def change_servers(self, servers: Sequence[Server]) -> None:
        """The pool's endpoints are these now."""
        self._servers.update({server.spec.address: server for server in servers})
        self._do(EndpointsChanged(tuple(server.spec for server in servers)))

    def send(self, name: str, *, ttl_s: float | None = None) -> list[Action]:
        """One more request of a tenant, now."""
        standing = self._standings[name]
        tenant, dice = standing.tenant, standing.dice
        self.last_number += 1
        tokens = tenant.size(dice)
        request = Request(
            number=self.last_number,
            tenant=name,
            eligibility=next(standing.eligibility),
            tokens=tokens,
            guessed=tenant.guess(dice, tokens),
            sent_s=self.now,
        )
        self.requests[request.number] = request
        standing.queued += 1
        if standing.queued == 1:
            self._note(name, What.BACKLOGGED)
        return self._do(
            Arrived(
                request.number,
                tenant.priority,
                name,
                64,
                eligibility=request.eligibility,
                ttl_s=tenant.ttl_s if ttl_s is None else ttl_s,
                input_tokens=request.guessed,
                max_output_tokens=0,
                weight=tenant.weight,
            )
        )

    # ------------------------------------------------------------------ what happens

    def _happen(self, standing: _Standing, event: Event | None) -> None:
        if event is not None:
            self._do(event)
            return
        tenant, demand = standing.tenant, standing.tenant.demand
        if self.now >= demand.until_s:
            return
        match demand:
            case Backlogged():
                standing.rounds = 1
            case ClosedLoop(depth=depth):
                first = not standing.rounds
                standing.rounds += 1
                standing.pausing -= not first
                for _ in range(depth if first else 1):
                    self.send(tenant.name)
            case Bursts(requests=requests, every_s=every_s):
                self._at(self.now + every_s, tenant.name, None)
                for _ in range(requests):
                    self.send(tenant.name)
            case Poisson(per_second=per_second):
                self._at(self.now + standing.dice.expovariate(per_second), tenant.name, None)
                self.send(tenant.name)
            case _:
                assert_never(demand)

    def _refill(self) -> None:
        for standing in self._standings.values():
            demand = standing.tenant.demand
            if isinstance(demand, Backlogged) and standing.rounds and self.now < demand.until_s:
                while standing.queued < demand.depth:
                    self.send(standing.tenant.name)

    def _do(self, event: Event) -> list[Action]:
        self.steps += 1
        self._wake_s = None
        if isinstance(event, (Ended, Cancelled, DeliveryFailed)):
            self._gone(event)
        actions = self.scheduler.handle(event, self.now)
        for action in actions:
            match action:
                case Dispatch():
                    self._dispatched(action)
                case Refuse(request_id):
                    self._left_queue(self.requests.pop(request_id))
                case WakeAt(at_s):
                    self._wake_s = at_s
                case ScrapeNow() | Evict():
                    pass
                case _:
                    assert_never(action)
        return actions

    def _dispatched(self, action: Dispatch) -> None:
        request = self.requests[action.request_id]
        request.dispatched_s = self.now
        standing = self._standings[request.tenant]
        standing.running += 1
        self._running += 1
        self.most_running = max(self.most_running, self._running)
        self.waits.append((self.now, request.tenant, action.waited_s))
        self._note(request.tenant, What.CHARGED, request.guessed)
        self._left_queue(request)
        mishaps, luck = standing.tenant.mishaps, standing.dice.random()
        server = self._servers[action.endpoint.address]
        takes_s = request.tokens / server.tokens_per_s * self._dice.uniform(0.5, 1.5)
        event: Event = Ended(request.number, request.tokens, 0)
        if luck < mishaps.usage_missing:
            event = Ended(request.number)
        elif luck < mishaps.usage_missing + mishaps.aborted:
            event, takes_s = Cancelled(request.number), takes_s / 2
        elif luck < mishaps.usage_missing + mishaps.aborted + mishaps.undelivered:
            event, takes_s = DeliveryFailed(request.number), _SOONEST_S
        self._at(self.now + takes_s, request.tenant, event)

    def _left_queue(self, request: Request) -> None:
        standing = self._standings[request.tenant]
        standing.queued -= 1
        if not standing.queued:
            self._note(request.tenant, What.IDLE)
        if request.dispatched_s is None:
            self._answered(standing)

    def _gone(self, event: Ended | Cancelled | DeliveryFailed) -> None:
        request = self.requests.pop(event.request_id)
        standing = self._standings[request.tenant]
        standing.running -= 1
        self._running -= 1
        match event:
            case Ended(input_tokens=None):
                self._note(request.tenant, What.DELIVERED, request.tokens)
            case Ended():
                self._note(request.tenant, What.CORRECTED, request.tokens - request.guessed)
                self._note(request.tenant, What.DELIVERED, request.tokens)
            case Cancelled():
                pass
            case DeliveryFailed():
                self._note(request.tenant, What.CORRECTED, -request.guessed)
            case _:
                assert_never(event)
        self._answered(standing)

    def _answered(self, standing: _Standing) -> None:
        demand = standing.tenant.demand
        if isinstance(demand, ClosedLoop):
            standing.pausing += 1
            self._at(self.now + max(_SOONEST_S, demand.pause_s), standing.tenant.name, None)

    def _at(self, at_s: float, name: str, event: Event | None) -> None:
        self._agenda_number += 1
        heappush(self._agenda, (at_s, self._agenda_number, name, event))

    def _note(self, name: str, what: What, tokens: int = 0) -> None:
        self.moments.append(Moment(self.now, name, what, tokens))
