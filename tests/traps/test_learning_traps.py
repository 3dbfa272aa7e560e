"""Traps of learned limits: a baseline that was captured under load takes the load for normal."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from epp.core.actions import Dispatch
from epp.core.capacity import ConcurrencyDetector
from epp.core.events import Ended, FirstByte
from epp.core.learning import LearnedLimitPolicy, LearnedLimits
from tests.core.building import A, controller, request

KNEE = 10
"""Requests that the engine takes at once without getting slower."""


def limits(*, slow_from_s: float, slow_until_s: float, until_s: float) -> list[tuple[float, float]]:
    """(time, learned limit) of an engine under more work than it can do, which is five times as slow for a while."""
    core = controller(
        A,
        capacity=ConcurrencyDetector(max_concurrency=1000),
        learning=LearnedLimitPolicy(mode=LearnedLimits.ON, least=1, most=200, initial=5),
        ttl_s=0.0,
    )
    numbers, order = count(1), count()
    agenda: list[tuple[float, int, FirstByte | Ended]] = []
    in_flight, now, seen = 0, 0.0, []

    def carry_out(event: object) -> None:
        nonlocal in_flight
        for action in core.handle(event, now):  # type: ignore[arg-type]  # whatever came off the agenda
            if isinstance(action, Dispatch):
                in_flight += 1
                factor = 5.0 if slow_from_s <= now < slow_until_s else 1.0
                first_s = now + 0.1 * factor * max(1.0, in_flight / KNEE)
                heappush(agenda, (first_s, next(order), FirstByte(action.request_id)))
                heappush(agenda, (first_s + 0.2, next(order), Ended(action.request_id, 100, 20)))

    for _ in range(300):
        carry_out(request(next(numbers), charge_tokens=100))
    while agenda and now < until_s:
        now, _, event = heappop(agenda)
        if isinstance(event, Ended):
            in_flight -= 1
        carry_out(event)
        if isinstance(event, Ended):
            carry_out(request(next(numbers), charge_tokens=100))
            limit = core.statistics(now).endpoints[0].view.learned_limit
            assert limit is not None
            seen.append((now, limit))
    return seen


def test_a_learned_limit_comes_back_after_a_long_overload() -> None:
    """Trap: after an overload long enough to look normal the limit has crept up, and stays there."""
    seen = limits(slow_from_s=60.0, slow_until_s=180.0, until_s=400.0)
    before = [limit for at_s, limit in seen if 40.0 <= at_s < 60.0]
    during = [limit for at_s, limit in seen if 60.0 <= at_s < 180.0]
    after = [limit for at_s, limit in seen if at_s >= 380.0]
    usual = sum(before) / len(before)
    assert KNEE / 2 <= usual <= 2 * KNEE, f"{usual} isn't what the engine takes"
    assert max(during) <= 2 * usual
    assert 0.5 * usual <= sum(after) / len(after) <= 1.5 * usual
