"""What rows have in common that put requests through the standing servers, the bare ones and the pickers in turn."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple, assert_never

from benchmarks.costs import messages
from benchmarks.costs.table import Bound, Line, Unit, microseconds
from epp.extproc.transports.transport import TransportName

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.costs.programs import Measured, Programs, Serving, Standing
    from benchmarks.costs.scale import Scale

_BARE, _ALIKE, _ENGINE = range(3)
"""The bare servers, in the order in which they stand."""


class Bursts(NamedTuple):
    """What each server gets in each round."""

    requests: int
    """In one burst."""
    bursts: int
    chunks: tuple[int, ...]
    """Before the end of each response: one measurement for each of these."""
    streams: int
    """At a time."""
    body_bytes: int = messages.BODY_BYTES
    pause_s: float = 0.0
    """Between the answer to a chunk and the next chunk of that response."""


class Found(NamedTuple):
    """Of each round, each number of chunks, each server."""

    request_cpu_s: list[list[list[float]]]
    """CPU seconds per request."""
    messages_per_write: list[list[list[float]]]
    """How many the server got at once, as far as it was up to us."""


class Bounds(NamedTuple):
    """How many times what a bare server takes a picker may take."""

    grpcio: float
    """On grpc.aio, beside the bare server on that, whether grpc polls as it comes or as it does for the picker."""
    native: float
    """On our own engine, beside the bare server on grpc.aio as it comes."""
    engine: float | None = None
    """The same picker, beside the bare server on that engine."""


class _Yardstick(NamedTuple):
    server: int
    whose: str
    """What is added to the line's name."""
    bound: Bound


async def measure_bursts(
    programs: Programs, servers: Sequence[Serving], load: Bursts, *, rounds: int
) -> Found:
    """Drive them."""
    found = await programs.result(
        "benchmarks.costs.burst",
        server=[f"{server.port}:{server.pid}" for server in servers],
        chunks=list(load.chunks),
        body_bytes=load.body_bytes,
        requests=load.requests,
        bursts=load.bursts,
        rounds=rounds,
        streams=load.streams,
        pause_us=round(load.pause_s * 1e6),
    )
    return Found(found["request_cpu_s"], found["messages_per_write"])


def bursts(
    scale: Scale, *, requests: int, chunks: tuple[int, ...], body_bytes: int = messages.BODY_BYTES
) -> Bursts:
    """As many streams at a time as the run has."""
    return Bursts(
        requests=requests, bursts=scale.bursts, chunks=chunks, streams=scale.streams, body_bytes=body_bytes
    )


def beside_bare(
    standing: Standing,
    rounds: Sequence[Sequence[float]],
    *,
    row: str,
    what: str,
    bounds: Bounds,
    facts: Sequence[str] = (),
) -> list[Line]:
    """A line for each picker and each bare server that it is held against; each round has the seconds of all servers.

    `facts` has another figure for each server.
    """
    return [
        _line(picker, number, rounds, yardstick, row=row, what=what, facts=facts)
        for number, picker in enumerate(standing.pickers, start=len(standing.all) - len(standing.pickers))
        for yardstick in _yardsticks(picker, bounds)
    ]


def _yardsticks(picker: Measured, bounds: Bounds) -> Iterator[_Yardstick]:
    match picker.variant.transport:
        case TransportName.GRPCIO:
            bound = Bound(bounds.grpcio, Unit.RATIO, "the bare server")
            yield _Yardstick(_BARE, "", bound)
            # How grpc polls is the picker's choice, and part of what makes it cheaper. This takes that away.
            yield _Yardstick(_ALIKE, ", grpc polling alike", bound)
        case TransportName.NATIVE:
            yield _Yardstick(_BARE, "", Bound(bounds.native, Unit.RATIO, "the bare server"))
            if bounds.engine is not None:
                yield _Yardstick(
                    _ENGINE, "", Bound(bounds.engine, Unit.RATIO, "the bare server on the same engine")
                )
        case _:
            assert_never(picker.variant.transport)


def _line(
    picker: Measured,
    number: int,
    rounds: Sequence[Sequence[float]],
    yardstick: _Yardstick,
    *,
    row: str,
    what: str,
    facts: Sequence[str],
) -> Line:
    picker_s = [each[number] for each in rounds]
    bare_s = [each[yardstick.server] for each in rounds]
    return Line(
        row=row,
        what=what + yardstick.whose,
        variant=str(picker.variant),
        bound=yardstick.bound,
        rounds=tuple(ours / theirs for ours, theirs in zip(picker_s, bare_s, strict=True)),
        facts={
            "picker": " ".join((microseconds(median(picker_s)), *facts[number : number + 1])),
            "bare": " ".join((microseconds(median(bare_s)), *facts[yardstick.server : yardstick.server + 1])),
        },
    )
