"""Following a large namespace: 10,000 pods and 1,000 objectives, from nothing to ready, and one change after that."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.table import Bound, Judged, Line, Unit

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale

STALL_BOUND = Bound(0.010, Unit.SECONDS, judged=Judged.EVERY_ROUND)
SYNC_BOUND = Bound(5.0, Unit.RATIO, "json.loads of the same pages")
MEMORY_BOUND = Bound(4096, Unit.BYTES, "a pod")
MEDIAN_BOUND = Bound(0.020, Unit.SECONDS)
SLOWEST_BOUND = Bound(0.100, Unit.SECONDS, judged=Judged.EVERY_ROUND)


async def measure_sync(programs: Programs, scale: Scale) -> list[Line]:
    """One API server, and several rounds of a new process that follows it."""
    kubeconfig = await programs.apiserver(pods=scale.pods, objectives=scale.objectives)
    found = [
        await programs.result(
            "benchmarks.costs.sync", kubeconfig=kubeconfig, pods=scale.pods, changes=scale.changes
        )
        for _ in range(scale.long_rounds)
    ]
    sizes = f"{scale.pods:,} pods, {scale.objectives:,} objectives"
    return [
        Line(
            row="sync",
            what=f"longest stall of the loop, {sizes}",
            bound=STALL_BOUND,
            rounds=tuple(each["longest_s"] for each in found),
        ),
        Line(
            row="sync",
            what=f"CPU until they are taken in, {sizes}",
            bound=SYNC_BOUND,
            rounds=tuple(each["sync_cpu_s"] / each["plain_s"] for each in found),
            facts={
                "CPU": f"{median(each['sync_cpu_s'] for each in found):.2f} s",
                "ready after": f"{median(each['synced_s'] for each in found):.2f} s",
            },
        ),
        Line(
            row="sync",
            what=f"memory for them, {sizes}",
            bound=MEMORY_BOUND,
            rounds=tuple(each["bytes_per_pod"] for each in found),
        ),
        Line(
            row="sync",
            what="from an objective's change until it counts, median",
            bound=MEDIAN_BOUND,
            rounds=tuple(median(each["latencies_s"]) for each in found),
        ),
        Line(
            row="sync",
            what="the same, slowest",
            bound=SLOWEST_BOUND,
            rounds=tuple(max(each["latencies_s"]) for each in found),
        ),
    ]
