"""Bursts of requests at one or more servers in turn, and what a request costs each of them in CPU.

    python -m benchmarks.costs.burst --server PORT:PID ... --chunks N ... --body-bytes N
                                     --requests N --bursts N --rounds N --streams N --pause-us N

A burst is a closed loop of so many streams at a time. The servers take turns, burst by burst and in alternating order,
so that whatever slows the machine slows all of them. Their CPU is read around each round, with connections open and
code warm; while one is driven, the others have nothing to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from benchmarks.accounting import cpu_s
from benchmarks.costs import messages
from benchmarks.costs.gateway import Gateway, StreamFailedError
from benchmarks.program import RESULT, run, say
from epp.serve import garbage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one round is."""

    requests: int
    """In a burst."""
    bursts: int
    """At each server."""
    streams: int
    """At a time."""
    body_bytes: int
    """Of each request."""
    pause_s: float = 0.0
    """Between the answer to a chunk and the next chunk of that response."""


class Target(NamedTuple):
    """A server under load."""

    gateway: Gateway
    pid: int


class Spent(NamedTuple):
    """By one target in one round."""

    request_cpu_s: float
    messages_per_write: float
    """How many messages it got at once, as far as it was up to us."""


async def burst(gateway: Gateway, load: Load, *, chunks: int) -> None:
    """Serve one burst. Raises the `StreamFailedError` of the first request that fails."""
    numbers = iter(range(load.requests))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(load.streams, load.requests)):
                group.create_task(_work(gateway, numbers, load, chunks))
    except* StreamFailedError as failed:
        raise failed.exceptions[0] from None


async def _work(gateway: Gateway, numbers: Iterator[int], load: Load, chunks: int) -> None:
    for number in numbers:
        request = messages.request(number, body_bytes=load.body_bytes)
        await gateway.serve(request, chunks=chunks, pause_s=load.pause_s)


async def round_of_bursts(targets: Sequence[Target], load: Load, *, chunks: int) -> list[Spent]:
    """What each target spent."""
    before = [_Reading.of(target) for target in targets]
    for number in range(load.bursts):
        for target in reversed(targets) if number % 2 else targets:
            await burst(target.gateway, load, chunks=chunks)
    after = [_Reading.of(target) for target in targets]
    served = load.requests * load.bursts
    return [
        Spent((now.cpu_s - then.cpu_s) / served, (now.messages - then.messages) / (now.writes - then.writes))
        for now, then in zip(after, before, strict=True)
    ]


class _Reading(NamedTuple):
    cpu_s: float
    messages: int
    writes: int

    @classmethod
    def of(cls, target: Target) -> Self:
        """As it is now."""
        connections = target.gateway.connections
        return cls(
            cpu_s(target.pid),
            sum(connection.messages for connection in connections),
            sum(connection.writes for connection in connections),
        )


async def _measure(options: argparse.Namespace) -> None:
    garbage.settle()
    load = Load(
        requests=options.requests,
        bursts=options.bursts,
        streams=options.streams,
        body_bytes=options.body_bytes,
        pause_s=options.pause_us / 1e6,
    )
    async with contextlib.AsyncExitStack() as stack:
        targets = [
            Target(await stack.enter_async_context(Gateway(int(port))), int(pid))
            for port, _, pid in (server.partition(":") for server in options.server)
        ]
        for target in targets:
            await burst(target.gateway, load, chunks=min(options.chunks))
        rounds = [
            [await round_of_bursts(targets, load, chunks=chunks) for chunks in options.chunks]
            for _ in range(options.rounds)
        ]
    say(
        RESULT,
        request_cpu_s=[[[spent.request_cpu_s for spent in each] for each in found] for found in rounds],
        messages_per_write=[
            [[spent.messages_per_write for spent in each] for each in found] for found in rounds
        ],
    )


def main(argv: list[str] | None = None) -> None:
    """Drive the bursts and say what they cost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.burst")
    parser.add_argument("--server", action="append", required=True, metavar="PORT:PID")
    parser.add_argument("--chunks", action="append", type=int, required=True, metavar="N")
    for name in ("body-bytes", "requests", "bursts", "rounds", "streams", "pause-us"):
        parser.add_argument(f"--{name}", type=int, required=True, metavar="N")
    run(_measure(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
