"""The rows of the cost table, in its order: what is measured, how, and the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.costs.rows.beside import measure_beside
from benchmarks.costs.rows.chunk import measure_chunk
from benchmarks.costs.rows.core import measure_core
from benchmarks.costs.rows.held import measure_held
from benchmarks.costs.rows.idle import measure_idle
from benchmarks.costs.rows.latency import measure_latency
from benchmarks.costs.rows.memory import measure_memory
from benchmarks.costs.rows.policies import measure_policies
from benchmarks.costs.rows.request import measure_long, measure_request
from benchmarks.costs.rows.sync import measure_sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.costs.programs import Programs
    from benchmarks.costs.scale import Scale
    from benchmarks.costs.table import Line, Skip

    Measure = Callable[[Programs, Scale], Awaitable[Sequence[Line | Skip]]]


class Entry(NamedTuple):
    """Rows that are measured together."""

    rows: tuple[str, ...]
    """Their names, as `--only` takes them."""
    measure: Measure


GROUPS = (
    (Entry(("request",), measure_request),),
    (Entry(("chunk",), measure_chunk),),
    (Entry(("long",), measure_long),),
    (Entry(("latency",), measure_latency),),
    (Entry(("core", "drain", "turn"), measure_core),),
    (Entry(("idle",), measure_idle), Entry(("policies",), measure_policies)),
    (Entry(("memory",), measure_memory), Entry(("beside",), measure_beside)),
    (Entry(("held",), measure_held),),
    (Entry(("sync",), measure_sync),),
)
"""What is measured one after the other; the entries of one group at the same time.

Those leave each other alone: one of the two is a single process that compares CPU with CPU, the other hardly uses any,
or counts bytes.
"""

ENTRIES = tuple(entry for group in GROUPS for entry in group)
