"""Every measure, worked out by hand beside what the harness says."""

from __future__ import annotations

import random
from statistics import quantiles

import pytest

from benchmarks.load.outcome import Result
from benchmarks.plays.measures import OF_TRAFFIC, Measure
from benchmarks.plays.measuring import jain, measured, percentile
from benchmarks.stage.evidence import Evidence
from tests.benchmarks.plays.played import answered, engine, failed, gaps, play, used


@pytest.mark.parametrize("measure", Measure)
def test_every_measure_can_be_asked_of_a_round_in_which_nothing_happened(measure: Measure) -> None:
    """Counts are 0 there, and everything else is unknown: nothing crashes."""
    value = measured(play(), measure, None)
    assert value in {0, None}
    if measure not in OF_TRAFFIC:
        assert measured(play(), measure, "chat") is None


def test_requests_are_counted_by_how_they_ended() -> None:
    """Of one class, or of all."""
    ends = (Result.REFUSED, Result.GAVE_UP, Result.GAVE_UP, Result.HUNG_UP, Result.BROKEN)
    round_ = play(answered(), answered(), answered(class_name="batch"), *map(failed, ends))
    counted = {
        Measure.SENT: 7,
        Measure.COMPLETED: 2,
        Measure.REFUSED: 1,
        Measure.GAVE_UP: 2,
        Measure.HUNG_UP: 1,
        Measure.BROKEN: 1,
    }
    assert {measure: measured(round_, measure, "chat") for measure in counted} == counted
    assert measured(round_, Measure.SENT, None) == 8
    assert measured(round_, Measure.COMPLETED, "batch") == 1


def test_the_share_that_completed_leaves_out_on_whom_the_scenario_hung_up() -> None:
    """What would have become of them, nobody knows."""
    round_ = play(answered(), answered(), answered(), failed(), failed(Result.HUNG_UP))
    assert measured(round_, Measure.COMPLETED_SHARE, "chat") == 0.75
    assert measured(play(failed(Result.HUNG_UP)), Measure.COMPLETED_SHARE, "chat") is None


def test_percentiles_are_values_that_occurred() -> None:
    """The smallest one that at least this share of all does not exceed."""
    values = [float(number) for number in range(1, 101)]
    random.Random(1).shuffle(values)
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([3.0], 0.5) == 3
    assert percentile([], 0.5) is None
    rng = random.Random(2)
    drawn = [rng.random() for _ in range(999)]
    assert percentile(drawn, 0.95) == pytest.approx(quantiles(drawn, n=20)[-1], rel=0.01)


def test_what_never_came_ranks_behind_every_number() -> None:
    """Otherwise refusing would make waiting shorter."""
    assert percentile([0.1, None, 0.2, None], 0.5) == 0.2
    assert percentile([0.1, None, 0.2, None], 0.51) is None
    round_ = play(answered(0.1), answered(0.2), failed(), failed())
    assert measured(round_, Measure.TTFT_P50_S, "chat") == pytest.approx(0.2)
    assert measured(round_, Measure.TTFT_P95_S, "chat") is None


def test_time_to_first_token_counts_from_when_a_request_was_due() -> None:
    """A generator that lags behind can't hide a wait; how far it lagged is told as well."""
    round_ = play(*(answered(0.1 * number, due_s=number, lag_s=0.01 * number) for number in range(1, 101)))
    assert measured(round_, Measure.TTFT_P50_S, "chat") == pytest.approx(5.0)
    assert measured(round_, Measure.TTFT_P95_S, "chat") == pytest.approx(9.5)
    assert measured(round_, Measure.TTFT_P99_S, "chat") == pytest.approx(9.9)
    assert measured(round_, Measure.TTFT_MAX_S, "chat") == pytest.approx(10.0)
    assert measured(round_, Measure.SEND_LAG_P99_S, None) == pytest.approx(0.99)


def test_a_token_before_the_scenario_hung_up_counts_and_a_missing_one_does_not() -> None:
    """Hanging up before the first token says nothing about the target."""
    before, after = failed(Result.HUNG_UP, first_token_s=0.3), failed(Result.HUNG_UP)
    assert measured(play(before, after), Measure.TTFT_MAX_S, "chat") == pytest.approx(0.3)
    assert measured(play(answered(), before, after), Measure.LATENCY_P99_S, "chat") == pytest.approx(1.0)


def test_only_whole_answers_have_a_latency() -> None:
    """A refusal after a millisecond is no quick answer, and a broken answer is none at all."""
    round_ = play(
        answered(takes_s=2), answered(takes_s=3), failed(), failed(Result.BROKEN, first_token_s=0.1)
    )
    assert measured(round_, Measure.LATENCY_P50_S, "chat") == pytest.approx(3)
    assert measured(round_, Measure.LATENCY_P95_S, "chat") is None
    assert measured(round_, Measure.LATENCY_P99_S, "chat") is None


def test_gaps_come_from_histograms() -> None:
    """Of a class; without one the worst class speaks for all."""
    round_ = play(histograms={"chat": gaps(*[0.01] * 98, 0.5, 2.0), "batch": gaps(0.03)})
    assert measured(round_, Measure.GAP_P50_S, "chat") == pytest.approx(0.01, rel=0.01)
    assert measured(round_, Measure.GAP_P99_S, "chat") == pytest.approx(0.5, rel=0.01)
    assert measured(round_, Measure.GAP_MAX_S, "chat") == pytest.approx(2, rel=0.01)
    assert measured(round_, Measure.GAP_P50_S, None) == pytest.approx(0.03, rel=0.01)
    assert measured(round_, Measure.GAP_P50_S, "else") is None


def test_rates_count_while_requests_arrive() -> None:
    """What is finished in the silence afterwards is no throughput."""
    round_ = play(answered(takes_s=9), answered(takes_s=10), answered(takes_s=11), duration_s=10)
    assert measured(round_, Measure.COMPLETED_PER_S, None) == pytest.approx(0.2)


def test_tokens_count_while_requests_arrive() -> None:
    """Of an answer that is still streaming then, the part that has come; of a whole one, nothing."""
    half = answered(2, due_s=6, takes_s=6, tokens=100)  # streams from 8 to 12
    later = answered(5, due_s=6, takes_s=6, tokens=100)
    whole = half._replace(chunks=0)
    assert measured(play(half), Measure.OUTPUT_TOKENS, "chat") == pytest.approx(50)
    assert measured(
        play(answered(tokens=7), half, later, whole), Measure.OUTPUT_TOKENS, None
    ) == pytest.approx(57)


def test_jain_tells_equal_from_unequal() -> None:
    """1 if all have the same, 1/n if one of n has everything; tenants that got nothing count."""
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([3, 0, 0]) == pytest.approx(1 / 3)
    assert jain([0, 0]) is None
    assert jain([]) is None
    anna, ben = answered(tokens=30), answered(tenant="ben", tokens=10)
    assert measured(play(anna, ben), Measure.JAIN, "chat") == pytest.approx(40**2 / (2 * (900 + 100)))
    refused = failed()._replace(tenant="cleo")
    assert measured(play(anna, refused), Measure.JAIN, "chat") == pytest.approx(0.5)


def test_costs_are_shared_by_all_requests_and_by_all_chunks() -> None:
    """Also by those that were refused: they cost something too."""
    usage = {"picker": used(0.6, peak_bytes=5), "envoy": used(0.3)}
    round_ = play(answered(tokens=10), failed(), failed(), evidence=Evidence(usage=usage, engines=()))
    assert measured(round_, Measure.PICKER_CPU_PER_REQUEST_S, None) == pytest.approx(0.2)
    assert measured(round_, Measure.PICKER_CPU_PER_CHUNK_S, None) == pytest.approx(0.05)
    assert measured(round_, Measure.ENVOY_CPU_PER_REQUEST_S, None) == pytest.approx(0.1)
    assert measured(round_, Measure.ENVOY_CPU_PER_CHUNK_S, None) == pytest.approx(0.025)
    assert measured(round_, Measure.PICKER_PEAK_BYTES, None) == 5


def test_there_is_no_cost_per_chunk_where_an_answer_came_whole() -> None:
    """Nobody counts its chunks, so its cost would be put down to those of the others; refusals have none to count."""
    usage = {"picker": used(0.6), "envoy": used(0.3)}
    whole = answered()._replace(chunks=0)
    mixed = play(answered(), whole, evidence=Evidence(usage=usage, engines=()))
    streamed = play(answered(), failed(), evidence=Evidence(usage=usage, engines=()))
    for measure in (Measure.PICKER_CPU_PER_CHUNK_S, Measure.ENVOY_CPU_PER_CHUNK_S):
        assert measured(mixed, measure, None) is None
        assert measured(streamed, measure, None) is not None
    assert measured(mixed, Measure.PICKER_CPU_PER_REQUEST_S, None) == pytest.approx(0.3)


def test_engines_are_taken_together() -> None:
    """The worst for what must not be, the sum for what is shared."""
    engines = (
        engine(slots=4, submitted=30, max_waiting=2, max_running=3, idle_slot_s=10, kv_peak_share=0.2),
        engine(slots=6, submitted=10, max_waiting=5, max_running=2, idle_slot_s=15, kv_peak_share=0.1),
    )
    round_ = play(duration_s=10, evidence=Evidence(usage={}, engines=engines))
    assert measured(round_, Measure.ENGINE_WAITING_MAX, None) == 5
    assert measured(round_, Measure.ENGINE_RUNNING_MAX, None) == 3
    assert measured(round_, Measure.ENGINE_IDLE_SLOT_SHARE, None) == pytest.approx(0.25)
    assert measured(round_, Measure.ENGINE_FAIREST_SHARE, None) == pytest.approx(0.5)
    assert measured(round_, Measure.ENGINE_KV_PEAK_SHARE, None) == pytest.approx(0.2)


def test_what_picker_and_envoy_say_is_passed_on() -> None:
    """With the messages back as a share of those sent."""
    evidence = Evidence(
        usage={},
        engines=(),
        extproc_sent=200,
        extproc_received=150,
        queued_max=7,
        queued_at_end=1,
        streams_at_end=2,
        idle_eligible_slot_s=0.5,
    )
    round_ = play(evidence=evidence)
    assert measured(round_, Measure.MESSAGES_BACK_SHARE, None) == pytest.approx(0.75)
    assert measured(round_, Measure.QUEUED_MAX, None) == 7
    assert measured(round_, Measure.QUEUED_AT_END, None) == 1
    assert measured(round_, Measure.STREAMS_AT_END, None) == 2
    assert measured(round_, Measure.IDLE_ELIGIBLE_SLOT_S, None) == 0.5
