"""Flow control's metrics under upstream's names: `llm_d_epp_flow_control_*`.

Queue gauges exist for every band, 0 when nothing waits, so that an autoscaler can tell an empty queue from a picker
that is gone. Capacity and saturation are worked out at the moment of the scrape.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from epp.core.endpoint import Knowledge
from epp.observe.exposition import Distributions, Numbers, Reading, counter, gauge, histogram
from epp.observe.histogram import Buckets, Distribution
from epp.observe.labels import label_text
from epp.observe.series import SeriesKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.observe.meter import RequestBook
    from epp.observe.scrape import Scrape

CYCLE_BUCKETS = Buckets(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
DEFAULT_FAIRNESS_ID = "default-flow"
"""Whose queue stands for a band in which nobody waits: that of requests without a fairness id."""
EMPTY_POOL_SATURATION = 1.0

WAITS = histogram(
    "llm_d_epp_flow_control_request_queue_duration_seconds",
    "Time in the queue, by what became of the request.",
)
CYCLES = histogram(
    "llm_d_epp_flow_control_dispatch_cycle_duration_seconds",
    "Time that flow control takes for one event and everything that it leads to.",
)
QUEUE_SIZE = gauge("llm_d_epp_flow_control_queue_size", "Requests in the queue.")
QUEUE_BYTES = gauge("llm_d_epp_flow_control_queue_bytes", "Bytes of the requests in the queue.")
SATURATION = gauge(
    "llm_d_epp_flow_control_pool_saturation",
    "Mean over endpoints of load as a share of the limit, 1 and more being full; an empty pool reads 1. "
    "Requests are admitted by endpoint, not by this mean. All endpoints are in the decode stage.",
)
STALE_ENDPOINTS = gauge(
    "llm_d_epp_flow_control_stale_endpoints",
    "Endpoints whose metrics are missing or too old, so that own accounting stands in.",
)
CAPACITY_REQUESTS = gauge(
    "llm_d_epp_flow_control_capacity_utilization_requests", "Share of a band's request limit in use."
)
CAPACITY_BYTES = gauge(
    "llm_d_epp_flow_control_capacity_utilization_bytes", "Share of a band's byte limit in use."
)
GLOBAL_CAPACITY_REQUESTS = gauge(
    "llm_d_epp_flow_control_global_capacity_utilization_requests",
    "Share of the request limit over all bands in use; absent without one.",
)
GLOBAL_CAPACITY_BYTES = gauge(
    "llm_d_epp_flow_control_global_capacity_utilization_bytes",
    "Share of the byte limit over all bands in use; absent without one.",
)
REVOCATIONS_ISSUED = counter(
    "llm_d_epp_flow_control_revocations_issued_total",
    "Running requests that were asked to give way, by the priority of the demand.",
)
REVOCATIONS = counter(
    "llm_d_epp_flow_control_revocations_total",
    "Running requests that were asked to give way, by what came of it.",
)
OUTCOMES = counter("llm_d_epp_flow_control_requests_total", "Requests that flow control decided, each once.")

TWINS = {
    family.name: family.name.replace("llm_d_epp_", "inference_extension_")
    for family in (WAITS, CYCLES, QUEUE_SIZE, QUEUE_BYTES, SATURATION)
}
"""Deprecated names for the very same series."""


def read_flow_control(scrape: Scrape, book: RequestBook, cycles: Distribution) -> Iterator[Reading]:
    """Flow control's metrics."""
    yield from _queues(scrape, book)
    yield Numbers(
        OUTCOMES,
        [
            (f'outcome="{outcome}",priority="{priority}",{scrape.by_pool}', count)
            for (outcome, priority), count in book.outcomes.items()
        ],
    )
    yield Distributions(
        WAITS,
        [
            (f'{each.text},{scrape.by_pool},outcome="{outcome}"', waits_s)
            for each in book.series
            for outcome, waits_s in each.waits_s.items()
        ],
    )
    yield Distributions(CYCLES, [("", cycles)])
    evictions = scrape.statistics.evictions
    issued = scrape.priorities.sums(evictions.issued)
    yield Numbers(
        REVOCATIONS_ISSUED,
        [(f'priority="{priority}",{scrape.by_pool}', count) for priority, count in issued.items()],
    )
    yield Numbers(
        REVOCATIONS,
        [
            (f'outcome="{outcome}",{scrape.by_pool}', count)
            for outcome, count in (("confirmed", evictions.confirmed), ("timed_out", evictions.timed_out))
        ],
    )
    yield from _capacity(scrape)


def _queues(scrape: Scrape, book: RequestBook) -> Iterator[Reading]:
    sizes: list[tuple[str, float]] = []
    sizes_bytes: list[tuple[str, float]] = []
    live = set()
    for priority, _ in scrape.bands():
        live.add(priority)
        nobody = SeriesKey("", "", DEFAULT_FAIRNESS_ID, priority)
        if nobody not in book.series:
            labels = label_text(
                ("model_name", ""),
                ("target_model_name", ""),
                ("fairness_id", DEFAULT_FAIRNESS_ID),
                ("priority", priority),
                ("inference_pool", scrape.pool),
            )
            sizes.append((labels, 0))
            sizes_bytes.append((labels, 0))
    for series in book.series:
        if series.queued or series.key.priority in live:
            labels = f"{series.text},{scrape.by_pool}"
            sizes.append((labels, series.queued))
            sizes_bytes.append((labels, series.queued_bytes))
    yield Numbers(QUEUE_SIZE, sizes)
    yield Numbers(QUEUE_BYTES, sizes_bytes)


def _capacity(scrape: Scrape) -> Iterator[Reading]:
    statistics = scrape.statistics
    endpoints = statistics.endpoints
    saturation = fmean(each.saturation for each in endpoints) if endpoints else EMPTY_POOL_SATURATION
    stages = ("decode", "effective") if endpoints else ("effective",)
    yield Numbers(SATURATION, [(f'{scrape.by_pool},stage="{stage}"', saturation) for stage in stages])
    stale = sum(each.view.knowledge is not Knowledge.FRESH for each in endpoints)
    yield Numbers(STALE_ENDPOINTS, [(label_text(("detector", scrape.detector)), stale)])
    bands = tuple(scrape.bands())
    yield Numbers(
        CAPACITY_REQUESTS,
        [(scrape.by_band(name), _share(band.queued_requests, band.max_requests)) for name, band in bands],
    )
    yield Numbers(
        CAPACITY_BYTES,
        [(scrape.by_band(name), _share(band.queued_bytes, band.max_bytes)) for name, band in bands],
    )
    if statistics.max_requests is not None:
        share = _share(statistics.queued_requests, statistics.max_requests)
        yield Numbers(GLOBAL_CAPACITY_REQUESTS, [(scrape.by_pool, share)])
    if statistics.max_bytes is not None:
        share = _share(statistics.queued_bytes, statistics.max_bytes)
        yield Numbers(GLOBAL_CAPACITY_BYTES, [(scrape.by_pool, share)])


def _share(used: int, limit: int) -> float:
    """A limit of 0 is used up."""
    return used / limit if limit > 0 else 1.0
