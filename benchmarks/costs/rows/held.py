"""Thousands of held requests neither fail nor slow down those that go first."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.costs.programs import PickerPool, together
from benchmarks.costs.table import Bound, Judged, Line, Unit, microseconds

if TYPE_CHECKING:
    from benchmarks.costs.programs import Measured, Programs, Serving
    from benchmarks.costs.scale import Scale

FLAT_BOUND = Bound(2.0, Unit.RATIO, "with few held")
FAILED_BOUND = Bound(0, Unit.COUNT, "failed streams", judged=Judged.EVERY_ROUND)

_ONE_SLOT = PickerPool(addresses=("127.0.0.1:9",), max_concurrency=1)


async def measure_held(programs: Programs, scale: Scale) -> list[Line]:
    """Of each variant a picker with few requests held and one with many, in turn."""
    fews, manys = await together(programs.pickers(_ONE_SLOT), programs.pickers(_ONE_SLOT))
    return [
        line
        for few, many in zip(fews, manys, strict=True)
        for line in await _measure_variant(programs, scale, few=few.serving, many=many)
    ]


async def _measure_variant(programs: Programs, scale: Scale, *, few: Serving, many: Measured) -> list[Line]:
    found = await programs.result(
        "benchmarks.costs.handover",
        few_port=few.port,
        few_pid=few.pid,
        few=scale.few_held,
        many_port=many.serving.port,
        many_pid=many.serving.pid,
        many=scale.held,
        handovers=scale.handovers,
        rounds=scale.rounds,
    )
    lines = [
        Line(
            row="held",
            what=f"premium handover, {name}, {scale.held:,} batch requests held",
            variant=str(many.variant),
            bound=FLAT_BOUND,
            rounds=tuple(each["many_s"][index] / each["few_s"][index] for each in found["rounds"]),
            facts={
                f"{scale.few_held:,} held": microseconds(
                    median(each["few_s"][index] for each in found["rounds"])
                ),
                f"{scale.held:,} held": microseconds(
                    median(each["many_s"][index] for each in found["rounds"])
                ),
            },
        )
        for index, name in enumerate(("median", "99th percentile"))
    ]
    return [
        *lines,
        Line(
            row="held",
            what=f"of {scale.held + scale.few_held:,} held, those that never got their turn",
            variant=str(many.variant),
            bound=FAILED_BOUND,
            rounds=(float(found["failed"]),),
        ),
    ]
