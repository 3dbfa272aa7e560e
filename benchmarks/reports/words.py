"""Numbers and measures as people read them; every table, figure and page takes its words from here."""

from __future__ import annotations

from typing import assert_never

from benchmarks.plays.measures import MAY_NEVER_COME, OF_GAPS, Measure
from benchmarks.reports.report import Never, Standing

NEVER = "never"
NOTHING = "-"
_MB = 1_000_000

TITLES = {
    Measure.SENT: "sent",
    Measure.COMPLETED: "completed",
    Measure.REFUSED: "refused",
    Measure.GAVE_UP: "gave up",
    Measure.HUNG_UP: "hung up",
    Measure.BROKEN: "broken",
    Measure.COMPLETED_SHARE: "share completed",
    Measure.TTFT_P50_S: "time to first token, p50",
    Measure.TTFT_P95_S: "time to first token, p95",
    Measure.TTFT_P99_S: "time to first token, p99",
    Measure.TTFT_MAX_S: "time to first token, longest",
    Measure.LATENCY_P50_S: "latency, p50",
    Measure.LATENCY_P95_S: "latency, p95",
    Measure.LATENCY_P99_S: "latency, p99",
    Measure.GAP_P50_S: "gap between tokens, p50",
    Measure.GAP_P99_S: "gap between tokens, p99",
    Measure.GAP_MAX_S: "gap between tokens, longest",
    Measure.COMPLETED_PER_S: "completed per second",
    Measure.OUTPUT_TOKENS: "tokens delivered",
    Measure.JAIN: "Jain's index of tenants",
    Measure.PICKER_CPU_PER_REQUEST_S: "picker: CPU per request",
    Measure.PICKER_CPU_PER_CHUNK_S: "picker: CPU per chunk",
    Measure.PICKER_PEAK_BYTES: "picker: peak memory",
    Measure.ENVOY_CPU_PER_REQUEST_S: "Envoy: CPU per request",
    Measure.ENVOY_CPU_PER_CHUNK_S: "Envoy: CPU per chunk",
    Measure.ENGINE_WAITING_MAX: "most requests waiting in one engine",
    Measure.ENGINE_RUNNING_MAX: "most requests running in one engine",
    Measure.ENGINE_IDLE_SLOT_SHARE: "share of slots idle",
    Measure.ENGINE_FAIREST_SHARE: "least loaded server's share of an equal split",
    Measure.ENGINE_KV_PEAK_SHARE: "fullest KV cache",
    Measure.IDLE_ELIGIBLE_SLOT_S: "slot-seconds idle beside eligible work",
    Measure.QUEUED_MAX: "most requests queued",
    Measure.QUEUED_AT_END: "queued at the end",
    Measure.STREAMS_AT_END: "streams open at the end",
    Measure.MESSAGES_BACK_SHARE: "ext_proc messages back per message sent",
    Measure.SEND_LAG_P99_S: "generator behind its plan, p99",
}

_SHARES = frozenset(
    {
        Measure.COMPLETED_SHARE,
        Measure.ENGINE_IDLE_SLOT_SHARE,
        Measure.ENGINE_FAIREST_SHARE,
        Measure.ENGINE_KV_PEAK_SHARE,
    }
)
_FINE_TIMES = frozenset(
    {
        Measure.PICKER_CPU_PER_REQUEST_S,
        Measure.PICKER_CPU_PER_CHUNK_S,
        Measure.ENVOY_CPU_PER_REQUEST_S,
        Measure.ENVOY_CPU_PER_CHUNK_S,
    }
)


def title(measure: str) -> str:
    """What a measure of this name is called."""
    known = _known(measure)
    return measure.replace("_", " ") if known is None else TITLES[known]


def figure(measure: str, value: float | None) -> str:
    """A value of the measure, with its unit."""
    known = _known(measure)
    if value is None:
        return NEVER if known in MAY_NEVER_COME - OF_GAPS else NOTHING
    if known in MAY_NEVER_COME or known is Measure.SEND_LAG_P99_S:
        return seconds(value)
    if known in _FINE_TIMES:
        return fine_seconds(value)
    if known in _SHARES:
        return f"{value:.1%}"
    if known is Measure.PICKER_PEAK_BYTES:
        return megabytes(value)
    if known in {Measure.JAIN, Measure.MESSAGES_BACK_SHARE}:
        return f"{value:.3f}"
    return count(value)


def seconds(value: float) -> str:
    """A time that people wait."""
    if value < 0.01:
        return f"{value * 1e3:.1f} ms"
    return f"{value * 1e3:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def fine_seconds(value: float) -> str:
    """A time that a processor works."""
    if value < 0.0009995:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1e3:.2f} ms"


def megabytes(value: float) -> str:
    """Memory of a process."""
    return f"{value / _MB:,.0f} MB"


def count(value: float) -> str:
    """How many, or how many a second."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def ratio(value: float | Never | None) -> str:
    """How many times as much."""
    match value:
        case None:
            return NOTHING
        case Never():
            return value.value
        case _:
            return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


def spread(low: float | Never, high: float | Never) -> str:
    """From the least to the greatest ratio."""
    return ratio(low) if low == high else f"{ratio(low)} to {ratio(high)}"


def standing(value: Standing) -> str:
    """A pass line's, in one word that can be seen."""
    match value:
        case Standing.KEPT:
            return "kept"
        case Standing.MISSED:
            return "MISSED"
        case Standing.NOT_JUDGED:
            return "not judged"
        case _:
            assert_never(value)


def _known(measure: str) -> Measure | None:
    """None: a measure of another version of this harness."""
    try:
        return Measure(measure)
    except ValueError:
        return None
