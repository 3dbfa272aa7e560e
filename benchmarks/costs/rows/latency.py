"""How long a request waits for its endpoint when nothing else is under way: what the picker adds by being asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.costs.rows.wire import beside_bare
from benchmarks.costs.table import Bound, Line, Unit

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale

LATENCY_BOUND = Bound(1.5, Unit.RATIO, "the bare server")


async def measure_latency(programs: Programs, scale: Scale) -> list[Line]:
    """All servers in turn, request by request."""
    standing = await programs.standing()
    found = await programs.result(
        "benchmarks.costs.alone",
        port=[server.port for server in standing.all],
        requests=scale.alone_requests,
        rounds=scale.rounds,
    )
    return beside_bare(
        standing.pickers,
        found["decided_s"],
        row="latency",
        what="until a request has its endpoint, one at a time, median",
        bound=LATENCY_BOUND,
    )
