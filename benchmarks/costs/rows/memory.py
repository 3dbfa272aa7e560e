"""What a request that waits costs in memory, besides its body."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple, assert_never

from benchmarks.costs.programs import PickerPool, together
from benchmarks.costs.rows.core import core_sizes
from benchmarks.costs.table import Bound, Line, Unit, written
from epp.extproc.transports.transport import TransportName

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.costs.programs import Programs, Serving
    from benchmarks.costs.scale import Scale
    from benchmarks.costs.variant import Variant

CORE_BOUND = Bound(2048, Unit.BYTES)
PROCESS_BOUND = Bound(1.3, Unit.RATIO, "the bare server")
NATIVE_BOUND = Bound(3 * 1024, Unit.BYTES)

_NO_ROOM = PickerPool(addresses=("127.0.0.1:9",), max_concurrency=1)
"""The first stream takes the only slot, all others are queued."""


class _Round(NamedTuple):
    """Bytes per held stream, besides its body."""

    bare: float
    pickers: dict[Variant, float]


async def measure_memory(programs: Programs, scale: Scale) -> list[Line]:
    """The core by what it allocates; the processes by what they grow, each time new ones.

    All of them at the same time: memory is the one thing that they don't take from each other.
    """
    core, rounds = await together(
        programs.result_of("benchmarks.costs.corework", "memory", *core_sizes(scale)),
        _rounds(programs, scale),
    )
    return [_core_line(core, scale), *_process_lines(rounds, scale)]


async def _rounds(programs: Programs, scale: Scale) -> list[_Round]:
    return [await _one_round(programs, scale) for _ in range(scale.long_rounds)]


async def _one_round(programs: Programs, scale: Scale) -> _Round:
    bare, pickers = await together(programs.bare("--hold"), programs.pickers(_NO_ROOM))
    servers = [bare, *(picker.serving for picker in pickers)]
    bare_bytes, *found = await together(*(_bytes_per_stream(programs, server, scale) for server in servers))
    return _Round(bare_bytes, {picker.variant: each for picker, each in zip(pickers, found, strict=True)})


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


def _process_lines(rounds: list[_Round], scale: Scale) -> list[Line]:
    return [_process_line(variant, rounds, scale) for variant in rounds[0].pickers]


def _process_line(variant: Variant, rounds: list[_Round], scale: Scale) -> Line:
    ours = [each.pickers[variant] for each in rounds]
    bares = [each.bare for each in rounds]
    match variant.transport:
        case TransportName.GRPCIO:
            bound = PROCESS_BOUND
            values = [our / bare for our, bare in zip(ours, bares, strict=True)]
        case TransportName.NATIVE:
            bound, values = NATIVE_BOUND, ours
        case _:
            assert_never(variant.transport)
    return Line(
        row="memory",
        what=f"process, per stream of {scale.held:,} held, besides its body",
        variant=str(variant),
        bound=bound,
        rounds=tuple(values),
        facts={
            "picker": written(median(ours), Unit.BYTES),
            "bare": written(median(bares), Unit.BYTES),
        },
    )
