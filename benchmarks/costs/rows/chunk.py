"""What one more chunk of a response costs: the difference between long responses and short ones.

Chunks of many streams come together: a server that reads many at once does for all of them what it has to do for each
read. So they are measured both ways: in bursts, and on a single stream, where none comes before the one before it was
answered, so that every read brings one.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.rows.wire import Bounds, Bursts, beside_bare, bursts, measure_bursts

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.rows.wire import Found
    from benchmarks.costs.scale import Scale
    from benchmarks.costs.table import Line

CHUNK_BOUNDS = Bounds(grpcio=1.15, native=0.25, engine=1.3)
ALONE_BOUNDS = Bounds(grpcio=1.15, native=0.6, engine=1.3)
_SHORT = 1
_PAUSE_S = 0.001
"""Of the single stream, which so has the pace of a fast model, and leaves the server time to sleep in between."""


async def measure_chunk(programs: Programs, scale: Scale) -> list[Line]:
    """All servers in turn, each with short and with long responses; in bursts, then one stream at a time."""
    return [
        *await _measure(
            programs,
            scale,
            bursts(scale, requests=scale.chunk_requests, chunks=(_SHORT, scale.chunks)),
            what=f"CPU per response chunk, {scale.streams} streams at a time",
            bounds=CHUNK_BOUNDS,
        ),
        *await _measure(
            programs,
            scale,
            Bursts(
                requests=scale.alone_streams,
                bursts=1,
                chunks=(_SHORT, scale.chunks),
                streams=1,
                pause_s=_PAUSE_S,
            ),
            what="CPU per response chunk, each in a read of its own",
            bounds=ALONE_BOUNDS,
        ),
    ]


async def _measure(
    programs: Programs, scale: Scale, load: Bursts, *, what: str, bounds: Bounds
) -> list[Line]:
    standing = await programs.standing()
    found = await measure_bursts(programs, standing.all, load, rounds=scale.rounds)
    chunk_s = [
        [(in_long - in_short) / (scale.chunks - _SHORT) for in_short, in_long in zip(*each, strict=True)]
        for each in found.request_cpu_s
    ]
    return beside_bare(standing, chunk_s, row="chunk", what=what, bounds=bounds, facts=_bunched(found))


def _bunched(found: Found) -> list[str]:
    """How many messages each server got at once while responses were long."""
    servers = zip(*(of_chunks[-1] for of_chunks in found.messages_per_write), strict=True)
    return [f"(by {median(of_rounds):.3g})" for of_rounds in servers]
