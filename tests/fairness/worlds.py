"""Worlds of tenants for the fairness tests, with a core that is audited now and then."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from benchmarks.fairness.lag import Counted, Lag, largest
from benchmarks.fairness.pool import controller
from benchmarks.fairness.world import World
from epp.core import Controller
from epp.core.fairness import TokenFairness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.fairness.tenants import Tenant
    from benchmarks.fairness.world import Server
    from epp.core.actions import Action
    from epp.core.events import Event

STEPS = 20_000


class Audited:
    """A controller that works everything out from scratch now and then, and whose virtual times are watched."""

    def __init__(self, core: Controller, *, every: int = 1000) -> None:
        self.core = core
        self._every = every
        self._calls = 0
        self._virtual: dict[str, float] = {}

    def handle(self, event: Event, now: float) -> list[Action]:
        """See Controller."""
        actions = self.core.handle(event, now)
        if not self._calls % 8:
            self._watch_virtual_time()
        self._calls += 1
        if not self._calls % self._every:
            self.core.check()
        return actions

    def _watch_virtual_time(self) -> None:
        band = self.core._bands[0]
        if not band.queued_requests:
            self._virtual.clear()
            return
        for endpoint, virtual in band.virtual.known.items():
            address = endpoint.spec.address
            assert virtual >= self._virtual.get(address, 0.0), (
                f"virtual time of {address} went back to {virtual}"
            )
            self._virtual[address] = virtual


def run(
    tenants: Sequence[Tenant],
    pool: Sequence[Server],
    *,
    seed: int,
    steps: int = STEPS,
    audit_every: int = 1000,
) -> World:
    """So many steps of the real core under fairness by tokens."""
    core = Audited(controller(TokenFairness()), every=audit_every)
    return World(core, tenants, pool, seed=seed).run(steps=steps)


def worst(world: World, tenants: Sequence[Tenant], counted: Counted, *, turns: int) -> Lag:
    """The largest gap, in units, between any two of these tenants, each pair backlogged for so many turns at least."""
    lags = [largest(world.moments, one, other, counted) for one, other in combinations(tenants, 2)]
    for lag, (one, other) in zip(lags, combinations(tenants, 2), strict=True):
        assert lag.turns >= turns, f"{one.name} and {other.name} were backlogged for {lag.turns} turns only"
    return max(lags, key=lambda lag: lag.units)


def tags(core: Controller, priority: int = 0) -> dict[str, float]:
    """The tag of every flow that the core remembers in a band."""
    band = core._bands[priority]
    return {flow.fairness_id: flow.tag for flow in [*band.flows.values(), *band.idle_flows.values()]}
