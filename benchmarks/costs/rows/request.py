"""Row 1: what a request costs the picker, and the bare server, in CPU."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.programs import PickerPool
from benchmarks.costs.table import Bound, Line, Unit, microseconds

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs, Serving
    from benchmarks.costs.scale import Scale

REQUEST_BOUND = Bound(1.3, Unit.RATIO, "the bare server")
CHUNKS = 1
"""Before the response's end."""


async def request_cpu_s(
    programs: Programs, *servers: Serving, scale: Scale, rounds: int
) -> list[tuple[float, ...]]:
    """CPU per request of each server, in each round."""
    found = await programs.result(
        "benchmarks.costs.burst",
        server=[f"{server.port}:{server.pid}" for server in servers],
        chunks=CHUNKS,
        requests=scale.requests,
        bursts=scale.bursts,
        rounds=rounds,
        streams=scale.streams,
    )
    return [tuple(of_chunks[0]) for of_chunks in found["request_cpu_s"]]


async def measure_request(programs: Programs, scale: Scale) -> list[Line]:
    """The two in turn."""
    bare, picker = await programs.bare(), await programs.picker(PickerPool())
    found = await request_cpu_s(programs, bare, picker, scale=scale, rounds=scale.rounds)
    return [
        Line(
            row="request",
            what="CPU per request, full duplex, 1 KB body",
            bound=REQUEST_BOUND,
            rounds=tuple(picker_s / bare_s for bare_s, picker_s in found),
            facts={
                "picker": microseconds(median(picker_s for _, picker_s in found)),
                "bare": microseconds(median(bare_s for bare_s, _ in found)),
            },
        )
    ]
