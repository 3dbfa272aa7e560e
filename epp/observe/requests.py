"""The request metrics: upstream's `llm_d_epp_request_*`, and their deprecated twins, which know no tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from epp.observe.exposition import Distributions, Family, Numbers, Reading, counter, gauge, histogram
from epp.observe.histogram import Distribution
from epp.observe.labels import label_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from epp.observe.series import RequestSeries
    from epp.observe.table import SeriesTable

REQUESTS = counter("llm_d_epp_request_total", "Requests that were sent to an endpoint.")
ERRORS = counter("llm_d_epp_request_error_total", "Requests that went wrong, here or in the model server.")
RUNNING = gauge("llm_d_epp_request_running", "Requests at an endpoint at the moment.")
TTFT = histogram(
    "llm_d_epp_request_ttft_seconds", "From a request's arrival to the first byte of its response's body."
)
TPOT = histogram(
    "llm_d_epp_request_streaming_tpot_seconds",
    "Time per output token after the first, of streamed responses.",
)


class _Measure(NamedTuple):
    """A histogram that has a deprecated twin by model."""

    family: Family
    twin: str
    of: Callable[[RequestSeries], Distribution]


MEASURES = (
    _Measure(
        histogram(
            "llm_d_epp_request_duration_seconds",
            "From a request's arrival to the end of its response, the wait in the queue included.",
        ),
        "inference_objective_request_duration_seconds",
        lambda series: series.duration_s,
    ),
    _Measure(
        histogram("llm_d_epp_request_size_bytes", "Size of request bodies."),
        "inference_objective_request_sizes",
        lambda series: series.request_bytes,
    ),
    _Measure(
        histogram("llm_d_epp_response_size_bytes", "Size of response bodies, where the gateway shows them."),
        "inference_objective_response_sizes",
        lambda series: series.response_bytes,
    ),
    _Measure(
        histogram("llm_d_epp_request_input_tokens", "Prompt tokens, as the model server reports them."),
        "inference_objective_input_tokens",
        lambda series: series.input_tokens,
    ),
    _Measure(
        histogram("llm_d_epp_request_output_tokens", "Output tokens, as the model server reports them."),
        "inference_objective_output_tokens",
        lambda series: series.output_tokens,
    ),
    _Measure(
        histogram("llm_d_epp_request_cached_tokens", "Prompt tokens that the model server had in its cache."),
        "inference_objective_prompt_cached_tokens",
        lambda series: series.cached_tokens,
    ),
    _Measure(
        histogram("llm_d_epp_request_ntpot_seconds", "Duration divided by output tokens."),
        "inference_objective_normalized_time_per_output_token_seconds",
        lambda series: series.ntpot_s,
    ),
)


def read_requests(table: SeriesTable) -> Iterator[Reading]:
    """The request metrics, by tenant."""
    shown = tuple(table)
    yield Numbers(REQUESTS, [(each.text, each.dispatched) for each in shown if each.dispatched])
    yield Numbers(
        ERRORS,
        [
            (f'{each.text},error_code="{code}"', count)
            for each in shown
            for code, count in each.errors.items()
        ],
    )
    yield Numbers(RUNNING, [(each.text, each.running) for each in shown])
    for measure in MEASURES:
        yield Distributions(measure.family, _observed(shown, measure.of))
    yield Distributions(
        TTFT,
        [
            (f'{each.text},streaming="{streaming}"', ttft_s)
            for each in shown
            for streaming, ttft_s in (("false", each.ttft_s), ("true", each.ttft_streaming_s))
            if not ttft_s.is_empty
        ],
    )
    yield Distributions(TPOT, _observed(shown, lambda series: series.tpot_s))


def read_deprecated_requests(table: SeriesTable) -> Iterator[Reading]:
    """The same under the names that upstream deprecated, summed over tenants."""
    shown = tuple(table)
    counted = (*shown, *table.freed)
    yield Numbers(
        REQUESTS.renamed("inference_objective_request_total"),
        _summed(
            (f'{each.model_text},priority="{each.key.priority}"', each.dispatched)
            for each in counted
            if each.dispatched
        ),
    )
    yield Numbers(
        ERRORS.renamed("inference_objective_request_error_total"),
        _summed(
            (f'{each.model_text},error_code="{code}"', count)
            for each in counted
            for code, count in each.errors.items()
        ),
    )
    yield Numbers(
        RUNNING.renamed("inference_objective_running_requests"),
        _summed(
            (label_text(("model_name", each.key.model)), each.running) for each in shown if each.key.model
        ),
    )
    for measure in MEASURES:
        yield Distributions(measure.family.renamed(measure.twin), _merged(counted, measure.of))


def _observed(
    shown: Iterable[RequestSeries], of: Callable[[RequestSeries], Distribution]
) -> list[tuple[str, Distribution]]:
    return [(each.text, distribution) for each in shown if not (distribution := of(each)).is_empty]


def _merged(
    counted: Iterable[RequestSeries], of: Callable[[RequestSeries], Distribution]
) -> list[tuple[str, Distribution]]:
    merged: dict[str, Distribution] = {}
    for series in counted:
        distribution = of(series)
        if not distribution.is_empty:
            sum_of_model = merged.get(series.model_text)
            if sum_of_model is None:
                sum_of_model = merged[series.model_text] = Distribution(distribution.buckets)
            sum_of_model.absorb(distribution)
    return list(merged.items())


def _summed(samples: Iterable[tuple[str, int]]) -> list[tuple[str, float]]:
    sums: dict[str, float] = {}
    for labels, value in samples:
        sums[labels] = sums.get(labels, 0) + value
    return list(sums.items())
