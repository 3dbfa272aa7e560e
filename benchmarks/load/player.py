"""Plays a plan: an open loop of clients against one target.

Promises:
- Requests leave at their due times, however long earlier ones take; how far the generator lags behind is measured.
- Every request that was sent has its outcome when `run` returns, and nothing is left: no task, no connection.
- With several base URLs requests go to them in turn.
- Cancelling `run` closes all connections; what was under way has no outcome then.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from yarl import URL

from benchmarks.load import question
from benchmarks.load.client import PATH, Call, Client, Leave
from benchmarks.load.live import LagMeter, Snapshot
from benchmarks.load.pace import send_when_due
from benchmarks.load.tally import ClassTally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.load.histograms import ClassHistograms
    from benchmarks.load.outcome import Outcome
    from benchmarks.load.plan import Due, Plan


class Player:
    """One play of a plan; a plan can be played again by another player."""

    def __init__(
        self,
        plan: Plan,
        *,
        base_urls: Sequence[str],
        model: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not base_urls:
            raise ValueError("base_urls is empty: give at least one, such as http://127.0.0.1:8080")
        self._plan = plan
        self._urls = tuple(URL(f"{base.rstrip('/')}{PATH}") for base in base_urls)
        self._questions = question.Questions(
            model, longest_tokens=max((due.prompt_tokens for due in plan.requests), default=1)
        )
        self._clock = clock
        self._start_s: float | None = None
        self._outcomes: list[Outcome] = []
        self._tallies = {name: ClassTally(self._outcomes) for name in plan.manners}
        self._lag = LagMeter()
        self._headers: dict[tuple[str, str], Mapping[str, str]] = {}
        self._under_way: dict[str, dict[Call, asyncio.Task[None]]] = {name: {} for name in plan.manners}
        self._sent = 0

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of all that have ended, in the order in which they did."""
        return tuple(self._outcomes)

    @property
    def histograms(self) -> dict[str, ClassHistograms]:
        """By class."""
        return {name: tally.histograms for name, tally in self._tallies.items()}

    async def run(self) -> None:
        """Play all of it; return when every request has ended. Raises `ExhaustedError`."""
        if self._start_s is not None:
            raise RuntimeError("this player has played: make a new one")
        self._start_s = start_s = self._clock()
        async with Client(clock=self._clock, start_s=start_s) as client:

            async def send(due: Due) -> None:
                await self._send(client, due)

            await send_when_due(self._plan.requests, send, clock=self._clock, start_s=start_s)

    def hang_up(self, class_name: str, share: float = 1.0) -> int:
        """So large a share of the class's requests that are under way close their connections; returns how many."""
        under_way = tuple(self._under_way[class_name].items())
        chosen = [
            each
            for number, each in enumerate(under_way)
            # Spread evenly over the older and the younger ones.
            if int((number + 1) * share + 0.5) > int(number * share + 0.5)
        ]
        for call, task in chosen:
            call.leave = Leave.HANGS_UP
            del self._under_way[class_name][call]
            task.cancel()
        return len(chosen)

    def snapshot(self) -> Snapshot:
        """How it goes."""
        now_s = 0.0 if self._start_s is None else self._clock() - self._start_s
        return Snapshot(
            now_s,
            self._lag.worst_s(now_s),
            {name: tally.counts.live(now_s) for name, tally in self._tallies.items()},
        )

    async def _send(self, client: Client, due: Due) -> None:
        call = self._call(due)
        under_way = self._under_way[due.class_name]
        task = asyncio.current_task()
        assert task is not None
        under_way[call] = task
        try:
            await client.send(call)
        finally:
            under_way.pop(call, None)

    def _call(self, due: Due) -> Call:
        assert self._start_s is not None
        manner = self._plan.manners[due.class_name]
        key = (due.class_name, due.tenant)
        if key not in self._headers:
            self._headers[key] = question.headers(manner, due.tenant)
        number = self._sent
        self._sent += 1
        now_s = self._clock() - self._start_s
        self._lag.sent(lag_s=max(0.0, now_s - due.due_s), now_s=now_s)
        return Call(
            due=due,
            manner=manner,
            url=self._urls[number % len(self._urls)],
            headers=self._headers[key],
            body=self._questions.body(due, manner.delivery, number=number),
            tally=self._tallies[due.class_name],
        )
