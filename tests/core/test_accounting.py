"""Where waiting time goes: every queued second has one reason, and room that is held back has a counter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.capacity import ConcurrencyDetector
from epp.core.eligibility import Subset
from epp.core.events import Ended, EndpointsChanged, ObjectivesChanged, Tick
from epp.core.statistics import WaitReason
from tests.core.building import A, B, controller, request
from tests.core.policies import SteepCeiling

if TYPE_CHECKING:
    from epp.core import Controller

ON_A, ON_B = Subset.of([A.address]), Subset.of([B.address])


def waits(core: Controller, priority: int = 0, now: float = 10.0) -> dict[WaitReason, float]:
    """The band's queued seconds by reason, those that are zero left out."""
    band = next(each for each in core.statistics(now).bands if each.priority == priority)
    return {reason: seconds for reason, seconds in band.wait_s.items() if seconds}


def test_the_next_waits_for_room_and_the_others_for_it() -> None:
    """Of three in a band one waits for room, two for their turn."""
    core = controller(A)
    for number in range(4):
        core.handle(request(number), 0.0)
    core.handle(Tick(), 10.0)
    assert waits(core) == {WaitReason.NO_ROOM: 10.0, WaitReason.SAME_BAND: 20.0}


def test_a_lower_band_waits_for_the_higher() -> None:
    """While a higher band wants the same endpoints, that is the reason."""
    core = controller(A)
    core.handle(ObjectivesChanged(frozenset({5})), 0.0)
    for number, priority in enumerate((0, 5, 0, 0)):
        core.handle(request(number, priority), 0.0)
    core.handle(Tick(), 10.0)
    assert waits(core, 5) == {WaitReason.NO_ROOM: 10.0}
    assert waits(core, 0) == {WaitReason.HIGHER_PRIORITY: 20.0}


def test_a_higher_band_with_other_endpoints_is_no_reason() -> None:
    """A higher band that may only use another endpoint doesn't explain why a request waits."""
    core = controller(A, B)
    for number, eligibility in enumerate((ON_A, ON_B)):
        core.handle(request(number, eligibility=eligibility), 0.0)
    core.handle(request(2, 5, eligibility=ON_A), 0.0)
    core.handle(request(3, 0, eligibility=ON_B), 0.0)
    core.handle(Tick(), 10.0)
    assert waits(core, 0) == {WaitReason.NO_ROOM: 10.0}


def test_an_empty_pool_is_a_reason() -> None:
    """Without endpoints everybody waits for that, whatever the band."""
    core = controller()
    core.handle(request(1, 5), 0.0)
    core.handle(request(2, 0), 0.0)
    core.handle(Tick(), 10.0)
    assert waits(core, 0) == {WaitReason.NO_ENDPOINT: 10.0}


def test_a_subset_without_endpoints_is_a_reason() -> None:
    """The pool has endpoints, and a request may use none of them any more."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1, eligibility=ON_A), 0.0)
    core.handle(EndpointsChanged((B,)), 0.0)
    core.handle(Tick(), 10.0)
    assert waits(core) == {WaitReason.INELIGIBLE: 10.0}


def test_what_a_ceiling_holds_back_is_a_reason_and_a_counter() -> None:
    """Below its ceiling a band waits beside room that is kept for others: counted by reason and in slot-seconds."""
    core = controller(A, B, capacity=ConcurrencyDetector(max_concurrency=2), ceiling=SteepCeiling())
    for number in range(4):
        core.handle(request(number), 0.0)
    core.handle(Tick(), 10.0)
    assert waits(core) == {WaitReason.CEILING: 10.0, WaitReason.SAME_BAND: 10.0}
    assert core.statistics(10.0).ceiling_slot_s == 20.0
    assert core.statistics(10.0).idle_eligible_slot_s == 0.0


def test_a_ceiling_of_zero_is_a_ceiling() -> None:
    """A band that may use nothing waits for its ceiling while there is room, and for room while there is none."""
    core = controller(A, ceiling=SteepCeiling())
    core.handle(ObjectivesChanged(frozenset({-5, 5})), 0.0)
    core.handle(request(1, -5), 0.0)
    core.handle(request(2, 5), 4.0)
    core.handle(Ended(2), 10.0)
    assert waits(core, -5) == {WaitReason.CEILING: 4.0, WaitReason.NO_ROOM: 6.0}


def test_reasons_change_with_the_state() -> None:
    """Each interval is explained by the state that the event before it left."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1), 0.0)
    core.handle(EndpointsChanged(()), 3.0)
    core.handle(EndpointsChanged((A,)), 7.0)
    core.handle(Ended(0), 9.0)
    assert waits(core) == {WaitReason.NO_ROOM: 5.0, WaitReason.NO_ENDPOINT: 4.0}


def test_a_band_that_goes_leaves_its_account_and_finds_it_again() -> None:
    """Waiting once explained stays so: a priority without a band is still shown, and goes on when it returns."""
    core = controller(A)
    core.handle(request(0), 0.0)
    core.handle(request(1, 5), 0.0)
    core.handle(Ended(0), 4.0)
    core.handle(Ended(1), 4.0)
    assert core.statistics(4.0).retired_wait_s[5][WaitReason.NO_ROOM] == 4.0
    core.handle(request(2), 4.0)
    core.handle(request(3, 5), 4.0)
    core.handle(Ended(2), 5.0)
    core.handle(ObjectivesChanged(frozenset({5})), 6.0)
    assert waits(core, 5) == {WaitReason.NO_ROOM: 5.0}
    assert 5 not in core.statistics(6.0).retired_wait_s


def test_nothing_is_booked_while_nobody_waits() -> None:
    """Running requests and idle endpoints cost no waiting."""
    core = controller(A, B)
    core.handle(request(0), 0.0)
    core.handle(Tick(), 100.0)
    assert waits(core) == {}
    assert core.statistics(100.0).ceiling_slot_s == 0.0


def test_work_that_is_left_over_for_the_next_step_is_counted_as_idleness_if_the_driver_dawdles() -> None:
    """The counter of idle slots isn't decoration: a driver that ignores a continuation makes it run."""
    core = controller()
    for number in range(80):
        core.handle(request(number), 0.0)
    endpoints = tuple(A.__class__(f"10.0.1.{number}:8000") for number in range(80))
    core.handle(EndpointsChanged(endpoints), 1.0)
    core.handle(Tick(), 2.0)
    assert core.statistics(2.0).idle_eligible_slot_s == 16.0
