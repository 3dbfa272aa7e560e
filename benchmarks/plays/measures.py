"""The names of everything that a round measures: what pass lines and comparisons can speak of.

Those of traffic are asked of one class or, without one, of all; the others are of the whole round. A quantity that
doesn't exist there (no token came, the target has no picker) is None; a time that is None ranks behind every number.
"""

from __future__ import annotations

from enum import Enum


class Measure(Enum):
    """One measured quantity; its unit is in its name (without one: a count)."""

    # of traffic, counted by the clients
    SENT = "sent"
    COMPLETED = "completed"
    REFUSED = "refused"
    GAVE_UP = "gave_up"
    HUNG_UP = "hung_up"
    BROKEN = "broken"
    COMPLETED_SHARE = "completed_share"
    TTFT_P50_S = "ttft_p50_s"
    TTFT_P95_S = "ttft_p95_s"
    TTFT_P99_S = "ttft_p99_s"
    TTFT_MAX_S = "ttft_max_s"
    LATENCY_P50_S = "latency_p50_s"
    LATENCY_P95_S = "latency_p95_s"
    LATENCY_P99_S = "latency_p99_s"
    GAP_P50_S = "gap_p50_s"
    GAP_P99_S = "gap_p99_s"
    GAP_MAX_S = "gap_max_s"
    COMPLETED_PER_S = "completed_per_s"
    """Completed while requests arrived, per second of that time."""
    OUTPUT_TOKENS = "output_tokens"
    """Delivered to the clients while requests arrived."""
    JAIN = "jain"
    """Of the tokens delivered to the class's tenants: 1 means equal, 1/n that one of n gets everything."""

    # of processes, by the operating system
    PICKER_CPU_PER_REQUEST_S = "picker_cpu_per_request_s"
    PICKER_CPU_PER_CHUNK_S = "picker_cpu_per_chunk_s"
    """All of its CPU, over the chunks of all answers; none where answers came whole."""
    PICKER_PEAK_BYTES = "picker_peak_bytes"
    ENVOY_CPU_PER_REQUEST_S = "envoy_cpu_per_request_s"
    ENVOY_CPU_PER_CHUNK_S = "envoy_cpu_per_chunk_s"

    # of the model servers, by their own truth
    ENGINE_WAITING_MAX = "engine_waiting_max"
    """The most requests that ever waited inside one engine."""
    ENGINE_RUNNING_MAX = "engine_running_max"
    ENGINE_IDLE_SLOT_SHARE = "engine_idle_slot_share"
    """Sequence slots without a request while requests arrived, of all."""
    ENGINE_FAIREST_SHARE = "engine_fairest_share"
    """Requests of the server that got the fewest, as a share of what an equal split would have given it."""
    ENGINE_KV_PEAK_SHARE = "engine_kv_peak_share"
    """The fullest that a KV cache ever was."""

    # of the picker, by its own metrics, and of Envoy, by its statistics
    IDLE_ELIGIBLE_SLOT_S = "idle_eligible_slot_s"
    """Slots idle while a request that might have used them was queued, by our picker's own account."""
    QUEUED_MAX = "queued_max"
    """The most requests seen in the picker's queue, looking several times a second."""
    QUEUED_AT_END = "queued_at_end"
    STREAMS_AT_END = "streams_at_end"
    """ext_proc streams that are still open when everybody has gone."""
    MESSAGES_BACK_SHARE = "messages_back_share"
    """ext_proc messages that Envoy got, of those that it sent."""

    # of the harness itself
    SEND_LAG_P99_S = "send_lag_p99_s"
    """How far the generator lagged behind its own plan."""


_WAITS = frozenset(
    {
        Measure.TTFT_P50_S,
        Measure.TTFT_P95_S,
        Measure.TTFT_P99_S,
        Measure.TTFT_MAX_S,
        Measure.LATENCY_P50_S,
        Measure.LATENCY_P95_S,
        Measure.LATENCY_P99_S,
    }
)

OF_GAPS = frozenset({Measure.GAP_P50_S, Measure.GAP_P99_S, Measure.GAP_MAX_S})
"""Only answers that are streamed have gaps."""

MAY_NEVER_COME = _WAITS | OF_GAPS
"""Times of things that may not happen at all: None is longer than any number."""

OF_TRAFFIC = MAY_NEVER_COME | {
    Measure.SENT,
    Measure.COMPLETED,
    Measure.REFUSED,
    Measure.GAVE_UP,
    Measure.HUNG_UP,
    Measure.BROKEN,
    Measure.COMPLETED_SHARE,
    Measure.COMPLETED_PER_S,
    Measure.OUTPUT_TOKENS,
    Measure.JAIN,
}
"""What can be asked of one class."""
