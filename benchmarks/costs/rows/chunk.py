"""What one more chunk of a response costs: the difference between long responses and short ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.costs.rows.wire import Bursts, beside_bare, request_cpu_s
from benchmarks.costs.table import Bound, Line, Unit

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale

CHUNK_BOUND = Bound(1.15, Unit.RATIO, "the bare server")
_SHORT = 1


async def measure_chunk(programs: Programs, scale: Scale) -> list[Line]:
    """All servers in turn, each with short and with long responses."""
    standing = await programs.standing()
    load = Bursts(requests=scale.chunk_requests, bursts=scale.bursts, chunks=(_SHORT, scale.chunks))
    found = await request_cpu_s(programs, standing.all, load, scale=scale, rounds=scale.rounds)
    return beside_bare(
        standing.pickers,
        [
            [(in_long - in_short) / (scale.chunks - _SHORT) for in_short, in_long in zip(*each, strict=True)]
            for each in found
        ],
        row="chunk",
        what="CPU per response chunk",
        bound=CHUNK_BOUND,
    )
