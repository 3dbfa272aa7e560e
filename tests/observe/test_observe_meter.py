"""Counting what becomes of a request."""

from __future__ import annotations

import itertools
import random

import pytest

from epp.core.actions import Reason
from epp.observe.labels import PriorityNames, RequestLabels
from epp.observe.meter import RequestBook
from epp.observe.outcomes import ResponseEnd
from tests.observe.surroundings import finish

LABELS = RequestLabels("llama", "llama-awq", "alice", 10)


@pytest.fixture
def book():
    """A book with a clock that stands still."""
    return RequestBook(clock=lambda: 5.0, label_limit=10, priorities=PriorityNames(10))


def only(book):
    """The one series that there is."""
    (series,) = book.series
    return series


def waits(series):
    """Requests by outcome, as the histogram of waits counted them."""
    return {outcome: list(waits_s.cumulative())[-1] for outcome, waits_s in series.waits_s.items()}


def gauges(series):
    """What must come back to nothing."""
    return (series.queued, series.queued_bytes, series.running)


def test_the_way_of_a_served_request(book):
    """Queued, then running, then gone, with every figure in its histogram."""
    meter = book.request_seen(LABELS, 700)
    series = only(book)
    assert gauges(series) == (1, 700, 0)
    meter.dispatched(waited_s=0.5)
    assert gauges(series) == (0, 0, 1)
    assert (series.dispatched, waits(series), series.request_bytes.total) == (1, {"Dispatched": 1}, 700)
    finish(meter)
    assert gauges(series) == (0, 0, 0)
    totals = {
        name: getattr(series, name).total
        for name in ("duration_s", "response_bytes", "input_tokens", "output_tokens", "cached_tokens")
    }
    assert totals == {
        "duration_s": 3.5,
        "response_bytes": 500,
        "input_tokens": 30,
        "output_tokens": 11,
        "cached_tokens": 8,
    }
    assert series.ttft_streaming_s.total == 0.5
    assert series.ttft_s.is_empty
    assert series.ntpot_s.total == pytest.approx(3.5 / 11)
    assert series.tpot_s.total == pytest.approx(3.0 / 10)
    assert book.outcomes == {("Dispatched", "10"): 1}
    assert book.responses == {"completed": 1}
    assert series.errors == book.refusals == {}


@pytest.mark.parametrize("reason", Reason)
def test_a_refused_request_leaves_the_queue_and_is_named(book, reason):
    """One outcome, one error, one refusal with its exact reason, and nothing left behind."""
    book.request_seen(LABELS, 700).refused(reason, waited_s=2.0)
    series = only(book)
    assert gauges(series) == (0, 0, 0)
    assert sum(waits(series).values()) == sum(book.outcomes.values()) == sum(series.errors.values()) == 1
    assert book.refusals == {("10", reason.value): 1}
    assert series.dispatched == 0


def test_a_request_that_was_cancelled_while_queued(book):
    """It is upstream's outcome of its own, an error, and no refusal: nobody read an answer."""
    book.request_seen(LABELS, 700).cancelled(waited_s=2.0)
    assert book.outcomes == {("EvictedContextCancelled", "10"): 1}
    assert only(book).errors == {"ServiceUnavailable": 1}
    assert book.refusals == {}
    assert gauges(only(book)) == (0, 0, 0)


def test_an_answer_that_could_not_be_given_before_or_after_it_was_counted(book):
    """The shell may learn it before it has told of the dispatch: both orders end with nothing running."""
    first, second = book.request_seen(LABELS, 1), book.request_seen(LABELS, 1)
    first.undelivered(waited_s=1.0)
    first.dispatched(waited_s=1.0)
    second.dispatched(waited_s=1.0)
    second.undelivered(waited_s=1.0)
    assert book.undelivered == 2
    assert gauges(only(book)) == (0, 0, 0)
    assert sum(book.outcomes.values()) == 2


def test_a_response_that_was_cut_off_has_no_figures(book):
    """Only the fact counts: half a response is no fast response."""
    meter = book.request_seen(LABELS, 1)
    meter.dispatched(waited_s=0.0)
    finish(meter, ResponseEnd.ABORTED, status=500)
    series = only(book)
    assert book.responses == {"aborted": 1}
    assert series.duration_s.is_empty
    assert series.output_tokens.is_empty
    assert series.errors == {"ModelServerError": 1}
    assert gauges(series) == (0, 0, 0)


def test_where_the_gateway_hides_responses_their_size_is_unknown(book):
    """No size of 0 is invented; the duration is known."""
    meter = book.request_seen(LABELS, 1)
    meter.dispatched(waited_s=0.0)
    finish(
        meter, ResponseEnd.ENDED, response_bytes=0, ttft_s=None, output_tokens=None, input_tokens=None,
        cached_tokens=None,
    )  # fmt: skip
    series = only(book)
    assert series.response_bytes.is_empty
    assert not series.duration_s.is_empty
    assert all(each.is_empty for each in (series.ttft_s, series.ttft_streaming_s, series.input_tokens))
    assert all(each.is_empty for each in (series.cached_tokens, series.ntpot_s, series.tpot_s))


@pytest.mark.parametrize(
    ("status", "errors"), [(200, {}), (399, {}), (400, {"ModelServerError": 1}), (None, {})]
)
def test_the_model_servers_errors_are_its_own(book, status, errors):
    """From 400 on the model server failed; without a status nobody knows."""
    meter = book.request_seen(LABELS, 1)
    meter.dispatched(waited_s=0.0)
    finish(meter, status=status)
    assert only(book).errors == errors


def test_a_response_in_one_piece_has_no_time_per_token(book):
    """Its first token and its last came together; its first byte counts apart from streamed ones."""
    meter = book.request_seen(LABELS, 1)
    meter.dispatched(waited_s=0.0)
    finish(meter, streaming=False)
    assert only(book).tpot_s.is_empty
    assert only(book).ttft_streaming_s.is_empty
    assert only(book).ttft_s.total == 0.5


def test_a_single_token_has_no_time_per_token_after_the_first(book):
    """There is nothing to divide by."""
    meter = book.request_seen(LABELS, 1)
    meter.dispatched(waited_s=0.0)
    finish(meter, output_tokens=1)
    assert only(book).tpot_s.is_empty
    assert only(book).ntpot_s.total == 3.5


def test_a_request_that_never_reached_flow_control(book):
    """It is an error and a refusal, and none of flow control's outcomes."""
    book.rejected(LABELS, Reason.TOO_LARGE)
    book.rejected(None, Reason.MALFORMED)
    assert book.outcomes == {}
    assert book.refusals == {("10", "rejected-too-large"): 1, ("0", "rejected-malformed"): 1}
    assert {series.key.model: series.errors for series in book.series} == {
        "llama": {"BadRequest": 1},
        "": {"BadRequest": 1},
    }


def test_a_running_request_that_gave_way(book):
    """Its dispatch stays the one thing that flow control decided; its client got a refusal, and it ended evicted."""
    meter = book.request_seen(LABELS, 700)
    meter.evicted()
    assert book.refusals == {}
    meter.dispatched(waited_s=1.0)
    meter.evicted()
    finish(meter, ResponseEnd.ABORTED)
    assert book.outcomes == {("Dispatched", "10"): 1}
    assert book.responses == {"evicted": 1}
    assert book.refusals == {("10", "evicted"): 1}
    assert only(book).errors == {"ResourceExhausted": 1}
    assert gauges(only(book)) == (0, 0, 0)


def test_an_eviction_that_came_too_late(book):
    """The response was complete: it counts as that."""
    meter = book.request_seen(LABELS, 700)
    meter.dispatched(waited_s=1.0)
    finish(meter)
    meter.evicted()
    assert book.responses == {"completed": 1}
    assert book.refusals == {}


STEPS = {
    "dispatched": lambda meter: meter.dispatched(waited_s=1.0),
    "refused": lambda meter: meter.refused(Reason.SATURATED, waited_s=0.0),
    "cancelled": lambda meter: meter.cancelled(waited_s=1.0),
    "undelivered": lambda meter: meter.undelivered(waited_s=1.0),
    "evicted": lambda meter: meter.evicted(),
    "ended": finish,
}


@pytest.mark.parametrize("steps", list(itertools.product(STEPS, repeat=3)))
def test_in_whatever_order_a_dying_stream_lets_the_steps_come(book, steps):
    """No gauge drifts, and flow control decides at most once."""
    meter = book.request_seen(LABELS, 700)
    for step in steps:
        STEPS[step](meter)
    series = only(book)
    assert sum(book.outcomes.values()) <= 1
    assert min(gauges(series)) >= 0
    STEPS["cancelled"](meter)
    finish(meter)
    assert gauges(series) == (0, 0, 0)
    assert sum(book.outcomes.values()) == 1


def test_gauges_are_the_sum_over_requests(book):
    """A long random traffic over few labels: what is queued and running is what tests keep count of."""
    rng = random.Random(3)
    queued, running = [], []
    for _ in range(5000):
        roll = rng.random()
        if roll < 0.4:
            labels = LABELS._replace(fairness_id=f"id-{rng.randrange(20)}", priority=rng.randrange(3))
            queued.append((book.request_seen(labels, 10), 10))
        elif queued and roll < 0.6:
            meter, _size = queued.pop(rng.randrange(len(queued)))
            meter.dispatched(waited_s=1.0)
            running.append(meter)
        elif queued and roll < 0.7:
            queued.pop(rng.randrange(len(queued)))[0].cancelled(waited_s=1.0)
        elif running:
            finish(running.pop(rng.randrange(len(running))))
    shown = tuple(book.series)
    assert sum(series.queued for series in shown) == len(queued)
    assert sum(series.queued_bytes for series in shown) == sum(size for _, size in queued)
    assert sum(series.running for series in shown) == len(running)
