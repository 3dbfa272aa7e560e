"""Whose turn it is: round robin between tenants, over several lanes and endpoints, and what a turn costs the core."""

from __future__ import annotations

from math import log2

import pytest

from epp.core.capacity import ConcurrencyDetector
from epp.core.events import Cancelled, Ended
from epp.core.fairness import GlobalStrictFairness, RoundRobinFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy, ItemView
from tests.core import turns
from tests.core.building import A, controller, dispatched, policy, request
from tests.core.policies import ODD_ORDER
from tests.core.turns import ON_A, Turns

HEAD = ItemView(sequence=7, arrived_s=3.0, deadline_s=None, size_bytes=1, input_tokens=5)


def test_round_robin_goes_by_turns_and_charges_one() -> None:
    """Its key is the flow's tag, its cost one turn, whatever the request."""
    assert RoundRobinFairness().key(4.0, 99.0, HEAD) == 4.0
    assert RoundRobinFairness().cost(HEAD) == 1.0


def test_global_strict_goes_by_the_order_alone_and_charges_nothing() -> None:
    """Its key is the head's order key, its cost nothing: flows don't matter."""
    assert GlobalStrictFairness().key(4.0, 99.0, HEAD) == 99.0
    assert GlobalStrictFairness().cost(HEAD) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_backlogged_tenants_of_one_eligibility_differ_by_one_turn_at_most(seed: int) -> None:
    """Over lanes that share endpoints of different speed, equals never get more than one turn ahead of each other."""
    turns.backlogged(seed=seed)


def test_a_returning_tenant_has_banked_nothing() -> None:
    """Who was idle for long gets a third of the turns among three, not all that it missed."""
    turns.returning()


def test_a_tenant_with_one_request_at_a_time_gets_its_share_and_no_more() -> None:
    """A flow's tag outlives its idle moments, so sending one by one is no trick."""
    turns.one_at_a_time()


def test_a_fast_endpoint_does_not_age_those_who_cannot_use_it() -> None:
    """Virtual time is kept per endpoint: a tenant of the slow one waits for its equals there alone."""
    turns.narrow()


def test_a_failed_delivery_costs_no_turn() -> None:
    """DeliveryFailed undoes the charge, so bad luck doesn't lose a tenant its share."""
    turns.failing()


def test_an_endpoint_that_joins_starts_at_the_present() -> None:
    """Newcomers on a new endpoint alternate with those who were there before."""
    turns.joining_endpoint()


def test_a_lift_absorbs_the_refunds_of_older_charges() -> None:
    """Deliveries that fail after their tenant was away and came back give it no extra turns."""
    turns.lifted()


def test_global_strict_serves_arrivals_of_all_tenants_in_order() -> None:
    """Under global-strict a tenant with many requests is served as they came, not in turns."""
    band = BandPolicy(GlobalStrictFairness(), FcfsOrdering())
    run = Turns(A, rules=policy(default_band=band, ttl_s=0.0))
    run.fill(A)
    for tenant in ("ada", "ada", "bob", "ada", "bob"):
        run.send(tenant)
    assert [run.finish(A)[1] for _ in range(5)] == [["ada"], ["ada"], ["bob"], ["ada"], ["bob"]]


def test_a_flows_own_order_holds_across_its_lanes() -> None:
    """With an order that isn't FCFS, the first in the flow's order goes first even if it stands in another lane."""
    core = controller(A, default_band=ODD_ORDER)
    core.handle(request(1), 0.0)
    core.handle(request(2, charge_tokens=10), 0.0)
    core.handle(request(3, charge_tokens=5, eligibility=ON_A), 0.0)
    assert dispatched(core.handle(Ended(1), 1.0)) == [3]


def test_a_tenant_with_work_in_two_lanes_takes_one_turn_for_both() -> None:
    """The tag belongs to the flow: splitting requests over subsets doesn't double a tenant's share."""
    run = Turns(A)
    run.fill(A)
    run.send("plain", ON_A, count=20)
    run.send("split", ON_A, count=10)
    run.send("split", count=10)
    for _ in range(12):
        run.finish(A)
    assert abs(run.turns["plain"] - run.turns["split"]) <= 1


# ------------------------------------------------------------------------------ what a pick costs


class Tally:
    """How often keys were asked for, and compared."""

    def __init__(self) -> None:
        self.asked = 0
        self.compared = 0


class CountedKey(float):
    """A number that notes every comparison."""

    __slots__ = ("tally",)
    tally: Tally

    def __new__(cls, value: float, tally: Tally) -> CountedKey:
        """A key with its tally."""
        key = super().__new__(cls, value)
        key.tally = tally
        return key

    def __lt__(self, other: object) -> bool:
        self.tally.compared += 1
        return float(self) < float(other)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        self.tally.compared += 1
        return float(self) == float(other)  # type: ignore[arg-type]

    __hash__ = float.__hash__


class CountedRoundRobin:
    """Round robin that counts what the core does with it."""

    name = "counted-round-robin"

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def key(self, tag: float, order_key: float, head: ItemView, /) -> float:
        """The tag."""
        del order_key, head
        self.tally.asked += 1
        return CountedKey(tag, self.tally)

    def cost(self, item: ItemView, /) -> float:
        """One turn."""
        del item
        return 1.0


def _work_per_turn(flows: int) -> tuple[float, float]:
    """Keys asked for and comparisons made per dispatch, with so many flows waiting."""
    tally = Tally()
    band = BandPolicy(CountedRoundRobin(tally), FcfsOrdering(), max_requests=100_000)
    core = controller(
        A, capacity=ConcurrencyDetector(max_concurrency=1), default_band=band, max_flows=100_000
    )
    core.handle(request(0, tenant="first"), 0.0)
    for number in range(1, 2 * flows + 1):
        core.handle(request(number, tenant=f"tenant-{number % flows}"), 0.0)
    tally.asked = tally.compared = 0
    running, rounds = 0, 100
    for _ in range(rounds):
        (running,) = dispatched(core.handle(Ended(running), 1.0))
    return tally.asked / rounds, tally.compared / rounds


def test_a_pick_is_logarithmic_in_the_number_of_flows() -> None:
    """With 64 times as many flows a turn asks for as many keys, and compares only a few more: no flow is scanned."""
    asked_few, compared_few = _work_per_turn(64)
    asked_many, compared_many = _work_per_turn(4096)
    assert asked_many <= asked_few + 1
    assert compared_many <= 3 * compared_few
    assert compared_many <= 20 * log2(4096)


def test_a_cancellation_is_logarithmic_too() -> None:
    """Cancelling the head of one of thousands of flows ranks that flow anew and no other."""
    tally = Tally()
    band = BandPolicy(CountedRoundRobin(tally), FcfsOrdering(), max_requests=100_000)
    core = controller(A, default_band=band)
    core.handle(request(0, tenant="first"), 0.0)
    for number in range(1, 4001):
        core.handle(request(number, tenant=f"tenant-{number % 2000}"), 0.0)
    tally.asked = tally.compared = 0
    for number in range(1, 201):
        core.handle(Cancelled(number), 0.0)
    assert tally.asked <= 2 * 200
    assert tally.compared <= 200 * 20 * log2(2000)
