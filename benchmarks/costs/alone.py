"""One request at a time, at one server after the other: how long it takes until it has its endpoint.

    python -m benchmarks.costs.alone --port P ... --requests N --rounds N

Nothing else is under way, so nothing waits for anything but for the servers' own turns. They take turns request by
request, so that whatever slows the machine slows all of them. The clock runs from the first message of a request until
its endpoint and all of its body have come back; its response is shown afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.costs import messages
from benchmarks.costs.gateway import Gateway
from benchmarks.program import RESULT, run, say
from epp.serve import garbage

if TYPE_CHECKING:
    from collections.abc import Sequence

_WARM_UP_REQUESTS = 30


async def decided_s(gateway: Gateway, number: int) -> float:
    """Seconds until a request has its endpoint; returns when its response has ended."""
    request = messages.request(number)
    began_s = perf_counter()
    stream = await gateway.open(request)
    await stream.dispatched()
    took_s = perf_counter() - began_s
    await stream.respond(chunks=0)
    return took_s


async def round_of_requests(gateways: Sequence[Gateway], requests: int) -> list[float]:
    """The median at each server."""
    taken_s: list[list[float]] = [[] for _ in gateways]
    for number in range(requests):
        turns = list(zip(gateways, taken_s, strict=True))
        for gateway, taken in reversed(turns) if number % 2 else turns:
            taken.append(await decided_s(gateway, number))
    return [median(taken) for taken in taken_s]


async def _measure(ports: Sequence[int], *, requests: int, rounds: int) -> None:
    garbage.settle()
    async with contextlib.AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(Gateway(port)) for port in ports]
        await round_of_requests(gateways, min(_WARM_UP_REQUESTS, requests))
        found = [await round_of_requests(gateways, requests) for _ in range(rounds)]
    say(RESULT, decided_s=found)


def main(argv: list[str] | None = None) -> None:
    """Measure and say the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.alone")
    parser.add_argument("--port", action="append", type=int, required=True)
    for name in ("requests", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args(argv)
    run(_measure(options.port, requests=options.requests, rounds=options.rounds))


if __name__ == "__main__":
    main()
