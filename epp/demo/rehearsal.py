"""One half of the demo: the same planned traffic against some base URL, counted and shown."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from epp.demo.client import Client
from epp.demo.tally import Result, Tally
from epp.demo.traffic import Arrival, TrafficClass, play

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from epp.demo.client import Prompt
    from epp.demo.tally import Outcome, Snapshot

_SHOW_EVERY_S = 0.25
_LEAD_S = 0.1
_CALIBRATION_ROUNDS = 2
_CALIBRATION_PATIENCE_S = 60.0


class View(Protocol):
    """Where snapshots are shown."""

    def show(self, snapshot: Snapshot, /) -> None:
        """Show one; called a few times a second."""


class CalibrationError(Exception):
    """The servers don't answer as they should, so there is nothing to compare."""


class Capacity(NamedTuple):
    """What the pool can do, as measured on this machine."""

    service_time_s: float
    """How long a request runs when every place is taken."""
    per_s: float
    """Requests that the pool completes in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The traffic of a half."""

    classes: Sequence[TrafficClass]
    arrivals: Sequence[Arrival]
    prompt: Prompt
    patience_s: float


async def rehearse(
    base_url: str, plan: Plan, view: View, *, queue: Callable[[], Awaitable[dict[int, int]]] | None
) -> Sequence[Outcome]:
    """Send the planned traffic to `base_url`; `queue` reads the picker's queue by priority, if there is one."""
    loop = asyncio.get_running_loop()
    tally = Tally(traffic_class.name for traffic_class in plan.classes)
    async with Client(base_url, plan.prompt, patience_s=plan.patience_s) as client:
        start_s = loop.time() + _LEAD_S
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(_watch(tally, plan.classes, view, start_s=start_s, queue=queue))
            await play(
                plan.arrivals, lambda arrival, due_s: client.send(arrival, due_s, tally), start_s=start_s
            )
            watcher.cancel()
    view.show(tally.snapshot(loop.time() - start_s, queued=None if queue is None else {}))
    return tally.outcomes


async def _watch(
    tally: Tally,
    classes: Sequence[TrafficClass],
    view: View,
    *,
    start_s: float,
    queue: Callable[[], Awaitable[dict[int, int]]] | None,
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        queued = None
        if queue is not None:
            by_priority = await queue()
            queued = {each.name: by_priority.get(each.priority, 0) for each in classes}
        view.show(tally.snapshot(max(0.0, loop.time() - start_s), queued=queued))
        await asyncio.sleep(_SHOW_EVERY_S)


async def calibrate(base_urls: Sequence[str], prompt: Prompt, *, places: int) -> Capacity:
    """Fill every server's `places` a few times in a row and see how long requests take.

    Measured rather than computed from the servers' parameters: what a full server really does depends on the
    machine as well, and the load is to be a multiple of what it really can do.
    """
    loop = asyncio.get_running_loop()
    everyone = TrafficClass("calibration", None, 0, 1.0)
    tally = Tally([everyone.name])
    start_s = loop.time()

    async def occupy(client: Client) -> None:
        for _ in range(_CALIBRATION_ROUNDS):
            now_s = loop.time()
            await client.send(Arrival(now_s - start_s, everyone), now_s, tally)

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as workers:
        for base_url in base_urls:
            client = Client(base_url, prompt, patience_s=_CALIBRATION_PATIENCE_S)
            await stack.enter_async_context(client)
            for _ in range(places):
                workers.create_task(occupy(client))
    failed = [outcome for outcome in tally.outcomes if outcome.result is not Result.COMPLETED]
    if failed:
        raise CalibrationError(
            f"{len(failed)} of {len(tally.outcomes)} requests sent straight to the simulated servers failed "
            f"(the first one: {failed[0].result.value})"
        )
    service_time_s = sum(each.ended_s - each.due_s for each in tally.outcomes) / len(tally.outcomes)
    return Capacity(service_time_s, len(base_urls) * places / service_time_s)
