"""How fast a band drains: requests per second, and their cost, over the last few seconds."""

from __future__ import annotations

from epp.core.actions import Refuse
from epp.core.drainrate import DrainRate
from epp.core.events import Ended, ObjectivesChanged, Tick
from epp.core.outlook import SHORTEST_RETRY_S
from tests.core.building import A, controller, request


def test_a_band_that_never_drained_has_no_rate() -> None:
    """Without a dispatch so far both rates are nothing."""
    assert DrainRate().per_second(5.0) == 0.0
    assert DrainRate().cost_per_second(5.0) == 0.0


def test_a_steady_rate_is_measured() -> None:
    """Five dispatches a second are five a second, from the first full second on."""
    rate = DrainRate()
    for tenth in range(0, 300, 2):
        rate.count(100.0 + tenth / 10)
    assert abs(rate.per_second(130.0) - 5.0) < 0.6


def test_costs_are_added_up_over_the_same_time() -> None:
    """Ten dispatches a second at 7 each are 70 a second, and after ten quiet seconds none."""
    rate = DrainRate()
    for tenth in range(200):
        rate.count(tenth / 10, 7.0)
    assert abs(rate.cost_per_second(19.95) - 70.0) < 7.1
    assert rate.cost_per_second(40.0) == 0.0


def test_a_young_rate_is_that_of_its_life() -> None:
    """Twenty dispatches in the first two seconds are ten a second, not two."""
    rate = DrainRate()
    for tenth in range(20):
        rate.count(50.0 + tenth / 10)
    assert abs(rate.per_second(52.0) - 10.0) < 1.0


def test_what_is_long_ago_does_not_count() -> None:
    """After ten quiet seconds the rate is zero again."""
    rate = DrainRate()
    for _ in range(100):
        rate.count(1.0)
    assert rate.per_second(5.0) > 0
    assert rate.per_second(20.0) == 0.0


def test_a_rate_comes_back_after_a_long_pause() -> None:
    """A burst after an hour of silence isn't averaged over that hour."""
    rate = DrainRate()
    rate.count(1.0)
    for _ in range(10):
        rate.count(3600.5)
    assert rate.per_second(3600.9) >= 5


def test_each_band_has_a_rate_of_its_own() -> None:
    """Who is refused in a starved band is told 60 s, in the band that starves it what that one drains at."""
    core = controller(A)
    core.handle(ObjectivesChanged(frozenset({5})), 0.0)
    core.handle(request(0, 5), 0.0)
    core.handle(request(1, 0, ttl_s=4.5), 0.0)
    for number in range(2, 42):
        core.handle(request(number, 5), number / 10)
        core.handle(Ended(0 if number == 2 else number - 1), number / 10)
    core.handle(request(100, 5, ttl_s=0.5), 4.2)
    refusals = [each for each in core.handle(Tick(), 4.7) if isinstance(each, Refuse)]
    assert {each.request_id: each.retry_after_s for each in refusals} == {1: 60, 100: 1}


def test_what_drains_below_counts_for_the_band_above() -> None:
    """A band that has not drained yet would get what a lower one gets, so its hint is not the maximum."""
    core = controller(A, max_requests=1)
    core.handle(ObjectivesChanged(frozenset({-10})), 0.0)
    for number in range(50):
        core.handle(request(number, priority=-10), number / 10)
        core.handle(Ended(number), number / 10)
    core.handle(request(100, priority=-10), 5.0)
    core.handle(request(101, priority=0, size_bytes=0), 5.0)
    above = core.handle(request(102, priority=0), 5.0)[0]
    assert isinstance(above, Refuse)
    assert above.retry_after_s == SHORTEST_RETRY_S


def test_one_enormous_cost_is_gone_with_its_second() -> None:
    """A float that holds it has no digit left for usual costs: ten seconds later they are counted again."""
    rate = DrainRate()
    rate.count(0.0, 1e20)
    for tenth in range(300):
        rate.count(tenth / 10, 7.0)
    assert abs(rate.cost_per_second(29.95) - 70.0) < 7.1
