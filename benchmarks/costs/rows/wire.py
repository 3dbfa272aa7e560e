"""What rows have in common that put requests through the standing servers, the bare one and the pickers in turn."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.costs import messages
from benchmarks.costs.table import Line, microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.costs.programs import Measured, Programs, Serving
    from benchmarks.costs.scale import Scale
    from benchmarks.costs.table import Bound


class Bursts(NamedTuple):
    """What each server gets in each round."""

    requests: int
    """In one burst."""
    bursts: int
    chunks: tuple[int, ...]
    """Before the end of each response: one measurement for each of these."""
    body_bytes: int = messages.BODY_BYTES


async def request_cpu_s(
    programs: Programs, servers: Sequence[Serving], load: Bursts, *, scale: Scale, rounds: int
) -> list[list[list[float]]]:
    """CPU seconds per request: of each round, each number of chunks, each server."""
    found = await programs.result(
        "benchmarks.costs.burst",
        server=[f"{server.port}:{server.pid}" for server in servers],
        chunks=list(load.chunks),
        body_bytes=load.body_bytes,
        requests=load.requests,
        bursts=load.bursts,
        rounds=rounds,
        streams=scale.streams,
    )
    rounds_found: list[list[list[float]]] = found["request_cpu_s"]
    return rounds_found


def beside_bare(
    pickers: Sequence[Measured], rounds: Sequence[Sequence[float]], *, row: str, what: str, bound: Bound
) -> list[Line]:
    """Two lines for each picker; each round has the seconds of the two bare servers, then those of the pickers.

    How grpc polls is the picker's choice, and part of what makes it cheaper. The second line takes that away.
    """
    lines = []
    for number, picker in enumerate(pickers, start=2):
        picker_s = [each[number] for each in rounds]
        for which, whose in enumerate(("", ", grpc polling alike")):
            bare_s = [each[which] for each in rounds]
            lines.append(
                Line(
                    row=row,
                    what=what + whose,
                    variant=str(picker.variant),
                    bound=bound,
                    rounds=tuple(ours / theirs for ours, theirs in zip(picker_s, bare_s, strict=True)),
                    facts={"picker": microseconds(median(picker_s)), "bare": microseconds(median(bare_s))},
                )
            )
    return lines
