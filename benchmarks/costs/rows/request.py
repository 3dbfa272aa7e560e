"""What a request costs a picker, and the bare server, in CPU: a short one, and one with a long prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.costs.messages import LONG_BODY_BYTES
from benchmarks.costs.rows.wire import Bursts, beside_bare, request_cpu_s
from benchmarks.costs.table import Bound, Line, Unit

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale

REQUEST_BOUND = Bound(1.3, Unit.RATIO, "the bare server")
LONG_BOUND = Bound(1.5, Unit.RATIO, "the bare server")
CHUNKS = 1
"""Before the response's end."""


async def measure_request(programs: Programs, scale: Scale) -> list[Line]:
    """All servers in turn."""
    standing = await programs.standing()
    load = Bursts(requests=scale.requests, bursts=scale.bursts, chunks=(CHUNKS,))
    found = await request_cpu_s(programs, standing.all, load, scale=scale, rounds=scale.rounds)
    return beside_bare(
        standing.pickers,
        [of_chunks for (of_chunks,) in found],
        row="request",
        what="CPU per request, full duplex, 1 KB body",
        bound=REQUEST_BOUND,
    )


async def measure_long(programs: Programs, scale: Scale) -> list[Line]:
    """All servers in turn, each holding a whole prompt and giving it back."""
    standing = await programs.standing()
    load = Bursts(
        requests=scale.long_requests, bursts=scale.bursts, chunks=(CHUNKS,), body_bytes=LONG_BODY_BYTES
    )
    found = await request_cpu_s(programs, standing.all, load, scale=scale, rounds=scale.rounds)
    return beside_bare(
        standing.pickers,
        [of_chunks for (of_chunks,) in found],
        row="long",
        what=f"CPU per request, full duplex, {LONG_BODY_BYTES // 1024} KB body",
        bound=LONG_BOUND,
    )
