"""What a picker costs without requests: one that keeps its endpoints' metrics fresh, and one with nothing to do."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

from benchmarks.accounting import cpu_s
from benchmarks.costs.corework import heap_pair_s
from benchmarks.costs.programs import PickerPool, together
from benchmarks.costs.table import Bound, Line, Unit, microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.costs.programs import Measured, Programs
    from benchmarks.costs.scale import Scale

SCRAPING_BOUND = Bound(0.05, Unit.SHARE, "of a core")
NOTHING_BOUND = Bound(0.001, Unit.SHARE, "of a core more than the bare server")
WAKE_UPS_BOUND = Bound(10, Unit.COUNT, "more than the bare server")
SCRAPES_PER_SECOND = 5
"""Of each endpoint: the picker's default."""
_SETTLE_S = 1.0
_HEAP_SIZE = 50_000
_HEAP_PAIRS = 20_000
_TIMEOUT_S = 10.0
_VOLUNTARY = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)


class _Rest(NamedTuple):
    """What a process used in a second in which nobody wanted anything of it."""

    cpu_s: float
    wake_ups: float


class _Scraping(NamedTuple):
    """A picker that scrapes, and one of the addresses of its endpoints, which one process answers for."""

    picker: Measured
    address: str


async def measure_idle(programs: Programs, scale: Scale) -> list[Line]:
    """All of them at the same time, of each variant one that scrapes and one with nothing to do."""
    standing, scraping = await together(programs.standing(), _scraping(programs, scale))
    pids = [server.pid for server in (standing.bare, *(each.serving for each in standing.pickers))]
    await asyncio.sleep(_SETTLE_S)  # connections are made, code is warm
    rests: list[list[_Rest]] = []
    scrapes: list[list[tuple[float, float]]] = []
    pair_s: list[float] = []
    for _ in range(scale.rounds):
        rest, scraped = await together(
            _rest(pids, seconds=scale.idle_s), _scrape_cost(scraping, seconds=scale.idle_s)
        )
        rests.append(rest)
        scrapes.append(scraped)
        pair_s.append(heap_pair_s(size=_HEAP_SIZE, pairs=_HEAP_PAIRS))
    lines: list[Line] = []
    for number, each in enumerate(scraping):
        lines.append(_scraping_line(each, [of[number] for of in scrapes], pair_s, scale))
        bare, picker = [of[0] for of in rests], [of[number + 1] for of in rests]
        lines += _nothing_lines(each.picker, picker, bare)
    return lines


async def _scraping(programs: Programs, scale: Scale) -> list[_Scraping]:
    """Of each variant one, with model servers of its own."""
    stubs = await together(*(programs.stub(scale.endpoints) for _ in programs.variants))
    pools = [PickerPool(addresses=addresses, scraped=True) for addresses in stubs]
    pickers = await programs.pickers(*pools)
    return [_Scraping(picker, pool.addresses[0]) for picker, pool in zip(pickers, pools, strict=True)]


async def _scrape_cost(scraping: Sequence[_Scraping], *, seconds: float) -> list[tuple[float, float]]:
    """Of each: the CPU seconds of a scrape, and scrapes per second.

    CPU per scrape, times the scrapes that are due, is what counts: a machine that is too busy to scrape in time does
    not make the picker look idle.
    """
    before = [(await _served(each.address), cpu_s(each.picker.serving.pid)) for each in scraping]
    began_s = time.monotonic()
    await asyncio.sleep(seconds)
    elapsed_s = time.monotonic() - began_s
    found = []
    for each, (served_before, used_before_s) in zip(scraping, before, strict=True):
        used_s = cpu_s(each.picker.serving.pid) - used_before_s
        served = await _served(each.address) - served_before
        found.append((used_s / served, served / elapsed_s))
    return found


async def _served(address: str) -> int:
    """How many pages the stub has served."""

    def ask() -> int:
        with urlopen(f"http://{address}/served", timeout=_TIMEOUT_S) as answer:
            return int(answer.read())

    return await asyncio.to_thread(ask)


async def _rest(pids: Sequence[int], *, seconds: float) -> list[_Rest]:
    before = [(cpu_s(pid), wake_ups(pid)) for pid in pids]
    began_s = time.monotonic()
    await asyncio.sleep(seconds)
    elapsed_s = time.monotonic() - began_s
    return [
        _Rest((cpu_s(pid) - used_s) / elapsed_s, (wake_ups(pid) - woken) / elapsed_s)
        for pid, (used_s, woken) in zip(pids, before, strict=True)
    ]


def wake_ups(pid: int) -> int:
    """How often the threads of a process that it has now have gone to sleep, which is as often as they were woken."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found = _VOLUNTARY.search((thread / "status").read_text(encoding="ascii"))
        except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            continue
        total += int(found[1]) if found else 0
    return total


def _scraping_line(
    each: _Scraping, found: list[tuple[float, float]], pair_s: list[float], scale: Scale
) -> Line:
    scrape_s = [seconds for seconds, _ in found]
    due_per_s = SCRAPES_PER_SECOND * scale.endpoints
    return Line(
        row="idle",
        what=f"{scale.endpoints} endpoints scraped at {SCRAPES_PER_SECOND} Hz",
        variant=str(each.picker.variant),
        bound=SCRAPING_BOUND,
        rounds=tuple(seconds * due_per_s for seconds in scrape_s),
        facts={
            "scrape": microseconds(median(scrape_s)),
            "that is": f"{median(scrape_s) / median(pair_s):.0f} heap push + pop",
            "scrapes/s": f"{median(rate for _, rate in found):.0f} of {due_per_s}",
        },
    )


def _nothing_lines(measured: Measured, picker: list[_Rest], bare: list[_Rest]) -> list[Line]:
    variant = str(measured.variant)
    return [
        Line(
            row="idle",
            what="nothing to do: CPU",
            variant=variant,
            bound=NOTHING_BOUND,
            rounds=tuple(ours.cpu_s - theirs.cpu_s for ours, theirs in zip(picker, bare, strict=True)),
            facts={
                "picker": f"{microseconds(median(each.cpu_s for each in picker))} a second",
                "bare": f"{microseconds(median(each.cpu_s for each in bare))} a second",
            },
        ),
        Line(
            row="idle",
            what="nothing to do: wake-ups per second, all threads",
            variant=variant,
            bound=WAKE_UPS_BOUND,
            rounds=tuple(ours.wake_ups - theirs.wake_ups for ours, theirs in zip(picker, bare, strict=True)),
            facts={
                "picker": f"{median(each.wake_ups for each in picker):.1f}",
                "bare": f"{median(each.wake_ups for each in bare):.1f}",
            },
        ),
    ]
