"""Why an endpoint has no room, as far as that can be told: the capacity policy's answer, taken apart.

The policy alone decides; this says which of its conditions fail, by its own numbers. A policy that is unknown here
is not second-guessed: then the answer is that it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.capacity import (
    ConcurrencyDetector,
    ConcurrencyMode,
    StalenessPolicy,
    UtilizationDetector,
    below,
    own_accounting,
)
from epp.core.endpoint import Knowledge
from epp.core.insight import Obstacle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.core.endpoint import EndpointView
    from epp.core.policy import CapacityPolicy


def obstacles(capacity: CapacityPolicy, view: EndpointView, ceiling: float) -> tuple[Obstacle, ...]:
    """What keeps one more request below `ceiling` from the endpoint; nothing if the policy isn't known here."""
    match capacity:
        case UtilizationDetector():
            return tuple(_by_utilization(capacity, view, ceiling))
        case ConcurrencyDetector():
            return tuple(_by_concurrency(capacity, view, ceiling))
        case _:
            return ()


def _by_utilization(detector: UtilizationDetector, view: EndpointView, ceiling: float) -> Iterator[Obstacle]:
    yield from _by_limits(view, ceiling)
    fresh = view.knowledge is Knowledge.FRESH
    if not fresh and (
        view.knowledge is Knowledge.UNKNOWN or detector.staleness is StalenessPolicy.OWN_ACCOUNTING
    ):
        if not own_accounting(view, ceiling, detector.queue_depth_threshold):
            yield Obstacle.OWN_ACCOUNTING
        return
    spared = not fresh and view.own_requests == 0
    if not spared and view.sample.kv_utilization >= detector.kv_cache_util_threshold * ceiling:
        yield Obstacle.KV_CACHE
    waiting = 0 if spared else view.load - view.sample.running
    if not below(waiting, detector.queue_depth_threshold, ceiling):
        yield Obstacle.ENGINE_QUEUE


def _by_concurrency(detector: ConcurrencyDetector, view: EndpointView, ceiling: float) -> Iterator[Obstacle]:
    if detector.mode is not ConcurrencyMode.REQUESTS and not below(
        view.own_tokens, detector.max_token_concurrency, ceiling
    ):
        yield Obstacle.TOKENS
    yield from _by_limits(view, ceiling)
    by_its_own_number = view.request_limit is None and detector.mode is not ConcurrencyMode.TOKENS
    if by_its_own_number and not below(_load(view), detector.max_concurrency, ceiling):
        yield Obstacle.REQUESTS


def _by_limits(view: EndpointView, ceiling: float) -> Iterator[Obstacle]:
    load = _load(view)
    if view.stated_limit is not None and not below(load, view.stated_limit, ceiling):
        yield Obstacle.STATED_LIMIT
    if view.learned_limit is not None and not below(load, view.learned_limit, ceiling):
        yield Obstacle.LEARNED_LIMIT


def _load(view: EndpointView) -> int:
    """What the detectors hold against limits: by a stale sample alone, one request of ours always fits."""
    return 0 if view.own_requests == 0 and view.knowledge is Knowledge.STALE else view.load
