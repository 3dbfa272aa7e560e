"""How long requests would run, and what engines would say, had others been sent: learned from what was seen."""

from __future__ import annotations

from epp.core.endpoint import EngineSample

DEFAULT_TOKENS_PER_S = 500.0
"""Until the first request has ended."""
DEFAULT_OUTPUT_TOKENS = 256
BYTES_PER_TOKEN = 4
_HALF_LIFE_REQUESTS = 256


class ServiceRates:
    """Seconds per token, over all endpoints and for each: sums in which old requests count less and less."""

    def __init__(self) -> None:
        self._all = (0.0, 0.0)
        self._each: dict[tuple[str, str], tuple[float, float]] = {}
        self._keep = 0.5 ** (1 / _HALF_LIFE_REQUESTS)

    def learn(self, key: tuple[str, str], tokens: int, run_s: float) -> None:
        """A request of so many tokens ran so long there."""
        self._all = self._added(self._all, tokens, run_s)
        self._each[key] = self._added(self._each.get(key, (0.0, 0.0)), tokens, run_s)

    @property
    def has_learned(self) -> bool:
        """Whether any request has ended yet."""
        return self._all[0] > 0

    def run_s(self, key: tuple[str, str], tokens: int) -> float:
        """How long a request of so many tokens would run there."""
        return tokens * self._seconds_per_token(key)

    def forget(self, keys: set[tuple[str, str]]) -> None:
        """Only these endpoints are left."""
        self._each = {key: sums for key, sums in self._each.items() if key in keys}

    def _seconds_per_token(self, key: tuple[str, str]) -> float:
        for tokens, seconds in (self._each.get(key, (0.0, 0.0)), self._all):
            if tokens > 0:
                return seconds / tokens
        return 1 / DEFAULT_TOKENS_PER_S

    def _added(self, sums: tuple[float, float], tokens: int, run_s: float) -> tuple[float, float]:
        return sums[0] * self._keep + tokens, sums[1] * self._keep + run_s


def moved_sample(sample: EngineSample, *, more: int, most_running: int) -> EngineSample:
    """What an engine would have said with so many more requests on it (fewer, if negative).

    It works on at most as many as it was ever seen to work on while others waited; `most_running` is 0 if that
    was never seen. Its cache is filled in proportion.
    """
    before = sample.waiting + sample.running
    if not more:
        return sample
    after = max(0, before + more)
    running = min(after, max(most_running, sample.running)) if most_running else after
    kv = min(1.0, sample.kv_utilization * after / before) if before else sample.kv_utilization
    return EngineSample(after - running, running, kv)
