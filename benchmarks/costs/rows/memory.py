"""Row 7: what a request that waits costs in memory, besides its body."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.programs import PickerPool
from benchmarks.costs.rows.core import core_sizes
from benchmarks.costs.table import Bound, Line, Unit, written

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs, Serving
    from benchmarks.costs.scale import Scale

CORE_BOUND = Bound(2048, Unit.BYTES)
PROCESS_BOUND = Bound(1.3, Unit.RATIO, "the bare server")

_NO_ROOM = PickerPool(addresses=("127.0.0.1:9",), max_concurrency=1)
"""The first stream takes the only slot, all others are queued."""


async def measure_memory(programs: Programs, scale: Scale) -> list[Line]:
    """The core by what it allocates; the process by what it grows, each time a new one."""
    core = await programs.result_of("benchmarks.costs.corework", "memory", *core_sizes(scale))
    bare_bytes, picker_bytes = list[float](), list[float]()
    for _ in range(scale.long_rounds):
        bare_bytes.append(await _bytes_per_stream(programs, await programs.bare("--hold"), scale))
        picker_bytes.append(await _bytes_per_stream(programs, await programs.picker(_NO_ROOM), scale))
    return [
        Line(
            row="memory",
            what=f"core, per queued request of {scale.queued:,}, its share of its flow included",
            bound=CORE_BOUND,
            rounds=(float(core["bytes_per_request"]),),
            facts={
                "an item alone": written(core["bytes_per_item"], Unit.BYTES),
                f"a flow, of {core['flows']:,}": written(core["bytes_per_flow"], Unit.BYTES),
            },
        ),
        Line(
            row="memory",
            what=f"process, per stream of {scale.held:,} held",
            bound=PROCESS_BOUND,
            rounds=tuple(ours / theirs for ours, theirs in zip(picker_bytes, bare_bytes, strict=True)),
            facts={
                "picker": written(median(picker_bytes), Unit.BYTES),
                "bare": written(median(bare_bytes), Unit.BYTES),
            },
        ),
    ]


async def _bytes_per_stream(programs: Programs, server: Serving, scale: Scale) -> float:
    held = await programs.result(
        "benchmarks.costs.hold", port=server.port, pid=server.pid, streams=scale.held
    )
    await programs.stop(server)
    return float(held["bytes_per_stream"])
