"""The pool's metrics under upstream's names: what its engines say of themselves, and where asking them failed.

Averages are over endpoints with fresh metrics, and absent when there is none: the last known value would look like a
measurement.
"""

from __future__ import annotations

from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from epp.core.endpoint import EngineSample, Knowledge
from epp.observe.exposition import Numbers, Reading, counter, gauge
from epp.observe.labels import clean, label_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from epp.core.statistics import EndpointStatistics
    from epp.observe.exposition import Family
    from epp.observe.scrape import Scrape


class _Figure(NamedTuple):
    """One figure of an engine, its mean and its spread."""

    mean: Family
    spread: Family
    of: Callable[[EngineSample], float]


FIGURES = (
    _Figure(
        gauge("llm_d_epp_average_kv_cache_utilization", "Mean KV-cache utilization over fresh endpoints."),
        gauge("llm_d_epp_std_dev_kv_cache_utilization", "Spread of KV-cache utilization."),
        lambda sample: sample.kv_utilization,
    ),
    _Figure(
        gauge("llm_d_epp_average_queue_size", "Mean length of the engines' own queues over fresh endpoints."),
        gauge("llm_d_epp_std_dev_queue_size", "Spread of the lengths of the engines' own queues."),
        lambda sample: sample.waiting,
    ),
    _Figure(
        gauge("llm_d_epp_average_running_requests", "Mean requests running over fresh endpoints."),
        gauge("llm_d_epp_std_dev_running_requests", "Spread of requests running."),
        lambda sample: sample.running,
    ),
)
READY_ENDPOINTS = gauge("llm_d_epp_ready_endpoints", "Endpoints with fresh metrics.")
QUEUES = gauge("llm_d_epp_per_endpoint_queue_size", "Length of an engine's own queue, as last scraped.")

SOURCE_TYPE = "metrics-data-source"
EXTRACTOR_TYPE = "core-metrics-extractor"
EXTRACT_FAILURE = "metrics_missing"
"""The one way for a scrape to fail that upstream calls an error of the extractor: a page without the metrics."""
POLL_ERRORS = counter("llm_d_epp_datalayer_poll_errors_total", "Scrapes that brought no page.")
EXTRACT_ERRORS = counter(
    "llm_d_epp_datalayer_extract_errors_total", "Scrapes whose page lacked what the engine should tell."
)
SCRAPE_FAILURES = counter("epp_scrape_failures_total", "Scrapes that gave no sample, by what went wrong.")

TWINS = {
    **{figure.mean.name: figure.mean.name.replace("llm_d_epp_", "inference_pool_") for figure in FIGURES},
    READY_ENDPOINTS.name: "inference_pool_ready_pods",
    **{
        family.name: family.name.replace("llm_d_epp_", "llm_d_inference_scheduler_")
        for family in (POLL_ERRORS, EXTRACT_ERRORS)
    },
}
"""Deprecated names for the very same series."""


def read_pool(scrape: Scrape) -> Iterator[Reading]:
    """The pool's metrics."""
    by_name = label_text(("name", scrape.pool))
    endpoints = scrape.statistics.endpoints
    fresh = [each.view.sample for each in endpoints if each.view.knowledge is Knowledge.FRESH]
    yield Numbers(READY_ENDPOINTS, [(by_name, len(fresh))])
    if fresh:
        for figure in FIGURES:
            values = [float(figure.of(sample)) for sample in fresh]
            yield Numbers(figure.mean, [(by_name, fmean(values))])
            yield Numbers(figure.spread, [(by_name, _spread(values))])
    yield Numbers(QUEUES, _queues(scrape.pool, "model_server_endpoint", endpoints))


def read_deprecated_pool(scrape: Scrape) -> Iterator[Reading]:
    """What upstream deprecated together with its label."""
    yield Numbers(
        QUEUES.renamed("inference_pool_per_pod_queue_size"),
        _queues(scrape.pool, "model_server_pod", scrape.statistics.endpoints),
    )


def read_scraping(failures: Mapping[str, int]) -> Iterator[Reading]:
    """How scraping went, by kind of failure."""
    extract = failures.get(EXTRACT_FAILURE, 0)
    source = label_text(("source_type", SOURCE_TYPE))
    extractor = f"{source},{label_text(('extractor_type', EXTRACTOR_TYPE))}"
    yield Numbers(POLL_ERRORS, [(source, sum(failures.values()) - extract)])
    yield Numbers(EXTRACT_ERRORS, [(extractor, extract)])
    yield Numbers(SCRAPE_FAILURES, [(label_text(("kind", kind)), count) for kind, count in failures.items()])


def _queues(pool: str, label: str, endpoints: Sequence[EndpointStatistics]) -> list[tuple[str, float]]:
    """By name. Endpoints that share one are summed: two samples with the same labels void a whole page."""
    queues: dict[str, float] = {}
    for each in endpoints:
        if each.view.knowledge is not Knowledge.UNKNOWN:
            name = clean(each.view.spec.name or each.view.spec.address)
            labels = label_text(("name", pool), (label, name))
            queues[labels] = queues.get(labels, 0) + each.view.sample.waiting
    return list(queues.items())


def _spread(values: list[float]) -> float:
    """The standard deviation of a sample, as upstream works it out; 0 of a single value."""
    mean = fmean(values)
    return sqrt(sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))
