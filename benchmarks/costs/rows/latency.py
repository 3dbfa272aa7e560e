"""How long a single request takes when nothing else is under way: what being asked adds.

Two lines, which show different things:

- Straight at the server's port, by a gateway of ours, until a request has its endpoint: only the half in which the
  picker decides, and in it all that it decides. The gateway is written in Python, and its own time is on both sides of
  the ratio. So the bound says no more than that deciding doesn't take longer than our engine saves.
- Through Envoy, until a client has its whole answer: what people notice. Both halves of a request are shown to the
  server, and Envoy's own time for them is in it, which is shorter where answers come together, in one write.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.programs import together
from benchmarks.costs.rows.wire import Bounds, beside_bare
from benchmarks.costs.table import Bound, Line, Skip, Unit, microseconds
from epp.extproc.transports.transport import TransportName
from epp.quickstart.ports import free_ports
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale

LATENCY_BOUNDS = Bounds(grpcio=1.5, native=1.0)
THROUGH_BOUND = Bound(0.7, Unit.RATIO, "the bare server in the same place")

_THROUGH = "p50 of one request at a time through Envoy"


async def measure_latency(programs: Programs, scale: Scale) -> Sequence[Line | Skip]:
    """All servers in turn, request by request; then those on our own engine through Envoy, beside the bare one."""
    return [*await _measure_straight(programs, scale), *await _measure_through(programs, scale)]


async def _measure_straight(programs: Programs, scale: Scale) -> list[Line]:
    standing = await programs.standing()
    found = await programs.result(
        "benchmarks.costs.alone",
        port=[server.port for server in standing.all],
        requests=scale.alone_requests,
        rounds=scale.rounds,
    )
    return beside_bare(
        standing,
        found["decided_s"],
        row="latency",
        what="until a request has its endpoint, one at a time, median",
        bounds=LATENCY_BOUNDS,
    )


async def _measure_through(programs: Programs, scale: Scale) -> Sequence[Line | Skip]:
    standing = await programs.standing()
    pickers = [each for each in standing.pickers if each.variant.transport is TransportName.NATIVE]
    if not pickers:
        return []
    try:
        binary = find_envoy()
    except EnvoyNotFoundError as error:
        return [Skip("latency", _THROUGH, str(error))]
    (upstream_port,) = free_ports(1)
    servers = (standing.bare, *(picker.serving for picker in pickers))
    ports = await together(
        *(programs.envoy(server, binary=binary, upstream_port=upstream_port) for server in servers)
    )
    found = await programs.result(
        "benchmarks.costs.through",
        upstream_port=upstream_port,
        port=ports,
        requests=scale.through_requests,
        rounds=scale.rounds,
    )
    bare_s, *all_pickers_s = zip(*found["answered_s"], strict=True)
    return [
        Line(
            row="latency",
            what=_THROUGH,
            variant=str(picker.variant),
            bound=THROUGH_BOUND,
            rounds=tuple(ours / theirs for ours, theirs in zip(picker_s, bare_s, strict=True)),
            facts={"picker": microseconds(median(picker_s)), "bare": microseconds(median(bare_s))},
        )
        for picker, picker_s in zip(pickers, all_pickers_s, strict=True)
    ]
