"""A tenant that moves between groups of endpoints of unlike virtual time is neither starved there nor privileged."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from benchmarks.fairness.pool import controller, servers
from benchmarks.fairness.tenants import Backlogged, Bursts, ClosedLoop, Demand, Tenant, around
from benchmarks.fairness.world import World
from epp.core.actions import Dispatch
from epp.core.eligibility import Subset
from epp.core.events import Arrived
from epp.core.fairness import TokenFairness
from tests.fairness.worlds import STEPS

if TYPE_CHECKING:
    from epp.core import Controller
    from epp.core.actions import Action
    from epp.core.events import Event

STAY = 40
"""Requests that the mover sends to one group before it turns to the other."""
FAST, SLOW = servers(1, 300.0, 60.0)


class Sent(NamedTuple):
    """A dispatch."""

    tenant: str
    address: str
    tokens: int


class Logged:
    """The core, and who was sent where."""

    def __init__(self, core: Controller) -> None:
        self.core = core
        self.sent: list[Sent] = []
        self._requests: dict[int, Arrived] = {}

    def handle(self, event: Event, now: float) -> list[Action]:
        if isinstance(event, Arrived):
            self._requests[event.request_id] = event
        actions = self.core.handle(event, now)
        for action in actions:
            if isinstance(action, Dispatch):
                request = self._requests.pop(action.request_id)
                assert request.input_tokens is not None
                self.sent.append(Sent(request.fairness_id, action.endpoint.address, request.input_tokens))
        return actions


def subsets() -> tuple[Subset, Subset]:
    """The fast endpoint and the slow one."""
    return Subset.of([FAST.spec.address]), Subset.of([SLOW.spec.address])


@pytest.mark.parametrize("demand", [ClosedLoop(1), Bursts(STAY, every_s=250.0)], ids=["one by one", "bursts"])
def test_a_tenant_that_moves_gets_its_share_wherever_it_is(demand: Demand) -> None:
    """Back and forth between an endpoint and one five times as fast: no catching up, no standing back, on either."""
    fast, slow = subsets()
    mover = Tenant(
        name="mover", demand=demand, size=around(100), eligibility=(*[fast] * STAY, *[slow] * STAY)
    )
    residents = [
        Tenant(name="fast-resident", demand=Backlogged(), size=around(100), eligibility=(fast,)),
        Tenant(name="slow-resident", demand=Backlogged(), size=around(100), eligibility=(slow,)),
        Tenant(name="slow-neighbour", demand=Backlogged(), size=around(100), eligibility=(slow,)),
    ]
    log = Logged(controller(TokenFairness()))
    world = World(log, [mover, *residents], [FAST, SLOW], seed=8).run(steps=STEPS)
    assert world.steps >= STEPS
    stays = 0
    for server, resident in ((FAST, "fast-resident"), (SLOW, "slow-resident")):
        sent = [each for each in log.sent if each.address == server.spec.address]
        moves = [at for at, each in enumerate(sent) if each.tenant == "mover"]
        for first in range(0, len(moves) - STAY, STAY):
            stays += 1
            stay = sent[moves[first] : moves[first + STAY - 1] + 1]
            ahead = sum(each.tokens * ((each.tenant == "mover") - (each.tenant == resident)) for each in stay)
            assert abs(ahead) <= 2 * (150 + 150), (
                f"in one stay the mover was {ahead} tokens ahead of {resident}"
            )
    assert stays >= 8


def test_nobody_waits_long_for_a_turn_after_moving() -> None:
    """Whoever turns to the other group waits no longer there than those who never left it."""
    fast, slow = subsets()
    eligibility = (*[fast] * STAY, *[slow] * STAY)
    mover = Tenant(name="mover", demand=ClosedLoop(1), size=around(100), eligibility=eligibility)
    residents = [
        Tenant(name=name, demand=demand, size=around(100), eligibility=(where,))
        for name, demand, where in (
            ("fast", Backlogged(), fast),
            ("slow", Backlogged(), slow),
            ("stays", ClosedLoop(1), slow),
        )
    ]
    world = World(controller(TokenFairness()), [mover, *residents], [FAST, SLOW], seed=8).run(steps=STEPS)
    longest_s = {
        who: max(wait_s for _, name, wait_s in world.waits if name == who) for who in ("mover", "stays")
    }
    assert sum(name == "mover" for _, name, _ in world.waits) > 500
    assert longest_s["mover"] <= 1.5 * longest_s["stays"]


def test_service_elsewhere_counts_while_requests_wait_in_both_groups() -> None:
    """One flow is one tenant: whoever keeps both groups busy gets no more in all than who keeps the slow one busy."""
    fast, slow = subsets()
    both = Tenant(name="both", demand=Backlogged(depth=6), size=around(100), eligibility=(fast, slow))
    other = Tenant(name="other", demand=Backlogged(depth=6), size=around(100), eligibility=(fast, slow))
    plain = Tenant(name="plain", demand=Backlogged(), size=around(100), eligibility=(fast,))
    log = Logged(controller(TokenFairness()))
    World(log, [both, other, plain], [FAST, SLOW], seed=8).run(steps=STEPS)
    got = {
        name: sum(each.tokens for each in log.sent if each.tenant == name)
        for name in ("both", "other", "plain")
    }
    assert 0.95 <= got["both"] / got["other"] <= 1.05
    assert got["plain"] >= 0.95 * got["both"]
