"""Opens many streams that get no answer, and weighs what each of them costs the server in memory.

    python -m benchmarks.costs.hold --port P --pid PID --streams N

A few streams come and go first, so that what the server allocates once is there before it is weighed.
"""

from __future__ import annotations

import argparse

from benchmarks.accounting import resident_bytes, until_quiet
from benchmarks.costs import messages
from benchmarks.costs.gateway import Gateway, Stream, StreamFailedError
from benchmarks.program import RESULT, run, say
from epp.serve import garbage

_WARM_UP_SHARE = 25
"""One stream in so many comes and goes before."""


async def hold(gateway: Gateway, count: int, *, objective: str = messages.BATCH) -> list[Stream]:
    """So many open streams, each with a whole request."""
    return [await gateway.open(messages.request(number, objective=objective)) for number in range(count)]


async def _measure(options: argparse.Namespace) -> None:
    garbage.settle()
    async with Gateway(options.port) as gateway:
        for stream in await hold(gateway, options.streams // _WARM_UP_SHARE):
            stream.cancel()
        await until_quiet(options.pid)
        before = resident_bytes(options.pid)
        streams = await hold(gateway, options.streams)
        await until_quiet(options.pid)
        after = resident_bytes(options.pid)
        lost = sum(stream.ended for stream in streams)
        if lost:
            raise StreamFailedError(f"{lost} of {len(streams)} held streams were ended")
        say(RESULT, bytes_per_stream=(after - before) / len(streams) - messages.BODY_BYTES)


def main(argv: list[str] | None = None) -> None:
    """Hold, weigh, and say the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.hold")
    for name in ("port", "pid", "streams"):
        parser.add_argument(f"--{name}", type=int, required=True)
    run(_measure(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
