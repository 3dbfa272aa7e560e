"""How long a premium request waits for a slot that becomes free, with few and with many batch requests held behind it.

    python -m benchmarks.costs.handover --few-port P --few-pid PID --few N --many-port P --many-pid PID --many N
                                  --handovers N --rounds N

Two pickers have one slot each. A premium request has it, a few more of them are queued, and all batch requests are held
behind those: few at one picker, many at the other. A handover is the time from the end of the running response to the
dispatch of the next premium request, as the gateway sees it. The pickers take turns, handover by handover, so that
whatever slows the machine slows both. In the end everything that is still held gets its turn: no stream may fail.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections import deque
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.accounting import until_quiet
from benchmarks.costs import messages
from benchmarks.costs.gateway import Gateway, StreamFailedError
from benchmarks.costs.hold import hold
from benchmarks.program import RESULT, run, say
from epp.serve import garbage

if TYPE_CHECKING:
    from benchmarks.costs.gateway import Stream

_QUEUED_AHEAD = 4
"""Premium requests that wait already when the slot becomes free."""


class _Waiting(NamedTuple):
    stream: Stream
    dispatched_s: asyncio.Task[float]
    """When it was dispatched."""


class Relay:
    """One slot, handed from one premium request to the next."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._queue: deque[_Waiting] = deque()
        self._running: Stream | None = None
        self._number = 0

    async def start(self) -> None:
        """Take the slot, and queue up for it."""
        await self._queue_up()
        first = self._queue.popleft()
        await first.dispatched_s
        self._running = first.stream
        for _ in range(_QUEUED_AHEAD):
            await self._queue_up()

    async def handover(self) -> float:
        """End the running request; the seconds until the next one is dispatched."""
        running, following = self._running, self._queue.popleft()
        assert running is not None
        await running.begin_response()
        freed_s = perf_counter()
        await running.send(messages.RESPONSE_END)
        waited_s = await following.dispatched_s - freed_s
        await running.finish()
        self._running = following.stream
        await self._queue_up()
        return waited_s

    async def finish(self) -> None:
        """Let the premium requests run out."""
        assert self._running is not None
        await self._running.respond(chunks=0)
        for waiting in self._queue:
            await waiting.dispatched_s
            await waiting.stream.respond(chunks=0)

    async def _queue_up(self) -> None:
        self._number += 1
        stream = await self._gateway.open(messages.request(self._number, objective=messages.PREMIUM))
        self._queue.append(_Waiting(stream, asyncio.create_task(_dispatched_s(stream))))


async def _dispatched_s(stream: Stream) -> float:
    await stream.dispatched()
    return perf_counter()


class Crowd:
    """One picker with premium requests in front and batch requests behind."""

    def __init__(self, gateway: Gateway, *, pid: int) -> None:
        self._gateway = gateway
        self._pid = pid
        self._held: list[Stream] = []
        self.relay = Relay(gateway)

    async def gather(self, count: int) -> None:
        """Fill the slot and the queue."""
        await self.relay.start()
        self._held = await hold(self._gateway, count)
        await until_quiet(self._pid)

    async def disperse(self) -> int:
        """Let everything run out. Returns how many of the held streams did not come to a good end."""
        lost = sum(stream.ended for stream in self._held)
        await self.relay.finish()
        return max(lost, (await asyncio.gather(*map(_serve, self._held))).count(False))


async def _measure(options: argparse.Namespace) -> None:
    garbage.settle()
    async with Gateway(options.few_port) as few_gateway, Gateway(options.many_port) as many_gateway:
        few, many = Crowd(few_gateway, pid=options.few_pid), Crowd(many_gateway, pid=options.many_pid)
        await few.gather(options.few)
        await many.gather(options.many)
        gc.freeze()
        rounds = []
        for _ in range(options.rounds):
            waits_s: tuple[list[float], list[float]] = ([], [])
            for number in range(options.handovers):
                turns = [(few, waits_s[0]), (many, waits_s[1])]
                for crowd, waits in reversed(turns) if number % 2 else turns:
                    waits.append(await crowd.relay.handover())
            rounds.append({"few_s": _median_and_tail(waits_s[0]), "many_s": _median_and_tail(waits_s[1])})
        failed = await few.disperse() + await many.disperse()
    say(RESULT, rounds=rounds, failed=failed)


def _median_and_tail(waits_s: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    cuts = quantiles(waits_s, n=100, method="inclusive")
    return cuts[49], cuts[98]


async def _serve(stream: Stream) -> bool:
    """Whether the stream gets its turn and comes to a good end."""
    try:
        await stream.dispatched()
        await stream.respond(chunks=0)
    except StreamFailedError:
        return False
    return True


def main(argv: list[str] | None = None) -> None:
    """Measure and say the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.handover")
    for name in ("few-port", "few-pid", "few", "many-port", "many-pid", "many", "handovers", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    run(_measure(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
