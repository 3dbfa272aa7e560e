"""The workloads of the report: what sets policies apart, each with a sentence that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.fairness.pool import servers
from benchmarks.fairness.tenants import (
    Backlogged,
    Bursts,
    ClosedLoop,
    Tenant,
    around,
    constant,
    heavy_tailed,
    scaled,
    scattered,
)

if TYPE_CHECKING:
    from benchmarks.fairness.world import Server


class Workload(NamedTuple):
    """Who competes for what."""

    name: str
    tenants: tuple[Tenant, ...]
    servers: tuple[Server, ...]
    about: str


_POOL = tuple(servers(4, 100.0, 50.0))

WORKLOADS = (
    Workload(
        "sizes 10:1",
        (
            Tenant(name="large", demand=Backlogged(), size=around(1000)),
            Tenant(name="small", demand=Backlogged(), size=around(100)),
        ),
        _POOL,
        "Two tenants that always have work; one's requests are ten times as large.",
    ),
    Workload(
        "bursts",
        (
            Tenant(name="steady", demand=Backlogged(), size=around(200)),
            Tenant(name="bursts", demand=Bursts(120, every_s=150.0, from_s=100.0), size=around(200)),
        ),
        _POOL,
        "One tenant always has work; the other is idle, then sends 120 requests at once, and again.",
    ),
    Workload(
        "closed loops",
        (
            Tenant(name="one at a time", demand=ClosedLoop(1), size=around(4000)),
            Tenant(name="three at a time", demand=ClosedLoop(3), size=around(1000)),
            Tenant(name="backlog", demand=Backlogged(), size=around(100)),
            Tenant(name="other backlog", demand=Backlogged(), size=heavy_tailed(100)),
        ),
        tuple(servers(2, 200.0)),
        "Two tenants send large requests, and the next one only after an answer; two others have small ones queued.",
    ),
    Workload(
        "wrong estimates",
        (
            Tenant(name="low", demand=Backlogged(), size=around(800), guess=scaled(0.1)),
            Tenant(name="high", demand=Backlogged(), size=around(200), guess=scaled(10.0)),
            Tenant(name="anything", demand=Backlogged(), size=heavy_tailed(200), guess=scattered(10.0)),
            Tenant(name="constant", demand=Backlogged(), size=around(400), guess=constant(256)),
        ),
        _POOL,
        "Four tenants whose requests are taken for a tenth, for ten times as much, for anything, and for 256 tokens.",
    ),
    Workload(
        "weights 1:2:4",
        (
            Tenant(name="one", demand=Backlogged(), size=around(600), guess=scattered(3.0)),
            Tenant(name="two", demand=Backlogged(), size=around(100), guess=scattered(3.0), weight=2.0),
            Tenant(name="four", demand=Backlogged(), size=around(250), guess=scattered(3.0), weight=4.0),
        ),
        _POOL,
        "Three tenants that are to get shares of 1, 2 and 4. The other two policies know no weights.",
    ),
)
