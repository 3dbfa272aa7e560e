"""What each kind of fairness and each order inside flows costs the core under a full queue."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.rows.core import HEAP_BOUND, core_sizes
from benchmarks.costs.table import Line, microseconds

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale


async def measure_policies(programs: Programs, scale: Scale) -> list[Line]:
    """All of them in turn in one process, each beside the same bare heap; a new process for each round."""
    found = [
        await programs.result_of(
            "benchmarks.costs.corework",
            "policies",
            *core_sizes(scale),
            *("--cycles", str(scale.policy_cycles)),
        )
        for _ in range(scale.long_rounds)
    ]
    return [
        Line(
            row="policies",
            what=f"arrive + dispatch + end, {name}",
            bound=HEAP_BOUND,
            rounds=tuple(each["ratios"][name] for each in found),
            facts={"core": microseconds(median(each["cycle_s"][name] for each in found))},
        )
        for name in found[0]["ratios"]
    ]
