"""What the core costs under a full queue, how the queue drains, and when a freed slot is given away."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.programs import together
from benchmarks.costs.rows.request import CHUNKS
from benchmarks.costs.rows.wire import bursts, measure_bursts
from benchmarks.costs.table import Bound, Judged, Line, Unit, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale

HEAP_BOUND = Bound(25.0, Unit.RATIO, "a bare heap push + pop")
TRANSPORT_BOUND = Bound(1 / 25, Unit.SHARE, "of the bare server's CPU per request")
GROWTH_BOUND = Bound(2.0, Unit.RATIO, "with few queued")
DRAIN_BOUND = Bound(1.0, Unit.RATIO, "the core's CPU per request")
STEP_BOUND = Bound(0.020, Unit.SECONDS, judged=Judged.EVERY_ROUND)
TURN_BOUND = Bound(0, Unit.COUNT, "slots given away later", judged=Judged.EVERY_ROUND)


async def measure_core(programs: Programs, scale: Scale) -> list[Line]:
    """The core in a new process each round, and the bare server at the same time."""
    found = [await _one_round(programs, scale) for _ in range(scale.core_rounds)]

    def each(figure: Callable[[dict[str, float]], float]) -> tuple[float, ...]:
        return tuple(map(figure, found))

    core_us = microseconds(median(each(lambda of: of["cycle_s"])))
    return [
        Line(
            row="core",
            what=f"arrive + dispatch + end, {scale.queued:,} queued",
            bound=HEAP_BOUND,
            rounds=each(lambda of: of["cycle_s"] / of["heap_pair_s"]),
            facts={"core": core_us, "heap": microseconds(median(each(lambda of: of["heap_pair_s"])))},
        ),
        Line(
            row="core",
            what="the same, beside a request on the wire",
            bound=TRANSPORT_BOUND,
            rounds=each(lambda of: of["cycle_s"] / of["bare_s"]),
            facts={"bare": microseconds(median(each(lambda of: of["bare_s"])))},
        ),
        Line(
            row="core",
            what=f"growth from {scale.few_queued:,} to {scale.queued:,} queued",
            bound=GROWTH_BOUND,
            rounds=each(lambda of: of["cycle_s"] / of["few_cycle_s"]),
        ),
        Line(
            row="drain",
            what=f"CPU per request, {scale.queued:,} queued when room appears",
            bound=DRAIN_BOUND,
            rounds=each(lambda of: of["drain_request_s"] / of["cycle_s"]),
            facts={"drain": microseconds(median(each(lambda of: of["drain_request_s"])))},
        ),
        Line(
            row="drain",
            what="the longest step meanwhile",
            bound=STEP_BOUND,
            rounds=each(lambda of: of["drain_worst_step_s"]),
        ),
        Line(
            row="turn",
            what="freed slot to next dispatch: the same loop turn",
            bound=TURN_BOUND,
            rounds=each(lambda of: of["late"]),
            facts={"slots freed": f"{2 * scale.cycles:,}"},
        ),
    ]


async def _one_round(programs: Programs, scale: Scale) -> dict[str, float]:
    standing = await programs.standing()
    load = bursts(scale, requests=scale.requests, chunks=(CHUNKS,))
    core, on_the_wire = await together(
        programs.result_of(
            "benchmarks.costs.corework",
            "speed",
            *core_sizes(scale),
            *("--few-queued", str(scale.few_queued), "--cycles", str(scale.cycles)),
        ),
        measure_bursts(programs, [standing.bare], load, rounds=1),
    )
    [[[bare_s]]] = on_the_wire.request_cpu_s
    return {**core, "bare_s": bare_s}


def core_sizes(scale: Scale, *, queued: int | None = None) -> tuple[str, ...]:
    """The options that say who is in the core's queue."""
    return (
        *("--bands", str(scale.bands), "--flows-per-band", str(scale.flows_per_band)),
        *("--endpoints", str(scale.endpoints), "--queued", str(scale.queued if queued is None else queued)),
    )
