"""The report of a run for machines: every round of every line, and where it was measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.costs.scale import Scale
    from benchmarks.costs.table import Failure, Line

FILE_NAME = "costs.json"
VERSION = 1


def write(
    directory: Path,
    *,
    lines: Sequence[Line],
    failures: Sequence[Failure],
    scale: Scale,
    machine: Mapping[str, object],
) -> Path:
    """Write it, and return where."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE_NAME
    report = {
        "version": VERSION,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "kept": all_kept(lines, failures),
        "machine": dict(machine),
        "scale": asdict(scale),
        "lines": [_line(line) for line in lines],
        "failures": [asdict(failure) for failure in failures],
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return path


def all_kept(lines: Sequence[Line], failures: Sequence[Failure]) -> bool:
    """Whether every row was measured and stayed within its bounds."""
    return not failures and all(line.kept for line in lines)


def _line(line: Line) -> dict[str, object]:
    bound = line.bound
    return {
        "row": line.row,
        "what": line.what,
        "variant": line.variant,
        "bound": {
            "limit": bound.limit,
            "unit": bound.unit.value,
            "of": bound.of,
            "judged": bound.judged.value,
        },
        "rounds": list(line.rounds),
        "median": line.median,
        "low": min(line.rounds),
        "high": max(line.rounds),
        "kept": line.kept,
        "facts": dict(line.facts),
    }
