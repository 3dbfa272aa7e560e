"""Whether an endpoint has room: upstream's two saturation detectors, decided endpoint by endpoint.

Both count what we know to be there now (`EndpointView.load`: our own requests plus the foreign ones of the last
sample), so what was sent since the last scrape is never forgotten. A request is admitted while the load is
*below* the limit, so an endpoint overshoots by less than one request. A limit or ceiling of 0 means never,
otherwise a limit is at least 1. Without fresh knowledge both fall back to our own accounting: neither
"full" nor "free", but as much as was last seen to fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from epp.core.endpoint import Knowledge

if TYPE_CHECKING:
    from epp.core.endpoint import EndpointView

OWN_ACCOUNTING_FLOOR = 5
"""What is safe to send to an endpoint that we know nothing of: upstream's queue-depth threshold."""


class ConcurrencyMode(Enum):
    """What the concurrency detector counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    HYBRID = "hybrid"


def below(load: float, limit: float, ceiling: float) -> bool:
    """Whether `load` is below `ceiling`'s share of `limit`; 0 means never, else at least 1 fits."""
    share = limit * ceiling
    return share > 0 and load < max(share, 1.0)


def own_accounting(endpoint: EndpointView, ceiling: float, floor: float = OWN_ACCOUNTING_FLOOR) -> bool:
    """Whether one more fits below what we last had there with room, or below `floor`."""
    return below(endpoint.own_requests, max(floor, endpoint.proven_requests), ceiling)


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilizationDetector:
    """Room while the engine's queue is short and its KV cache has space.

    The limit on requests is what the engine was running when it was last asked, plus the queue that we let it
    hold: `waiting < threshold`, said in terms of load.
    """

    queue_depth_threshold: float = 5
    kv_cache_util_threshold: float = 0.8
    name: str = "utilization-detector"

    def has_room(self, endpoint: EndpointView, ceiling: float, /) -> bool:
        """Whether one more request keeps queue and cache below `ceiling` of their thresholds."""
        stated = endpoint.spec.max_concurrency
        if stated is not None and not below(endpoint.load, stated, ceiling):
            return False
        if endpoint.knowledge is not Knowledge.FRESH:
            return own_accounting(endpoint, ceiling, self.queue_depth_threshold)
        if endpoint.sample.kv_utilization >= self.kv_cache_util_threshold * ceiling:
            return False
        return below(endpoint.load - endpoint.sample.running, self.queue_depth_threshold, ceiling)

    def saturation(self, endpoint: EndpointView, /) -> float:
        """The fuller of queue and cache, as a share of its threshold."""
        if endpoint.knowledge is not Knowledge.FRESH:
            return endpoint.own_requests / max(self.queue_depth_threshold, endpoint.proven_requests)
        waiting = max(0, endpoint.load - endpoint.sample.running)
        return max(
            waiting / self.queue_depth_threshold,
            endpoint.sample.kv_utilization / self.kv_cache_util_threshold,
        )

    def renewable(self, endpoint: EndpointView, /) -> bool:
        """While it is asked at all: the engine may have taken up what it had queued."""
        return endpoint.knowledge is not Knowledge.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyDetector:
    """Room while what is in flight stays below a configured number of requests, of tokens, or of both."""

    mode: ConcurrencyMode = ConcurrencyMode.REQUESTS
    max_concurrency: int = 100
    max_token_concurrency: int = 1_000_000
    name: str = "concurrency-detector"

    def has_room(self, endpoint: EndpointView, ceiling: float, /) -> bool:
        """Whether what is in flight is below `ceiling` of the limit."""
        if self.mode is not ConcurrencyMode.REQUESTS and not below(
            endpoint.own_tokens, self.max_token_concurrency, ceiling
        ):
            return False
        return self.mode is ConcurrencyMode.TOKENS or below(endpoint.load, self._limit(endpoint), ceiling)

    def saturation(self, endpoint: EndpointView, /) -> float:
        """What is in flight as a share of the limit; in hybrid mode the fuller of the two."""
        limit = self._limit(endpoint)
        requests = endpoint.load / limit if limit else 1.0
        tokens = endpoint.own_tokens / self.max_token_concurrency
        match self.mode:
            case ConcurrencyMode.REQUESTS:
                return requests
            case ConcurrencyMode.TOKENS:
                return tokens
            case ConcurrencyMode.HYBRID:
                return max(requests, tokens)

    def renewable(self, endpoint: EndpointView, /) -> bool:
        """Only if somebody else's requests fill the endpoint; our own we count ourselves."""
        return endpoint.foreign_requests > 0

    def _limit(self, endpoint: EndpointView) -> int:
        stated = endpoint.spec.max_concurrency
        return self.max_concurrency if stated is None else stated
