"""The core's snapshot as JSON, for people who want to look inside a running picker.

Fairness ids are shown as the first 12 digits of their SHA-256: enough to find a tenant that one knows of, without
handing out names.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epp.core.statistics import (
        BandStatistics,
        EndpointStatistics,
        EvictionStatistics,
        FlowStatistics,
        Statistics,
    )

MOST_FLOWS = 100
"""Flows shown of each band: those with most requests queued."""

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


def state_document(statistics: Statistics, *, pool: str) -> dict[str, Json]:
    """The snapshot as values that JSON knows."""
    return {
        "pool": pool,
        "queued_requests": statistics.queued_requests,
        "queued_bytes": statistics.queued_bytes,
        "max_requests": statistics.max_requests,
        "max_bytes": statistics.max_bytes,
        "running_requests": statistics.running_requests,
        "known_flows": statistics.known_flows,
        "known_models": statistics.known_models,
        "lanes": statistics.lanes,
        "overflowed_flows": statistics.overflowed_flows,
        "idle_eligible_slot_s": statistics.idle_eligible_slot_s,
        "ceiling_slot_s": statistics.ceiling_slot_s,
        "policy_faults": _faults(statistics.policy_faults),
        "displaced_requests": {cause.value: count for cause, count in statistics.displaced_requests.items()},
        "evictions": _evictions(statistics.evictions),
        "bands": [_band(band) for band in statistics.bands],
        "endpoints": [_endpoint(endpoint) for endpoint in statistics.endpoints],
    }


def _evictions(evictions: EvictionStatistics) -> dict[str, Json]:
    return {
        "issued": {str(priority): count for priority, count in evictions.issued.items()},
        "confirmed": evictions.confirmed,
        "timed_out": evictions.timed_out,
        "outstanding": evictions.outstanding,
    }


def _faults(faults: Mapping[tuple[str, str], int]) -> list[Json]:
    return [
        {"policy": policy, "fault": fault, "decisions": count} for (policy, fault), count in faults.items()
    ]


def _band(band: BandStatistics) -> dict[str, Json]:
    shown = sorted(band.flows, key=_queued, reverse=True)[:MOST_FLOWS]
    return {
        "priority": band.priority,
        "queued_requests": band.queued_requests,
        "queued_bytes": band.queued_bytes,
        "max_requests": band.max_requests,
        "max_bytes": band.max_bytes,
        "ceiling": band.ceiling,
        "oldest_wait_s": band.oldest_wait_s,
        "drain_rate": band.drain_rate,
        "running_requests": band.running_requests,
        "in_use": band.in_use,
        "expected_wait_s": band.expected_wait_s,
        "retry_floor_s": band.retry_floor_s,
        "charged_tokens": band.charged_tokens,
        "settled_tokens": band.settled_tokens,
        "flows_created": band.flows_created,
        "overflowed_requests": band.overflowed_requests,
        "wait_s": {reason.value: seconds for reason, seconds in band.wait_s.items()},
        "flows": [_flow(flow) for flow in shown],
        "flows_not_shown": len(band.flows) - len(shown),
    }


def _queued(flow: FlowStatistics) -> int:
    return flow.queued_requests


def _flow(flow: FlowStatistics) -> dict[str, Json]:
    return {
        "fairness_id_sha256": hashed(flow.fairness_id),
        "queued_requests": flow.queued_requests,
        "queued_bytes": flow.queued_bytes,
        "running_requests": flow.running_requests,
        "tag_lead": flow.tag_lead,
        "at_cap": flow.at_cap,
    }


def hashed(fairness_id: str) -> str:
    """How a fairness id is shown."""
    return sha256(fairness_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _endpoint(endpoint: EndpointStatistics) -> dict[str, Json]:
    view = endpoint.view
    return {
        "address": view.spec.address,
        "name": view.spec.name,
        "knowledge": view.knowledge.value,
        "has_room": endpoint.has_room,
        "saturation": endpoint.saturation,
        "own_requests": view.own_requests,
        "own_tokens": view.own_tokens,
        "foreign_requests": view.foreign_requests,
        "proven_requests": view.proven_requests,
        "sent_since_sample": view.sent_since_sample,
        "max_concurrency": view.spec.max_concurrency,
        "stated_limit": endpoint.stated_limit,
        "learned_limit": endpoint.learned_limit,
        "sample": {
            "waiting": view.sample.waiting,
            "running": view.sample.running,
            "kv_utilization": view.sample.kv_utilization,
        },
    }
