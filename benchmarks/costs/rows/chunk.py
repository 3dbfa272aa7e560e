"""Row 2: what one more chunk of a response costs: the difference between long responses and short ones."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.programs import PickerPool
from benchmarks.costs.table import Bound, Line, Unit, microseconds

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale

CHUNK_BOUND = Bound(1.15, Unit.RATIO, "the bare server")
_SHORT = 1


async def measure_chunk(programs: Programs, scale: Scale) -> list[Line]:
    """Picker and bare server in turn, each with short and with long responses."""
    bare, picker = await programs.bare(), await programs.picker(PickerPool())
    found = await programs.result(
        "benchmarks.costs.burst",
        server=[f"{server.port}:{server.pid}" for server in (bare, picker)],
        chunks=[_SHORT, scale.chunks],
        requests=scale.chunk_requests,
        bursts=scale.bursts,
        rounds=scale.rounds,
        streams=scale.streams,
    )
    bare_s, picker_s = (
        [(long[server] - short[server]) / (scale.chunks - _SHORT) for short, long in found["request_cpu_s"]]
        for server in (0, 1)
    )
    return [
        Line(
            row="chunk",
            what="CPU per response chunk",
            bound=CHUNK_BOUND,
            rounds=tuple(ours / theirs for ours, theirs in zip(picker_s, bare_s, strict=True)),
            facts={
                "picker": microseconds(median(picker_s)),
                "bare": microseconds(median(bare_s)),
            },
        )
    ]
