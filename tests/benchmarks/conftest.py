"""Rows at a size at which every one of them runs in seconds: what they do is checked, never how long it takes."""

from __future__ import annotations

import pytest

from benchmarks.costs.scale import Scale


@pytest.fixture
def tiny() -> Scale:
    """The smallest run that still does everything."""
    return Scale(
        rounds=1,
        core_rounds=1,
        long_rounds=1,
        requests=6,
        bursts=2,
        chunk_requests=2,
        chunks=5,
        long_requests=2,
        alone_streams=1,
        alone_requests=3,
        through_requests=3,
        streams=3,
        bands=3,
        flows_per_band=5,
        queued=200,
        few_queued=20,
        endpoints=3,
        cycles=80,
        policy_cycles=80,
        beside_queued=200,
        idle_s=0.6,
        held=60,
        few_held=5,
        pods=30,
        objectives=10,
        changes=3,
        handovers=5,
    )
