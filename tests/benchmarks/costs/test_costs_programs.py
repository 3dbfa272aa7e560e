"""The processes of a benchmark: who shares them, and which picker is started how."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from benchmarks.costs.programs import PickerPool, Programs, together
from benchmarks.costs.rows import ENTRIES
from benchmarks.costs.rows import latency as latency_row
from benchmarks.costs.rows.idle import wake_ups
from benchmarks.costs.scale import Scale
from benchmarks.costs.table import Skip
from benchmarks.costs.variant import BOTH, GRPCIO, Variant
from epp.extproc.transports.transport import TransportName
from epp.quickstart.children import ChildError, Children
from epp.quickstart.proxy import EnvoyNotFoundError


async def test_one_fails_and_the_others_are_cancelled() -> None:
    """What is raised is its own error, not a group of one, and nothing is left behind."""
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waited")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        await together(wait(), fail())
    assert ended == ["waited"]


async def test_results_come_in_the_order_of_the_work() -> None:
    """Whoever ends first."""

    async def after(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert await together(after(5), after(0), after(2)) == [5, 0, 2]


async def test_every_variant_is_measured_and_named(
    tiny: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pickers stand beside the bare servers, all get requests, and each line says whose it is.

    One on the native transport is held against the same bare server as the others, by a bound of its own. Where there
    is no Envoy the line that needs one says so, and the others are there.
    """

    def find_nothing() -> Path:
        raise EnvoyNotFoundError("Envoy is not installed. Somewhere there is one.")

    monkeypatch.setattr(latency_row, "find_envoy", find_nothing)
    latency = next(entry for entry in ENTRIES if entry.rows == ("latency",))
    variants = (*BOTH, Variant(TransportName.GRPCIO, ("--keep-control-headers",)))
    async with Children(logs=tmp_path / "logs") as children:
        base = Programs(children, directory=tmp_path, variants=variants)
        row = Programs(children, directory=tmp_path / "row", base=base)
        standing = await row.standing()
        assert standing is await base.standing()
        assert len({server.pid for server in standing.all}) == 6
        *lines, skip = await latency.measure(row, tiny)
    assert skip == Skip(
        "latency",
        "p50 of one request at a time through Envoy",
        "Envoy is not installed. Somewhere there is one.",
    )
    assert not any(isinstance(line, Skip) for line in lines)
    assert [(line.variant, line.bound.limit) for line in lines] == [
        *[("grpcio", 1.5)] * 2,
        ("native", 1.0),
        *[("grpcio --keep-control-headers", 1.5)] * 2,
    ]
    assert all(line.median > 0 for line in lines)


_NAPS = """
import os, sys, threading, time
def nap():
    for _ in range(50):
        time.sleep(1e-4)
    print(flush=True)
    threading.Event().wait()
print(flush=True)
sys.stdin.readline()
threading.Thread(target=nap, daemon=True).start()
sys.stdin.readline()
"""


async def test_flags_reach_the_picker(tmp_path: Path) -> None:
    """One that it doesn't know ends it, and its own words say why."""
    variants = (GRPCIO, Variant(TransportName.GRPCIO, ("--no-such-flag",)))
    async with Children(logs=tmp_path / "logs") as children:
        with pytest.raises(ChildError, match="no-such-flag"):
            await Programs(children, directory=tmp_path, variants=variants).pickers(PickerPool())


async def test_a_process_whose_threads_nap_has_woken_as_often() -> None:
    """All threads count: the first one sleeps all the time here."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _NAPS, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()
    before = wake_ups(process.pid)
    process.stdin.write(b"\n")
    await process.stdout.readline()
    assert wake_ups(process.pid) - before >= 50
    process.stdin.write(b"\n")
    await process.wait()
