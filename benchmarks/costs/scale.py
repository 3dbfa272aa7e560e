"""How much work a run does. The sizes that the cost table names are the same in every run but the tests'."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of all rows."""

    rounds: int
    """Of rows that take a second or two."""
    core_rounds: int
    """Of the row that fills the core's queue anew each time."""
    long_rounds: int
    """Of rows that take most of a minute."""
    requests: int
    """In one burst."""
    bursts: int
    """In one round, at each server."""
    chunk_requests: int
    """In one burst of the row that is about chunks."""
    chunks: int
    """In a long response."""
    long_requests: int
    """With long prompts, in one burst."""
    alone_streams: int
    """One at a time, in one round, at each server, of the row that is about chunks."""
    alone_requests: int
    """One at a time, in one round, at each server."""
    through_requests: int
    """One at a time, in one round, through each Envoy."""
    streams: int = 32
    """At a time, in a burst."""
    bands: int = 8
    flows_per_band: int = 5_000
    queued: int = 50_000
    few_queued: int = 500
    endpoints: int = 100
    cycles: int
    """Requests that pass through the full core."""
    policy_cycles: int
    """The same, for every policy and for whatever runs beside the core."""
    beside_queued: int = 50_000
    """In the core that something runs beside, which is compared with itself."""
    idle_s: float
    """How long an idle picker is watched in one round."""
    held: int = 5_000
    few_held: int = 50
    pods: int = 10_000
    objectives: int = 1_000
    changes: int = 50
    """Of an objective, in one round."""
    handovers: int
    """In one round, with few held and again with many."""


FULL = Scale(
    rounds=7,
    core_rounds=7,
    long_rounds=3,
    requests=96,
    bursts=12,
    chunk_requests=32,
    chunks=101,
    long_requests=32,
    alone_streams=3,
    alone_requests=200,
    through_requests=300,
    cycles=24_000,
    policy_cycles=8_000,
    idle_s=4.0,
    handovers=300,
)
QUICK = Scale(
    rounds=5,
    core_rounds=1,
    long_rounds=1,
    requests=64,
    bursts=3,
    chunk_requests=16,
    chunks=51,
    long_requests=16,
    alone_streams=2,
    alone_requests=50,
    through_requests=100,
    cycles=5_000,
    policy_cycles=1_200,
    beside_queued=10_000,
    idle_s=1.5,
    handovers=40,
)
