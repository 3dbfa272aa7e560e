"""What a request that waits costs in memory, besides its body."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.programs import PickerPool, together
from benchmarks.costs.rows.core import core_sizes
from benchmarks.costs.table import Bound, Line, Unit, written

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.costs.programs import Programs, Serving
    from benchmarks.costs.scale import Scale

CORE_BOUND = Bound(2048, Unit.BYTES)
PROCESS_BOUND = Bound(1.3, Unit.RATIO, "the bare server")

_NO_ROOM = PickerPool(addresses=("127.0.0.1:9",), max_concurrency=1)
"""The first stream takes the only slot, all others are queued."""


async def measure_memory(programs: Programs, scale: Scale) -> list[Line]:
    """The core by what it allocates; the processes by what they grow, each time new ones.

    All of them at the same time: memory is the one thing that they don't take from each other.
    """
    core, rounds = await together(
        programs.result_of("benchmarks.costs.corework", "memory", *core_sizes(scale)),
        _rounds(programs, scale),
    )
    return [_core_line(core, scale), *_process_lines(rounds, scale)]


async def _rounds(programs: Programs, scale: Scale) -> list[dict[str | None, float]]:
    return [await _one_round(programs, scale) for _ in range(scale.long_rounds)]


async def _one_round(programs: Programs, scale: Scale) -> dict[str | None, float]:
    """Bytes per held stream of each variant, and of the bare server, whose name is None."""
    bare, pickers = await together(programs.bare("--hold"), programs.pickers(_NO_ROOM))
    names = [None, *(str(picker.variant) for picker in pickers)]
    servers = [bare, *(picker.serving for picker in pickers)]
    found = await together(*(_bytes_per_stream(programs, server, scale) for server in servers))
    return dict(zip(names, found, strict=True))


async def _bytes_per_stream(programs: Programs, server: Serving, scale: Scale) -> float:
    held = await programs.result(
        "benchmarks.costs.hold", port=server.port, pid=server.pid, streams=scale.held
    )
    await programs.stop(server)
    return float(held["bytes_per_stream"])


def _core_line(core: dict[str, Any], scale: Scale) -> Line:
    return Line(
        row="memory",
        what=f"core, per queued request of {scale.queued:,}, its share of its flow included",
        bound=CORE_BOUND,
        rounds=(float(core["bytes_per_request"]),),
        facts={
            "an item alone": written(core["bytes_per_item"], Unit.BYTES),
            f"a flow, of {core['flows']:,}": written(core["bytes_per_flow"], Unit.BYTES),
        },
    )


def _process_lines(rounds: list[dict[str | None, float]], scale: Scale) -> list[Line]:
    return [
        Line(
            row="memory",
            what=f"process, per stream of {scale.held:,} held",
            variant=variant,
            bound=PROCESS_BOUND,
            rounds=tuple(each[variant] / each[None] for each in rounds),
            facts={
                "picker": written(median(each[variant] for each in rounds), Unit.BYTES),
                "bare": written(median(each[None] for each in rounds), Unit.BYTES),
            },
        )
        for variant in rounds[0]
        if variant is not None
    ]
