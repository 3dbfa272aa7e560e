"""Row 6: what a picker costs that has nothing to do but to keep its endpoints' metrics fresh."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING
from urllib.request import urlopen

from benchmarks.accounting import cpu_s
from benchmarks.costs.corework import heap_pair_s
from benchmarks.costs.programs import PickerPool
from benchmarks.costs.table import Bound, Line, Unit, microseconds

if TYPE_CHECKING:
    from benchmarks.costs.programs import Programs, Serving
    from benchmarks.costs.scale import Scale

IDLE_BOUND = Bound(0.05, Unit.SHARE, "of a core")
SCRAPES_PER_SECOND = 5
"""Of each endpoint: the picker's default."""
_HEAP_SIZE = 50_000
_HEAP_PAIRS = 20_000
_TIMEOUT_S = 10.0


async def measure_idle(programs: Programs, scale: Scale) -> list[Line]:
    """The picker against one process that answers for all model servers; only the picker is weighed.

    What is counted is CPU per scrape, times the scrapes that are due: a machine that is too busy to scrape in time
    does not make the picker look idle.
    """
    addresses = await programs.stub(scale.endpoints)
    picker = await programs.picker(PickerPool(addresses=addresses, scraped=True))
    due_per_s = SCRAPES_PER_SECOND * len(addresses)
    await _watch(picker, addresses[0], seconds=1.0)  # connections are made, code is warm
    scrape_s, rates, pair_s = list[float](), list[float](), list[float]()
    for _ in range(scale.rounds):
        spent_s, scrapes, elapsed_s = await _watch(picker, addresses[0], seconds=scale.idle_s)
        scrape_s.append(spent_s / scrapes)
        rates.append(scrapes / elapsed_s)
        pair_s.append(heap_pair_s(size=_HEAP_SIZE, pairs=_HEAP_PAIRS))
    return [
        Line(
            row="idle",
            what=f"{len(addresses)} endpoints scraped at {SCRAPES_PER_SECOND} Hz",
            bound=IDLE_BOUND,
            rounds=tuple(each * due_per_s for each in scrape_s),
            facts={
                "scrape": microseconds(median(scrape_s)),
                "that is": f"{median(scrape_s) / median(pair_s):.0f} heap push + pop",
                "scrapes/s": f"{median(rates):.0f} of {due_per_s}",
            },
        )
    ]


async def _watch(picker: Serving, address: str, *, seconds: float) -> tuple[float, int, float]:
    """The picker's CPU, the scrapes, and the time that really passed."""
    scrapes, spent_s, began_s = await _served(address), cpu_s(picker.pid), time.monotonic()
    await asyncio.sleep(seconds)
    spent_s, elapsed_s = cpu_s(picker.pid) - spent_s, time.monotonic() - began_s
    return spent_s, await _served(address) - scrapes, elapsed_s


async def _served(address: str) -> int:
    """How many pages the stub has served."""

    def ask() -> int:
        with urlopen(f"http://{address}/served", timeout=_TIMEOUT_S) as answer:
            return int(answer.read())

    return await asyncio.to_thread(ask)
