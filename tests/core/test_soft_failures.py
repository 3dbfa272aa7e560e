"""Promise 10: a policy that raises or answers garbage is replaced for that decision, counted, and stops nothing."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from epp.core import Controller
from epp.core.ceilings import StaticCeiling
from epp.core.endpoint import EndpointView
from epp.core.events import Ended
from epp.core.fairness import RoundRobinFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy
from tests.core.building import A, B, C, D, LeastLoaded, controller, dispatched, policy, request
from tests.core.policies import (
    GARBAGE,
    BrokenCapacity,
    BrokenCeiling,
    BrokenChoice,
    BrokenFairness,
    BrokenOrdering,
    SteepCeiling,
)
from tests.core.scenarios import guarded_room, survive
from tests.core.storm import Storm, Weather

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def band(**parts: Any) -> BandPolicy:
    """Round robin and FCFS, unless said otherwise."""
    return BandPolicy(parts.get("fairness", RoundRobinFairness()), parts.get("ordering", FcfsOrdering()))


def test_honest_policies_are_never_blamed() -> None:
    """A storm with the shipped policies counts no fault."""
    assert survive(policy(), seed=1, steps=300) == {}


@pytest.mark.parametrize("seed", [1, 2])
def test_an_order_that_fails_at_times_costs_no_promise(seed: int) -> None:
    """Requests whose order is garbage go by arrival; all else is right by brute force."""
    faults = survive(policy(default_band=band(ordering=BrokenOrdering(seed=seed))), seed=seed, steps=500)
    assert {name for name, _ in faults} == {"broken-ordering"}
    assert len(faults) > 3


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fairness_that_fails_at_times_costs_no_promise(seed: int) -> None:
    """A turn that is garbage goes to the oldest, a cost that is garbage is one; all else is right by brute force."""
    faults = survive(policy(default_band=band(fairness=BrokenFairness(seed=seed))), seed=seed, steps=500)
    assert {name for name, _ in faults} == {"broken-fairness"}
    assert ("broken-fairness", "negative cost") in faults


@pytest.mark.parametrize("ceiling", [StaticCeiling(), SteepCeiling()], ids=["one-ceiling", "three-ceilings"])
def test_a_detector_that_fails_at_times_costs_no_promise(ceiling: Any) -> None:
    """Where a detector fails, own accounting decides, and strictness holds even if it fails at one ceiling only."""
    faults = survive(policy(capacity=BrokenCapacity(), ceiling=ceiling), seed=3, steps=800, room=guarded_room)
    assert {name for name, _ in faults} == {"broken-capacity"}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_ceiling_policy_that_fails_at_times_costs_no_promise(seed: int) -> None:
    """Ceilings that are garbage, too few or too many are 1.0, and none rises downwards."""
    faults = survive(policy(ceiling=BrokenCeiling(every=1, seed=seed)), seed=seed, steps=500)
    assert ("broken-ceiling", "wrong number of ceilings") in faults


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_choice_that_fails_costs_no_promise(share: float) -> None:
    """Strangers, copies, garbage and scribbling: the least loaded endpoint is taken instead."""
    faults = survive(policy(choice=BrokenChoice(share=share)), seed=4, steps=500)
    assert ("broken-choice", "chose a non-member") in faults
    assert ("broken-choice", "AttributeError") in faults


@pytest.mark.parametrize("only", range(len(GARBAGE)))
def test_every_policy_may_be_broken_at_once_and_for_good(only: int) -> None:
    """All five always answer the same garbage, and requests still reach endpoints, each promise but fairness kept."""
    rules = policy(
        capacity=BrokenCapacity(every=1, only=only),
        ceiling=BrokenCeiling(every=1, only=only),
        choice=BrokenChoice(share=1.0),
        default_band=band(
            fairness=BrokenFairness(every=1, only=only), ordering=BrokenOrdering(every=1, only=only)
        ),
    )
    faults = survive(rules, seed=only, steps=120, room=guarded_room)
    assert sum(faults.values()) > 100


def test_when_all_policies_raise_the_queue_is_served_first_come_first_served() -> None:
    """The fallbacks together are a plain FIFO that knows five requests per endpoint."""
    core = controller(
        A,
        capacity=BrokenCapacity(every=1, only=0),
        ceiling=BrokenCeiling(every=1, only=0),
        choice=BrokenChoice(),
        default_band=band(fairness=BrokenFairness(every=1, only=0), ordering=BrokenOrdering(every=1, only=0)),
    )
    sent = []
    for number in range(10):
        sent += dispatched(core.handle(request(number, tenant=f"tenant-{number % 3}"), number / 10))
    assert sent == [0, 1, 2, 3, 4]
    for number in range(5):
        sent += dispatched(core.handle(Ended(number), 2.0))
    assert sent == list(range(10))


def test_a_broken_choice_falls_back_to_the_least_loaded() -> None:
    """With a choice that only ever raises, requests spread over the endpoints."""

    class Raises:
        name = "raises"

        def choose(self, candidates: Sequence[EndpointView], facts: object, /) -> EndpointView:
            raise ZeroDivisionError

    core = controller(A, B, C, D, choice=Raises())
    for number in range(4):
        core.handle(request(number), 0.0)
    assert [each.view.own_requests for each in core.statistics(0.0).endpoints] == [1, 1, 1, 1]
    assert core.statistics(0.0).policy_faults == {("raises", "ZeroDivisionError"): 3}


def test_a_choice_may_scribble_on_the_facts_of_a_request() -> None:
    """Facts belong to the shell; whatever a choice does to them, the core's own books stay right."""

    class Scribbler(LeastLoaded):
        def choose(self, candidates: Sequence[EndpointView], facts: object, /) -> EndpointView:
            assert isinstance(facts, dict)
            facts.clear()
            facts["need"] = 0
            return super().choose(candidates, facts)

    core = controller(A, B, choice=Scribbler())
    facts = {"need": 1}
    assert dispatched(core.handle(request(1, facts=facts), 0.0)) == [1]
    core.check()
    assert facts == {"need": 0}


def test_a_detector_that_answers_at_random_loses_nobody() -> None:
    """Even a detector that contradicts itself from call to call stops nothing: everybody gets exactly one end."""

    class Dice:
        name = "dice"

        def __init__(self) -> None:
            self.random = Random(3)

        def has_room(self, view: EndpointView, ceiling: float, /) -> Any:
            return self.random.choice((True, False, None, "maybe"))

        def saturation(self, view: EndpointView, /) -> Any:
            return self.random.choice((0.5, None))

        def renewable(self, view: EndpointView, /) -> Any:
            return self.random.choice((True, False, None))

    core = Controller(policy(capacity=Dice(), ceiling=SteepCeiling()), now=0.0)
    storm = Storm(core.handle, seed=8, weather=Weather())
    sent = 0
    for _ in range(1500):
        storm.step()
        sent += len(dispatched(storm.log))
    storm.finish()
    assert sent > 200
    assert core.statistics(storm.now).queued_requests == core.statistics(storm.now).running_requests == 0


def test_a_policy_with_a_broken_name_is_blamed_by_its_type() -> None:
    """Not even asking a policy for its name may stop the queue."""

    class Nameless:
        @property
        def name(self) -> str:
            raise RuntimeError("no name")

        def ceilings(self, priorities: tuple[int, ...], /) -> Sequence[float]:
            raise RuntimeError("no ceilings")

    core = controller(A, ceiling=Nameless())
    assert dispatched(core.handle(request(1), 0.0)) == [1]
    assert set(core.statistics(0.0).policy_faults) == {("Nameless", "RuntimeError")}


def test_ceilings_without_end_are_too_many() -> None:
    """A ceiling policy that answers an infinite iterator is taken for what it is: the wrong number."""

    class Endless:
        name = "endless"

        def ceilings(self, priorities: tuple[int, ...], /) -> Iterator[int]:
            return count()

    core = controller(A, ceiling=Endless())
    assert dispatched(core.handle(request(1), 0.0)) == [1]
    assert ("endless", "wrong number of ceilings") in core.statistics(0.0).policy_faults
