"""What a request costs a picker, and the bare servers, in CPU: a short one, and one with a long prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.costs.messages import LONG_BODY_BYTES
from benchmarks.costs.rows.wire import Bounds, beside_bare, bursts, measure_bursts

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.rows.wire import Bursts
    from benchmarks.costs.scale import Scale
    from benchmarks.costs.table import Line

REQUEST_BOUNDS = Bounds(grpcio=1.3, native=0.4, engine=2.5)
LONG_BOUNDS = Bounds(grpcio=1.5, native=0.6)
CHUNKS = 1
"""Before the response's end."""


async def measure_request(programs: Programs, scale: Scale) -> list[Line]:
    """All servers in turn."""
    load = bursts(scale, requests=scale.requests, chunks=(CHUNKS,))
    return await _measure(
        programs,
        scale,
        load,
        row="request",
        what="CPU per request, full duplex, 1 KB body",
        bounds=REQUEST_BOUNDS,
    )


async def measure_long(programs: Programs, scale: Scale) -> list[Line]:
    """All servers in turn, each holding a whole prompt and giving it back."""
    load = bursts(scale, requests=scale.long_requests, chunks=(CHUNKS,), body_bytes=LONG_BODY_BYTES)
    what = f"CPU per request, full duplex, {LONG_BODY_BYTES // 1024} KB body"
    return await _measure(programs, scale, load, row="long", what=what, bounds=LONG_BOUNDS)


async def _measure(
    programs: Programs, scale: Scale, load: Bursts, *, row: str, what: str, bounds: Bounds
) -> list[Line]:
    standing = await programs.standing()
    found = await measure_bursts(programs, standing.all, load, rounds=scale.rounds)
    return beside_bare(
        standing, [of_chunks for (of_chunks,) in found.request_cpu_s], row=row, what=what, bounds=bounds
    )
