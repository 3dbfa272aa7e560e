"""The rows of the cost table (design, section 8), in its order: what is measured, how, and the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.rows.beside import measure_beside
from benchmarks.rows.chunk import measure_chunk
from benchmarks.rows.core import measure_core
from benchmarks.rows.held import measure_held
from benchmarks.rows.idle import measure_idle
from benchmarks.rows.memory import measure_memory
from benchmarks.rows.policies import measure_policies
from benchmarks.rows.request import measure_request
from benchmarks.rows.sync import measure_sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.programs import Programs
    from benchmarks.scale import Scale
    from benchmarks.table import Line

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
