"""Our own metrics, `epp_*`: where waiting time goes, what room was left idle, and how each band and endpoint stands.

Every queued second is in `epp_queue_wait_seconds_total` under exactly one reason.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from epp.core.endpoint import Knowledge
from epp.core.statistics import DisplacedBy
from epp.observe.exposition import Numbers, Reading, counter, gauge
from epp.observe.labels import OTHER, PriorityNames, clean, label_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from epp.core.statistics import BandStatistics, EndpointStatistics, Statistics
    from epp.observe.exposition import Family
    from epp.observe.meter import RequestBook
    from epp.observe.scrape import Scrape

WAITS = counter(
    "epp_queue_wait_seconds_total", "Seconds that requests spent queued, by what they waited for."
)
IDLE_ELIGIBLE = counter(
    "epp_idle_eligible_slot_seconds_total",
    "Seconds that endpoints had room while work that may use it was queued: 0 is the promise.",
)
CEILING_IDLE = counter(
    "epp_ceiling_idle_slot_seconds_total",
    "Seconds that endpoints had room which a ceiling kept from queued work.",
)
RUNNING = gauge("epp_running_requests", "Requests that were dispatched and have not ended.")
FLOWS = gauge("epp_flows", "Tenants with requests queued, counted once per band.")
OVERFLOWED_FLOWS = gauge("epp_overflowed_flows", "Tenants that share a flow because there were too many.")
NEW_TENANTS = counter(
    "epp_new_tenants_total",
    "Fairness ids that were not known: new tenants, or ids that are made up.",
)
KNOWN_FLOWS = gauge("epp_known_flows", "Flows that are remembered, idle ones included.")
KNOWN_MODELS = gauge("epp_known_models", "Models whose sizes and speed are being learned.")
LANES = gauge("epp_lanes", "Different sets of endpoints among queued requests, counted once per band.")
BAND_GAUGES: tuple[tuple[str, str, Callable[[BandStatistics], float]], ...] = (
    ("epp_band_queue_size", "Requests queued in the band.", lambda band: band.queued_requests),
    ("epp_band_queue_bytes", "Bytes of the requests queued in the band.", lambda band: band.queued_bytes),
    (
        "epp_band_oldest_wait_seconds",
        "How long the band's oldest request has waited; 0 when none is queued.",
        lambda band: band.oldest_wait_s,
    ),
    (
        "epp_band_drain_rate",
        "Requests per second that left the band for an endpoint, lately.",
        lambda band: band.drain_rate,
    ),
    (
        "epp_band_ceiling",
        "Share of each endpoint's limit that the band may fill.",
        lambda band: band.ceiling,
    ),
    (
        "epp_band_running_requests",
        "Requests of the band that were dispatched and have not ended.",
        lambda band: band.running_requests,
    ),
    (
        "epp_band_in_use",
        "Whether ceilings count the band: it has requests queued or running, or had a few seconds ago. 0 or 1.",
        lambda band: int(band.in_use),
    ),
    (
        "epp_retry_floor_seconds",
        "The least that a refused client is told while estimates are poor; it grows as long as refusals come.",
        lambda band: band.retry_floor_s,
    ),
    (
        "epp_flows_at_cap",
        "Tenants with requests queued that their own cap on requests in flight keeps from being dispatched.",
        lambda band: sum(flow.at_cap for flow in band.flows),
    ),
)
BAND_COUNTERS: tuple[tuple[Family, Callable[[BandStatistics], float]], ...] = (
    (
        counter(
            "epp_flows_created_total",
            "Flows that came to be. A tenant who comes back to an empty band has a new one.",
        ),
        lambda band: band.flows_created,
    ),
    (
        counter(
            "epp_overflowed_requests_total",
            "Requests that went to the flow that tenants share when there are too many.",
        ),
        lambda band: band.overflowed_requests,
    ),
)
EXPECTED_WAIT = gauge(
    "epp_expected_wait_seconds",
    "What a request of a new tenant would wait if it came now; absent where nobody can say.",
)
DISPLACED = counter(
    "epp_displaced_requests_total", "Queued requests that gave way, by what they made room for."
)
PENDING_EVICTIONS = gauge(
    "epp_pending_evictions", "Running requests that were asked to give way and have not ended yet."
)
KNOWLEDGE = gauge("epp_endpoint_knowledge", "Endpoints by how far their last metrics can be believed.")
ENDPOINT_GAUGES: tuple[tuple[str, str, Callable[[EndpointStatistics], float]], ...] = (
    (
        "epp_endpoint_inflight_requests",
        "Requests dispatched to the endpoint that have not ended.",
        lambda endpoint: endpoint.view.own_requests,
    ),
    (
        "epp_endpoint_inflight_tokens",
        "Charges of the requests dispatched to the endpoint that have not ended.",
        lambda endpoint: endpoint.view.own_tokens,
    ),
    (
        "epp_endpoint_foreign_requests",
        "Requests on the endpoint that are not ours.",
        lambda endpoint: endpoint.view.foreign_requests,
    ),
    (
        "epp_endpoint_saturation",
        "The endpoint's load as a share of its limit, 1 and more being full.",
        lambda endpoint: endpoint.saturation,
    ),
    (
        "epp_endpoint_has_room",
        "Whether the endpoint has room for one more request, 0 or 1.",
        lambda endpoint: int(endpoint.has_room),
    ),
)
ENDPOINT_LIMITS: tuple[tuple[Family, Callable[[EndpointStatistics], float | None]], ...] = (
    (
        gauge(
            "epp_endpoint_limit",
            "Requests at once that the pod's annotation or the configuration gives the endpoint.",
        ),
        lambda endpoint: endpoint.stated_limit,
    ),
    (
        gauge(
            "epp_endpoint_learned_limit",
            "Requests at once that the endpoint's times to first token suggest; in force only if switched on.",
        ),
        lambda endpoint: endpoint.learned_limit,
    ),
)
POLICY_FAULTS = counter("epp_policy_faults_total", "Decisions in which a policy failed and was replaced.")
REFUSALS = counter("epp_refusals_total", "Requests that got an answer instead of an endpoint.")
RESPONSES = counter("epp_responses_total", "Dispatched requests that ended, by how.")
UNDELIVERED = counter(
    "epp_undelivered_total", "Requests whose stream was gone when they were to be told of their endpoint."
)
OVERFLOWS = counter(
    "epp_label_overflow_total", "Requests counted under other, since there were too many values of a label."
)


def wait_totals(statistics: Statistics, priorities: PriorityNames) -> dict[tuple[str, str], float]:
    """Queued seconds by (priority's label value, reason), over the life of the process."""
    totals: dict[tuple[str, str], float] = {}
    accounts = dict(statistics.retired_wait_s) | {band.priority: band.wait_s for band in statistics.bands}
    for priority, by_reason in accounts.items():
        for reason, seconds in by_reason.items():
            key = (priorities.name(priority), reason.value)
            totals[key] = totals.get(key, 0.0) + seconds
    return totals


def read_accounts(scrape: Scrape, book: RequestBook, *, label_limit: int) -> Iterator[Reading]:
    """Our own metrics."""
    statistics = scrape.statistics
    by_pool = scrape.by_pool
    yield Numbers(
        WAITS,
        [
            (f'{scrape.by_band(priority)},reason="{reason}"', seconds)
            for (priority, reason), seconds in wait_totals(statistics, scrape.priorities).items()
        ],
    )
    yield Numbers(IDLE_ELIGIBLE, [(by_pool, statistics.idle_eligible_slot_s)])
    yield Numbers(CEILING_IDLE, [(by_pool, statistics.ceiling_slot_s)])
    yield Numbers(RUNNING, [(by_pool, statistics.running_requests)])
    yield Numbers(FLOWS, [(by_pool, sum(len(band.flows) for band in statistics.bands))])
    yield Numbers(OVERFLOWED_FLOWS, [(by_pool, statistics.overflowed_flows)])
    yield Numbers(NEW_TENANTS, [(by_pool, book.series.new_fairness_ids)])
    yield Numbers(KNOWN_FLOWS, [(by_pool, statistics.known_flows)])
    yield Numbers(KNOWN_MODELS, [(by_pool, statistics.known_models)])
    yield Numbers(LANES, [(by_pool, statistics.lanes)])
    bands = tuple(scrape.bands())
    for name, text, of_band in BAND_GAUGES:
        yield Numbers(
            gauge(name, text), [(scrape.by_band(priority), of_band(band)) for priority, band in bands]
        )
    for family, of_band in BAND_COUNTERS:
        yield Numbers(family, [(scrape.by_band(priority), of_band(band)) for priority, band in bands])
    yield Numbers(
        EXPECTED_WAIT,
        [
            (scrape.by_band(priority), band.expected_wait_s)
            for priority, band in bands
            if band.expected_wait_s is not None
        ],
    )
    yield Numbers(
        DISPLACED,
        [
            (f'{by_pool},cause="{cause.value}"', statistics.displaced_requests.get(cause, 0))
            for cause in DisplacedBy
        ],
    )
    yield Numbers(PENDING_EVICTIONS, [(by_pool, statistics.evictions.outstanding)])
    yield from _endpoints(scrape)
    yield Numbers(POLICY_FAULTS, _policy_faults(scrape, label_limit))
    yield Numbers(
        REFUSALS,
        [
            (f'{scrape.by_band(priority)},reason="{reason}"', count)
            for (priority, reason), count in book.refusals.items()
        ],
    )
    yield Numbers(
        RESPONSES, [(f'{by_pool},outcome="{outcome}"', count) for outcome, count in book.responses.items()]
    )
    yield Numbers(UNDELIVERED, [(by_pool, book.undelivered)])
    yield Numbers(OVERFLOWS, [(f'label="{label}"', count) for label, count in book.series.overflows.items()])


def _endpoints(scrape: Scrape) -> Iterator[Reading]:
    endpoints = scrape.statistics.endpoints
    states = Counter(each.view.knowledge for each in endpoints)
    yield Numbers(
        KNOWLEDGE, [(f'{scrape.by_pool},state="{state.value}"', states[state]) for state in Knowledge]
    )
    # By address: should a pod and its successor be listed with the same one, the later stands for both.
    labelled = {
        f"{scrape.by_pool},{label_text(('endpoint', clean(each.view.spec.address)))}": each
        for each in endpoints
    }
    for name, text, of_endpoint in ENDPOINT_GAUGES:
        yield Numbers(gauge(name, text), [(labels, of_endpoint(each)) for labels, each in labelled.items()])
    for family, limit_of in ENDPOINT_LIMITS:
        limits = ((labels, limit_of(each)) for labels, each in labelled.items())
        yield Numbers(family, [(labels, limit) for labels, limit in limits if limit is not None])


def _policy_faults(scrape: Scrape, label_limit: int) -> list[tuple[str, float]]:
    faults: dict[str, float] = {}
    for position, ((policy, fault), count) in enumerate(scrape.statistics.policy_faults.items()):
        named = (clean(policy), clean(fault)) if position < label_limit else (OTHER, OTHER)
        labels = f"{scrape.by_pool},{label_text(('policy', named[0]), ('fault', named[1]))}"
        faults[labels] = faults.get(labels, 0) + count
    return list(faults.items())
