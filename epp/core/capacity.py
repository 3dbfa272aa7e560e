"""Whether an endpoint has room: upstream's two saturation detectors, decided endpoint by endpoint.

Both count what we know to be there now (`EndpointView.load`: our own requests plus the foreign ones of the last
sample), so what was sent since the last scrape is never forgotten. A request is admitted while the load is
*below* the limit, so an endpoint overshoots by less than one request. A limit or ceiling of 0 means never,
otherwise a limit is at least 1. What the operator states of an endpoint's requests, and what was learned of it, bounds
both, whatever they count. Without fresh knowledge neither says "full" and neither says "free": `StalenessPolicy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

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


class StalenessPolicy(Enum):
    """What counts once an endpoint's last sample is stale. Before the first sample it is always our own accounting."""

    OWN_ACCOUNTING = "own-accounting"
    """Our own requests only, as many as we had there with room lately."""
    LAST_SAMPLE = "last-sample"
    """What the sample showed, as if nothing had changed since, beside what we have there now. One request of ours
    always fits: a sample that said "full" and is never followed by another would close the endpoint for good."""


# An enum's member is looked up for every change of every endpoint otherwise.
_FRESH: Final = Knowledge.FRESH
_UNKNOWN: Final = Knowledge.UNKNOWN
_OWN_ACCOUNTING: Final = StalenessPolicy.OWN_ACCOUNTING


def below(load: float, limit: float, ceiling: float) -> bool:
    """Whether `load` is below `ceiling`'s share of `limit`; 0 means never, else at least 1 fits."""
    share = limit * ceiling
    return share > 0 and (load < share or load < 1.0)


def own_accounting(endpoint: EndpointView, ceiling: float, floor: float = OWN_ACCOUNTING_FLOOR) -> bool:
    """Whether one more fits below what we had there with room lately, or below `floor`."""
    return below(endpoint.own_requests, max(floor, endpoint.proven_requests), ceiling)


def counted_load(endpoint: EndpointView) -> int:
    """What counts against a limit on requests: nothing where only a stale sample says that somebody is there."""
    own = endpoint.own_requests
    return 0 if own == 0 and endpoint.knowledge is Knowledge.STALE else own + endpoint.foreign_requests


def _share(load: int, limit: float | None) -> float:
    """Of the limit in use; nothing without a limit, all of a limit of 0."""
    if limit is None:
        return 0.0
    return load / limit if limit else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilizationDetector:
    """Room while the engine's queue is short and its KV cache has space.

    The limit on requests is what the engine was running when it was last asked, plus the queue that we let it
    hold: `waiting < threshold`, said in terms of load.
    """

    queue_depth_threshold: float = 5
    kv_cache_util_threshold: float = 0.8
    staleness: StalenessPolicy = StalenessPolicy.OWN_ACCOUNTING
    name: str = "utilization-detector"

    def has_room(self, endpoint: EndpointView, ceiling: float, /) -> bool:
        """Whether one more request keeps queue and cache below `ceiling` of their thresholds."""
        limit = endpoint.stated_limit if endpoint.learned_limit is None else endpoint.request_limit
        if limit is not None and not below(counted_load(endpoint), limit, ceiling):
            return False
        if endpoint.knowledge is not _FRESH:
            if endpoint.knowledge is _UNKNOWN or self.staleness is _OWN_ACCOUNTING:
                return own_accounting(endpoint, ceiling, self.queue_depth_threshold)
            if endpoint.own_requests == 0:
                return below(0, self.queue_depth_threshold, ceiling)
        if endpoint.sample.kv_utilization >= self.kv_cache_util_threshold * ceiling:
            return False
        return below(endpoint.load - endpoint.sample.running, self.queue_depth_threshold, ceiling)

    def saturation(self, endpoint: EndpointView, /) -> float:
        """The fullest of queue, cache and limit on requests, as a share of its threshold."""
        limited = _share(endpoint.load, endpoint.request_limit)
        if not self._counts_sample(endpoint):
            return max(
                limited, endpoint.own_requests / max(self.queue_depth_threshold, endpoint.proven_requests)
            )
        waiting = max(0, endpoint.load - endpoint.sample.running)
        return max(
            limited,
            waiting / self.queue_depth_threshold,
            endpoint.sample.kv_utilization / self.kv_cache_util_threshold,
        )

    def renewable(self, endpoint: EndpointView, /) -> bool:
        """While it is asked at all: the engine may have taken up what it had queued."""
        return endpoint.knowledge is not Knowledge.UNKNOWN

    def _counts_sample(self, endpoint: EndpointView) -> bool:
        return endpoint.knowledge is Knowledge.FRESH or (
            endpoint.knowledge is Knowledge.STALE and self.staleness is StalenessPolicy.LAST_SAMPLE
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyDetector:
    """Room while what is in flight stays below a configured number of requests, of tokens, or of both."""

    mode: ConcurrencyMode = ConcurrencyMode.REQUESTS
    max_concurrency: int = 100
    """In requests, where nothing is stated of the endpoint and nothing was learned; not asked when counting tokens."""
    max_token_concurrency: int = 1_000_000
    staleness: StalenessPolicy = StalenessPolicy.OWN_ACCOUNTING
    name: str = "concurrency-detector"

    def has_room(self, endpoint: EndpointView, ceiling: float, /) -> bool:
        """Whether what is in flight is below `ceiling` of the limit."""
        if self.mode is not ConcurrencyMode.REQUESTS and not below(
            endpoint.own_tokens, self.max_token_concurrency, ceiling
        ):
            return False
        # As in `_limit`, which would be one more call for every change of every endpoint.
        limit = endpoint.stated_limit if endpoint.learned_limit is None else endpoint.request_limit
        if limit is None:
            if self.mode is ConcurrencyMode.TOKENS:
                return True
            limit = self.max_concurrency
        return below(counted_load(endpoint), limit, ceiling)

    def saturation(self, endpoint: EndpointView, /) -> float:
        """What is in flight as a share of the limit; the fuller one of two limits."""
        requests = _share(endpoint.load, self._limit(endpoint))
        if self.mode is ConcurrencyMode.REQUESTS:
            return requests
        return max(requests, endpoint.own_tokens / self.max_token_concurrency)

    def renewable(self, endpoint: EndpointView, /) -> bool:
        """Only if somebody else's requests fill the endpoint; our own we count ourselves."""
        return endpoint.foreign_requests > 0

    def _limit(self, endpoint: EndpointView) -> float | None:
        """On requests: the endpoint's own, else the detector's; when only tokens count, there may be none."""
        own = endpoint.request_limit
        if own is None and self.mode is not ConcurrencyMode.TOKENS:
            return self.max_concurrency
        return own


def staleness_of(capacity: object) -> StalenessPolicy:
    """What a capacity policy makes of stale samples; one that isn't a detector of ours forgets them."""
    match capacity:
        case UtilizationDetector(staleness=staleness) | ConcurrencyDetector(staleness=staleness):
            return staleness
        case _:
            return StalenessPolicy.OWN_ACCOUNTING
