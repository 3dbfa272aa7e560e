"""The rows of the cost table (design, section 8), in its order: what is measured, how, and the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.costs.rows.beside import measure_beside
from benchmarks.costs.rows.chunk import measure_chunk
from benchmarks.costs.rows.core import measure_core
from benchmarks.costs.rows.held import measure_held
from benchmarks.costs.rows.idle import measure_idle
from benchmarks.costs.rows.memory import measure_memory
from benchmarks.costs.rows.policies import measure_policies
from benchmarks.costs.rows.request import measure_request
from benchmarks.costs.rows.sync import measure_sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale
    from benchmarks.costs.table import Line

    Measure = Callable[[Programs, Scale], Awaitable[list[Line]]]


class Entry(NamedTuple):
    """Rows that are measured together."""

    rows: tuple[str, ...]
    """Their names, as `--only` takes them."""
    measure: Measure


ENTRIES = (
    Entry(("request",), measure_request),
    Entry(("chunk",), measure_chunk),
    Entry(("core", "drain", "turn"), measure_core),
    Entry(("policies",), measure_policies),
    Entry(("beside",), measure_beside),
    Entry(("idle",), measure_idle),
    Entry(("memory",), measure_memory),
    Entry(("held",), measure_held),
    Entry(("sync",), measure_sync),
)
