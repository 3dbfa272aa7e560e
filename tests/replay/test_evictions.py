"""Runs that were cut off: nobody knows how long they would have been."""

from __future__ import annotations

import pytest

from epp.core import Controller
from epp.core.actions import Dispatch, Evict
from epp.core.events import Ended, EndpointsChanged, FirstByte, Tick
from epp.replay.course import Course
from epp.replay.simulation import RecordedService
from epp.whatif.world import World
from tests.core.building import A, policy, request


def _recorded(*, is_spared: bool = False) -> Course:
    """A request of 100 tokens that ran for ten seconds, and one that was to be evicted a second after it began."""
    course = Course()
    for number, at_s in ((1, 0.0), (2, 20.0)):
        course.observe(request(number, charge_tokens=100), [Dispatch(number, A, 0.0, None)], at_s)
        if number == 1:
            course.observe(Ended(1, 100, 0), [], 10.0)
    course.observe(Tick(), [Evict(2)], 21.0)
    if is_spared:
        course.observe(FirstByte(2), [], 21.5)
    course.observe(Ended(2, 100, 3), [], 22.0)
    return course


def test_an_evicted_run_is_no_whole_one() -> None:
    """It is told apart, its cut length isn't taken for its length, and whoever was spared is like any other."""
    evicted, spared = _recorded().fates[2], _recorded(is_spared=True).fates[2]
    assert (evicted.cut_off, evicted.tokens, evicted.ended_s) == (True, 100, 22.0)
    assert (spared.cut_off, spared.tokens, spared.ended_s) == (False, 103, 22.0)


def test_who_was_evicted_does_not_begin_afterwards() -> None:
    """A first byte that comes after the end is nobody's."""
    course = _recorded()
    course.observe(FirstByte(2), [], 23.0)
    assert (course.fates[2].cut_off, course.fates[2].first_byte_s) == (True, None)


@pytest.mark.parametrize(("is_spared", "run_s"), [(False, 10.0), (True, 2.0)])
def test_an_evicted_run_would_have_been_as_long_as_others(is_spared: bool, run_s: float) -> None:
    """By its tokens, at the rate of runs that came to their end."""
    service = RecordedService(_recorded(is_spared=is_spared), first_bytes=False)
    world = World(Controller(policy(), now=20.0), service)
    service.attach(world, 20.0)
    world.tell(EndpointsChanged((A,)), 20.0)
    world.tell(request(2, charge_tokens=100), 20.0)
    assert world.next_due_s() == 20.0 + run_s
