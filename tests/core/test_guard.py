"""The net under the policies: every kind of garbage becomes a usable answer and one counted fault."""

from __future__ import annotations

from math import inf, isfinite, nan
from typing import Any

import pytest

from epp.core.endpoint import NO_SAMPLE, EndpointView, Knowledge
from epp.core.guard import BROKEN_KEY, PolicyGuard
from epp.core.policy import ItemView
from tests.core.building import LeastLoaded, endpoint
from tests.core.policies import PolicyCrashError

ITEM = ItemView(sequence=3, arrived_s=12.5, deadline_s=None, size_bytes=1)


class Says:
    """A policy of every kind that answers one thing, or raises it."""

    name = "says"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, *_: object) -> Any:
        """The answer to everything."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    key = cost = has_room = saturation = renewable = ceilings = choose = __call__


def view(number: int, own: int = 0) -> EndpointView:
    """An endpoint with a load."""
    return EndpointView(endpoint(number), own, 0, 0, Knowledge.UNKNOWN, NO_SAMPLE, 0, 0)


NOT_NUMBERS = (None, "1", nan, inf, -inf, True, [1.0], 10**400, 1j, PolicyCrashError("boom"))


@pytest.mark.parametrize("answer", NOT_NUMBERS, ids=repr)
def test_what_is_no_number_is_replaced_and_counted(answer: Any) -> None:
    """An order, a turn, a cost and a saturation that is no finite number each become the fallback, counted once."""
    guard, policy = PolicyGuard(), Says(answer)
    assert guard.order_key(policy, ITEM) == ITEM.arrived_s
    assert guard.fairness_key(policy, 1.0, 2.0, ITEM) == BROKEN_KEY
    assert guard.fairness_cost(policy, ITEM) == 1.0
    assert isfinite(guard.saturation(policy, view(1)))
    assert sum(guard.faults.values()) == 4
    assert {name for name, _ in guard.faults} == {"says"}


@pytest.mark.parametrize("answer", [0, 1.5, -2, 1e300])
def test_what_is_a_number_is_taken(answer: float) -> None:
    """Whole and negative numbers are fine as an order or a turn."""
    guard, policy = PolicyGuard(), Says(answer)
    assert guard.order_key(policy, ITEM) == answer
    assert guard.fairness_key(policy, 1.0, 2.0, ITEM) == answer
    assert guard.faults == {}


def test_a_negative_cost_is_one_turn() -> None:
    """A tag never runs backwards by a dispatch."""
    guard = PolicyGuard()
    assert guard.fairness_cost(Says(-1.0), ITEM) == 1.0
    assert guard.faults == {("says", "negative cost"): 1}


@pytest.mark.parametrize("answer", [None, 1, "yes", nan, PolicyCrashError("boom")], ids=repr)
def test_room_that_is_no_bool_is_own_accounting(answer: Any) -> None:
    """Below five requests there is room, at five there isn't; asking early is off; each failure is counted."""
    guard, policy = PolicyGuard(), Says(answer)
    assert guard.has_room(policy, view(1, own=4), 1.0) is True
    assert guard.has_room(policy, view(1, own=5), 1.0) is False
    assert guard.has_room(policy, view(1), 0.0) is False
    assert guard.renewable(policy, view(1)) is False
    assert sum(guard.faults.values()) == 4


@pytest.mark.parametrize("answer", [None, 7, "abc", [1.0], [1.0] * 4, [], PolicyCrashError("boom")], ids=repr)
def test_ceilings_that_are_no_list_of_the_right_length_are_all_one(answer: Any) -> None:
    """Too few, too many or none at all: nothing is held back, and it is counted."""
    guard = PolicyGuard()
    assert guard.ceilings(Says(answer), (5, 0, -5)) == [1.0, 1.0, 1.0]
    assert sum(guard.faults.values()) >= 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([1.0, 0.5, 0.0], [1.0, 0.5, 0.0]),
        ([1, 0, 0], [1, 0, 0]),
        ([0.5, 1.0, 0.7], [0.5, 0.5, 0.5]),
        ([0.9, nan, 0.4], [0.9, 0.9, 0.4]),
        ([0.9, 1.5, 0.4], [0.9, 0.9, 0.4]),
        ([-0.1, 0.8, 0.4], [1.0, 0.8, 0.4]),
        ([0.9, None, "x"], [0.9, 0.9, 0.9]),
        ((0.9, True, 10**400), [0.9, 0.9, 0.9]),
    ],
    ids=repr,
)
def test_a_ceiling_is_usable_and_never_above_a_higher_bands(answer: Any, expected: list[float]) -> None:
    """Garbage among the ceilings becomes 1.0, and what rises downwards is flattened: strictness stands on it."""
    assert PolicyGuard().ceilings(Says(answer), (5, 0, -5)) == expected


@pytest.mark.parametrize("answer", [None, 0, "10.0.0.1:8000", view(9), PolicyCrashError("boom")], ids=repr)
def test_a_choice_that_is_no_member_is_the_least_loaded(answer: Any) -> None:
    """Whatever else is chosen, the request goes to the candidate with the least on it."""
    guard = PolicyGuard()
    candidates = (view(1, 3), view(2, 1), view(3, 2))
    assert guard.choose(Says(answer), candidates, None) is candidates[1]
    assert sum(guard.faults.values()) == 1


def test_a_member_is_taken_as_chosen() -> None:
    """An honest choice is followed and not blamed."""
    guard = PolicyGuard()
    candidates = (view(1, 3), view(2, 1))
    assert guard.choose(Says(candidates[0]), candidates, None) is candidates[0]
    assert guard.choose(LeastLoaded(), candidates, None) is candidates[1]
    assert guard.faults == {}


def test_the_least_loaded_is_the_same_in_every_process() -> None:
    """Equal loads are decided by address, so that a replay decides alike."""
    candidates = (view(3), view(1), view(2))
    assert PolicyGuard().choose(Says(None), candidates, None) is candidates[1]
