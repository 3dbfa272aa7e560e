"""What an event log and a shadow policy add to the core's own work under a full queue."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.rows.core import core_sizes
from benchmarks.costs.table import Bound, Line, Unit, microseconds

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale

LOG_BOUND = Bound(0.75, Unit.RATIO, "the core's own CPU")
SHADOW_BOUND = Bound(2.5, Unit.RATIO, "the core's own CPU")


async def measure_beside(programs: Programs, scale: Scale) -> list[Line]:
    """Three cores in turn in one process: alone, with a log, with a shadow; a new process for each round."""
    found = [
        await programs.result_of(
            "benchmarks.costs.corework",
            "beside",
            *core_sizes(scale, queued=scale.beside_queued),
            *("--cycles", str(scale.policy_cycles)),
        )
        for _ in range(scale.long_rounds)
    ]
    return [
        Line(
            row="beside",
            what=f"arrive + dispatch + end: {what}",
            bound=bound,
            rounds=tuple(each[key] / each["alone_s"] for each in found),
            facts={"CPU": microseconds(median(each[key] for each in found))},
        )
        for what, key, bound in (
            ("what the event log adds", "log_s", LOG_BOUND),
            ("what a shadow policy adds", "shadow_s", SHADOW_BOUND),
        )
    ]
