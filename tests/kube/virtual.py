"""Time that passes only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from contextlib import asynccontextmanager

PATIENCE = 40
"""Turns of the event loop in which everything that doesn't wait for time is done."""


class VirtualTime:
    """A clock and a sleep that belong together."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def clock(self) -> float:
        return self.now_s

    def wall_clock(self) -> float:
        return 1_790_000_000.0 + self.now_s

    async def sleep(self, seconds: float) -> None:
        waiting = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s + seconds, next(self._count), waiting))
        await waiting

    async def settle(self) -> None:
        """Until everybody waits for time, or for something else that doesn't come."""
        for _ in range(PATIENCE):
            await asyncio.sleep(0)

    async def pass_by(self, seconds: float) -> None:
        """Lets time pass, from one wake-up to the next."""
        end_s = self.now_s + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, waiting = heapq.heappop(self._sleepers)
            if not waiting.done():
                self.now_s = max(self.now_s, due_s)
                waiting.set_result(None)
                await self.settle()
        self.now_s = end_s
        await self.settle()


@asynccontextmanager
async def running(work: Coroutine[object, object, None]):
    """Runs something until the block is left; what it raises fails the test."""
    task = asyncio.create_task(work)
    try:
        yield task
        assert not task.done() or task.result() is None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
