"""What runs come to, in numbers that can be checked by hand."""

from __future__ import annotations

import pytest

from epp.core.actions import Dispatch, Reason, Refuse
from epp.core.endpoint import EndpointSpec
from epp.core.events import Arrived, Cancelled, Ended, Tick
from epp.replay.course import Course
from epp.replay.story import tell
from epp.replay.summary import jain_index, quantile, summarize
from epp.replay.table import render, seconds

A = EndpointSpec("10.0.0.1:80")


def _sent(course: Course, number: int, tenant: str, *, at_s: float, waited_s: float, tokens: int) -> None:
    """A request that came, waited and was sent."""
    course.observe(Arrived(number, 0, tenant, 1, input_tokens=tokens, max_output_tokens=0), [], at_s)
    course.observe(Tick(), [Dispatch(number, A, waited_s)], at_s + waited_s)


def test_requests_are_counted_by_what_became_of_them() -> None:
    """Sent, refused and why, given up; waits of those that were sent."""
    course = Course()
    for number in range(10):
        _sent(course, number, "ada", at_s=0.0, waited_s=float(number), tokens=10)
    course.observe(Arrived(20, 5, "bob", 1), [Refuse(20, Reason.SATURATED, 0.0, 1)], 1.0)
    course.observe(Arrived(21, 5, "bob", 1), [], 1.0)
    course.observe(Cancelled(21), [], 2.0)
    run = summarize("x", course)
    ada, bob = run.flows[0, "ada"], run.flows[5, "bob"]
    assert (ada.requests, ada.dispatched, ada.tokens) == (10, 10, 100)
    assert (ada.wait_p50_s, ada.wait_p95_s, ada.wait_p99_s) == (4.0, 9.0, 9.0)
    assert (bob.requests, bob.dispatched, bob.refused, bob.gave_up) == (2, 0, {"rejected-saturated": 1}, 1)
    assert bob.wait_p50_s is None
    assert list(run.bands) == [5, 0]
    assert run.total.requests == 12
    assert run.duration_s == 9.0


def test_usage_counts_instead_of_estimates() -> None:
    """Once a request has ended with its tokens, they are its tokens."""
    course = Course()
    _sent(course, 1, "ada", at_s=0.0, waited_s=0.0, tokens=10)
    course.observe(Ended(1, 7, 5), [], 3.0)
    course.observe(Ended(1, 700, 500), [], 4.0)
    assert summarize("x", course).total.tokens == 12
    assert course.load == {A.key: 0}


def test_jain_counts_only_whoever_waits_all_the_time() -> None:
    """Two that wait share 3 to 1; a third, which never waits long, has no part in it."""
    course = Course()
    for number in range(200):
        _sent(course, number, "ada", at_s=0.0, waited_s=number / 2, tokens=30)
        _sent(course, 1000 + number, "bob", at_s=0.0, waited_s=number / 2, tokens=10)
        _sent(course, 2000 + number, "cyd", at_s=number / 2, waited_s=0.0, tokens=500)
    jain = summarize("x", course).jain[0]
    assert jain == pytest.approx(jain_index([3, 1]))
    alone = Course()
    _sent(alone, 1, "ada", at_s=0.0, waited_s=50.0, tokens=1)
    assert summarize("x", alone).jain[0] is None


def test_shares_are_per_weight() -> None:
    """Three times the tokens with three times the weight is even."""
    course = Course()
    for number in range(100):
        for tenant, weight, offset in (("ada", 3.0, 0), ("bob", 1.0, 1000)):
            arrived = Arrived(
                offset + number,
                0,
                tenant,
                1,
                input_tokens=int(10 * weight),
                max_output_tokens=0,
                weight=weight,
            )
            course.observe(arrived, [], 0.0)
    for number in range(100):
        for offset in (0, 1000):
            course.observe(Tick(), [Dispatch(offset + number, A, float(number))], float(number))
    assert summarize("x", course).jain[0] == pytest.approx(1.0)


def test_quantiles_and_words() -> None:
    """Of nothing there is none; times are told as people read them."""
    assert quantile([], 0.5) is None
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert jain_index([1, 0, 0, 0]) == 0.25
    assert [seconds(each) for each in (None, 0.0, 0.0123, 12.34)] == ["-", "0 ms", "12 ms", "12.3 s"]


def test_a_table_has_columns_that_stand_below_each_other() -> None:
    """Numbers end where their heading ends."""
    course = Course()
    for number, tenant in enumerate(("ada", "bob", "ada")):
        _sent(course, number, tenant, at_s=0.0, waited_s=0.5, tokens=100_000)
    text = render([summarize("one", course), summarize("another", course)], flows=1)
    lines = text.splitlines()
    end = lines[0].index("tokens") + len("tokens")
    assert [line[:end].split()[-1] for line in lines if line.startswith("  another")][:1] == ["300000"]
    assert "band 0, tenant ada" in text
    assert "bob" not in text


def test_a_story_tells_who_went_before() -> None:
    """And what became of it, whatever that was."""
    course = Course()
    course.observe(Arrived(1, 0, "ada", 1), [], 0.0)
    _sent(course, 2, "bob", at_s=1.0, waited_s=0.5, tokens=1)
    course.observe(Tick(), [Refuse(1, Reason.TTL_EXPIRED, 3.0, 5)], 3.0)
    told = tell("x", course, 1)
    assert "while it waited, 1 others were sent:" in told
    assert "1 of priority 0, tenant bob" in told
    assert "3.000 s  refused after 3.0 s: rejected-ttl-expired" in told
    assert tell("x", course, 77) == "x: no request 77 arrived in this log"
