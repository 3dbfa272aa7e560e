"""A metrics page becomes an `EngineSample`, by one engine's row of the table in `epp.config.scrape`.

All or nothing: a page on which a metric that the row names is missing gives no sample, for half of the truth
would look like an idle server. What the row doesn't name counts as 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.endpoint import EngineSample
from epp.modelserver.failures import FailureKind, ScrapeFailure
from epp.modelserver.scan import SeriesScan

if TYPE_CHECKING:
    from epp.config.scrape import EngineMetrics, MetricSelector


class PageReader:
    """Reads the pages of one engine."""

    __slots__ = ("_kv_utilization", "_running", "_waiting", "engine")

    def __init__(self, engine: EngineMetrics) -> None:
        self.engine = engine
        self._waiting = _scan(engine.waiting)
        self._running = _scan(engine.running)
        self._kv_utilization = _scan(engine.kv_utilization)

    def read(self, page: bytes) -> EngineSample:
        """The sample on this page; raises `ScrapeFailure`."""
        waiting = _number(self._waiting, page)
        running = _number(self._running, page)
        kv_utilization = _number(self._kv_utilization, page)
        if waiting is None or running is None or kv_utilization is None:
            values = (
                (self.engine.waiting, waiting),
                (self.engine.running, running),
                (self.engine.kv_utilization, kv_utilization),
            )
            missing = ", ".join(str(selector) for selector, value in values if value is None)
            message = f"the page has no usable {missing} (read as engine {self.engine.name!r})"
            raise ScrapeFailure(FailureKind.METRICS_MISSING, message)
        return EngineSample(int(waiting), int(running), min(kv_utilization, 1.0))


def _scan(selector: MetricSelector | None) -> SeriesScan | None:
    return None if selector is None else SeriesScan(selector)


def _number(scan: SeriesScan | None, page: bytes) -> float | None:
    """What the page says; 0 for what the engine doesn't tell. A negative number of anything is none at all."""
    if scan is None:
        return 0.0
    value = scan.value(page)
    return None if value is None or value < 0 else value
