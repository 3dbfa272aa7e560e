"""Every row of the cost table, measured with real processes at a tiny size. Nothing here depends on speed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.costs.programs import Programs
from benchmarks.costs.rows import ENTRIES, Entry
from benchmarks.costs.scale import Scale
from benchmarks.costs.table import Line, Skip, Unit
from epp.quickstart.children import Children

NEVER_MORE = {"turn": 0, "held": 0}
"""Rows with a line that counts what may not happen, at any size and speed."""
DIFFERENCES = {
    ("chunk", Unit.RATIO),
    ("memory", Unit.RATIO),
    ("memory", Unit.BYTES),
    ("beside", Unit.RATIO),
}
"""What is found by subtracting two sizes may come out as anything when both are small."""
LINES = {
    "request": 4,
    "chunk": 8,
    "long": 3,
    "latency": 4,
    "core": 3,
    "drain": 2,
    "turn": 1,
    "policies": 6,
    "beside": 2,
    "idle": 6,
    "memory": 3,
    "held": 6,
    "sync": 5,
}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.rows[0])
async def test_a_row_is_measured(entry: Entry, tiny: Scale, tmp_path: Path) -> None:
    """Every row that an entry promises comes with its lines, each with a finite number for every round."""
    async with Children(logs=tmp_path / "logs") as children:
        base = Programs(children, directory=tmp_path)
        lines = await entry.measure(Programs(children, directory=tmp_path / "row", base=base), tiny)
    assert [line.row for line in lines] == [row for row in entry.rows for _ in range(LINES[row])]
    for line in lines:
        if isinstance(line, Skip):
            assert "Envoy is not installed" in line.why
            continue
        assert line.rounds
        assert all(math.isfinite(value) for value in line.rounds)
        check_behaviour(line)


def check_behaviour(line: Line) -> None:
    """What holds on the slowest machine too."""
    if line.row in NEVER_MORE and line.bound.limit == NEVER_MORE[line.row]:
        assert line.kept, f"{line.what}: {line.rounds}"
    elif line.row == "idle":
        if "scrapes/s" in line.facts:
            assert float(line.facts["scrapes/s"].partition(" ")[0]) > 0, "the picker scraped nobody"
    elif (line.row, line.bound.unit) not in DIFFERENCES:
        assert line.median > 0, f"{line.what} costs nothing: it was not measured"
