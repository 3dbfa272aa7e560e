"""From a finished round to its figures: every `Measure`, worked out from what clients and processes left behind.

Promises:
- Percentiles of times are exact, over all requests of the class. One that never got what is timed ranks behind
  all that did: leaving it out would reward refusing.
- Requests on which the scenario itself hung up count nowhere as slow or as failed: what would have become of them,
  nobody knows.
- A figure that the round doesn't have is None; nothing is estimated in its place, with one exception: of an answer that
  was still streaming when arrivals ended, the tokens up to then are taken as evenly spread.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.load.outcome import Result
from benchmarks.plays.measures import OF_TRAFFIC, Measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.load.outcome import Outcome
    from benchmarks.plays.play import Play
    from benchmarks.stage.evidence import EngineFacts, Evidence


def measured(play: Play, measure: Measure, traffic: str | None) -> float | None:
    """One figure of the round: of one class of traffic, or, with None, of all."""
    if measure in OF_TRAFFIC:
        return _of_traffic(play, measure, traffic)
    return None if traffic is not None else _of_round(play, measure)


def percentile(values: Iterable[float | None], quantile: float) -> float | None:
    """The smallest value that at least this share of all does not exceed; None ranks behind every number."""
    ranked = sorted(math.inf if value is None else value for value in values)
    if not ranked:
        return None
    value = ranked[max(0, math.ceil(quantile * len(ranked)) - 1)]
    return None if math.isinf(value) else value


def jain(shares: Sequence[float]) -> float | None:
    """Jain's index: 1 if all are equal, 1/n if one of n has everything; None if nobody has anything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else None


# ------------------------------------------------------------------------------------------------- traffic


_ENDS = {
    Measure.COMPLETED: Result.COMPLETED,
    Measure.REFUSED: Result.REFUSED,
    Measure.GAVE_UP: Result.GAVE_UP,
    Measure.HUNG_UP: Result.HUNG_UP,
    Measure.BROKEN: Result.BROKEN,
}
_TTFTS = {
    Measure.TTFT_P50_S: 0.50,
    Measure.TTFT_P95_S: 0.95,
    Measure.TTFT_P99_S: 0.99,
    Measure.TTFT_MAX_S: 1.0,
}
_LATENCIES = {Measure.LATENCY_P50_S: 0.50, Measure.LATENCY_P95_S: 0.95, Measure.LATENCY_P99_S: 0.99}
_GAPS = {Measure.GAP_P50_S: 0.50, Measure.GAP_P99_S: 0.99, Measure.GAP_MAX_S: 1.0}


def _of_traffic(play: Play, measure: Measure, traffic: str | None) -> float | None:
    outcomes = [each for each in play.outcomes if traffic is None or each.class_name == traffic]
    if measure in _ENDS:
        return _count(outcomes, _ENDS[measure])
    if measure in _TTFTS:
        return percentile(_ttfts(outcomes), _TTFTS[measure])
    if measure in _LATENCIES:
        return percentile(_latencies(outcomes), _LATENCIES[measure])
    if measure in _GAPS:
        return _gap(play, traffic, _GAPS[measure])
    match measure:
        case Measure.SENT:
            return len(outcomes)
        case Measure.COMPLETED_SHARE:
            return _ratio(_count(outcomes, Result.COMPLETED), len(_awaited(outcomes)))
        case Measure.COMPLETED_PER_S:
            in_time = [each for each in outcomes if each.ended_s <= play.duration_s]
            return _count(in_time, Result.COMPLETED) / play.duration_s
        case Measure.OUTPUT_TOKENS:
            return sum(_tokens_by(each, play.duration_s) for each in outcomes)
        case Measure.JAIN:
            return _jain_of_tenants(outcomes, play.duration_s)
        case _:
            raise AssertionError(f"{measure} is not of traffic")


def _count(outcomes: Iterable[Outcome], result: Result) -> int:
    return sum(outcome.result is result for outcome in outcomes)


def _awaited(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that were to have an answer."""
    return [outcome for outcome in outcomes if outcome.result is not Result.HUNG_UP]


def _ttfts(outcomes: Iterable[Outcome]) -> list[float | None]:
    """A token that had come before the scenario hung up counts like any other."""
    return [
        outcome.ttft_s
        for outcome in outcomes
        if outcome.result is not Result.HUNG_UP or outcome.first_token_s is not None
    ]


def _latencies(outcomes: Iterable[Outcome]) -> list[float | None]:
    """A quick refusal is no quick answer."""
    return [
        outcome.latency_s if outcome.result is Result.COMPLETED else None for outcome in _awaited(outcomes)
    ]


def _gap(play: Play, traffic: str | None, quantile: float) -> float | None:
    """Histograms of several classes are asked one by one: the worst of them speaks for all."""
    names = play.histograms if traffic is None else [traffic] if traffic in play.histograms else []
    gaps = [play.histograms[name].percentile_s("gap", quantile) for name in names]
    return max((gap for gap in gaps if gap is not None), default=None)


def _tokens_by(outcome: Outcome, until_s: float) -> float:
    """What the client had got by then."""
    if outcome.ended_s <= until_s:
        return outcome.output_tokens
    first_s = outcome.first_token_s
    if first_s is None or first_s >= until_s or outcome.chunks == 0:
        return 0.0
    return outcome.output_tokens * (until_s - first_s) / (outcome.ended_s - first_s)


def _jain_of_tenants(outcomes: Iterable[Outcome], until_s: float) -> float | None:
    tokens: defaultdict[str, float] = defaultdict(float)
    for outcome in outcomes:
        tokens[outcome.tenant] += _tokens_by(outcome, until_s)
    return jain(tuple(tokens.values()))


# ----------------------------------------------------------------------------------- processes and engines


_CPU_PER_REQUEST = {Measure.PICKER_CPU_PER_REQUEST_S: "picker", Measure.ENVOY_CPU_PER_REQUEST_S: "envoy"}
_CPU_PER_CHUNK = {Measure.PICKER_CPU_PER_CHUNK_S: "picker", Measure.ENVOY_CPU_PER_CHUNK_S: "envoy"}


def _of_round(play: Play, measure: Measure) -> float | None:
    if measure in _CPU_PER_REQUEST:
        return _cpu_per(play, _CPU_PER_REQUEST[measure], len(play.outcomes))
    if measure in _CPU_PER_CHUNK:
        return _cpu_per(play, _CPU_PER_CHUNK[measure], _chunks(play.outcomes))
    evidence = play.evidence
    match measure:
        case Measure.PICKER_PEAK_BYTES:
            picker = evidence.usage.get("picker")
            return None if picker is None else picker.peak_bytes
        case Measure.IDLE_ELIGIBLE_SLOT_S:
            return evidence.idle_eligible_slot_s
        case Measure.QUEUED_MAX:
            return evidence.queued_max
        case Measure.QUEUED_AT_END:
            return evidence.queued_at_end
        case Measure.STREAMS_AT_END:
            return evidence.streams_at_end
        case Measure.MESSAGES_BACK_SHARE:
            return _messages_back(evidence)
        case Measure.SEND_LAG_P99_S:
            return percentile([outcome.sent_s - outcome.due_s for outcome in play.outcomes], 0.99)
        case _:
            return _of_engines(evidence.engines, measure, play.duration_s)


def _of_engines(engines: Sequence[EngineFacts], measure: Measure, duration_s: float) -> float | None:
    match measure:
        case Measure.ENGINE_WAITING_MAX:
            return max((engine.max_waiting for engine in engines), default=None)
        case Measure.ENGINE_RUNNING_MAX:
            return max((engine.max_running for engine in engines), default=None)
        case Measure.ENGINE_IDLE_SLOT_SHARE:
            slot_s = duration_s * sum(engine.slots for engine in engines)
            return _ratio(sum(engine.idle_slot_s for engine in engines), slot_s)
        case Measure.ENGINE_FAIREST_SHARE:
            return _smallest_share(engines)
        case Measure.ENGINE_KV_PEAK_SHARE:
            return max((engine.kv_peak_share for engine in engines), default=None)
        case _:
            raise AssertionError(f"{measure} is not of the whole round")


def _chunks(outcomes: Iterable[Outcome]) -> int:
    """Of all answers; 0 if one came whole: what such answers cost would be put down to the chunks of the others."""
    counted = [(outcome.chunks, outcome.result) for outcome in outcomes]
    return 0 if (0, Result.COMPLETED) in counted else sum(chunks for chunks, _ in counted)


def _cpu_per(play: Play, role: str, number: int) -> float | None:
    usage = play.evidence.usage.get(role)
    return None if usage is None else _ratio(usage.cpu_s, number)


def _messages_back(evidence: Evidence) -> float | None:
    if evidence.extproc_sent is None or evidence.extproc_received is None:
        return None
    return _ratio(evidence.extproc_received, evidence.extproc_sent)


def _smallest_share(engines: Sequence[EngineFacts]) -> float | None:
    submitted = [engine.submitted for engine in engines]
    return _ratio(min(submitted, default=0) * len(submitted), sum(submitted))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
