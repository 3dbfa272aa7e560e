"""How often the API server is asked for something: a token bucket for work, growing pauses for trouble.

And pauses that somebody may cut short, by a bell.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ENOUGH: Final = 1.0 - 1e-6


class TokenBucket:
    """Lets a burst through, and after it so many a second."""

    def __init__(
        self,
        *,
        per_second: float,
        burst: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(burst)
        self._counted_s = clock()

    async def take(self) -> None:
        """Waits for its turn. One task at a time."""
        self._refill()
        # Less than a whole token will do: a sleep that is a rounding error short must not be followed by more.
        while self._tokens < ENOUGH:
            await self._sleep((1.0 - self._tokens) / self._per_second)
            self._refill()
        self._tokens -= 1.0

    def _refill(self) -> None:
        now_s = self._clock()
        self._tokens = min(self._burst, self._tokens + max(now_s - self._counted_s, 0.0) * self._per_second)
        self._counted_s = now_s


class Backoff:
    """Pauses that double from one failure to the next, with jitter, until something succeeds."""

    def __init__(self, *, first_s: float, most_s: float, chance: Callable[[], float] = random.random) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._chance = chance
        self.failures = 0
        """How many in a row."""

    def next_s(self, retry_after_s: float | None = None) -> float:
        """How long to pause after one more failure; not shorter than the server asks for, within reason."""
        pause_s = min(self._first_s * 2.0 ** min(self.failures, 32), self._most_s)
        self.failures += 1
        return max(pause_s * (0.5 + self._chance() / 2), min(retry_after_s or 0.0, self._most_s))

    def reset(self) -> None:
        """Something succeeded."""
        self.failures = 0


async def rung(bell: asyncio.Event, *, within_s: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Until the bell rings, or for so long."""
    waits = {asyncio.ensure_future(bell.wait()), asyncio.ensure_future(sleep(within_s))}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def until(
    true: Callable[[], bool],
    bell: asyncio.Event,
    *,
    look_every_s: float,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Until something is true: who changes it rings the bell, and if nobody does, it is looked at all the same."""
    while not true():
        bell.clear()
        await rung(bell, within_s=look_every_s, sleep=sleep)
