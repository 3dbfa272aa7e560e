"""The judgement over two halves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from epp.demo.tally import ClassSummary, Outcome, Result
from epp.demo.verdict import Half, Verdict, judge, seconds

SERVED = ClassSummary(
    sent=100,
    completed=100,
    refused=0,
    gave_up=0,
    broken=0,
    completed_per_s=5.0,
    p50_ttft_s=0.1,
    p99_ttft_s=0.2,
)
REFUSED = replace(SERVED, completed=20, refused=80, p99_ttft_s=None)
ABANDONED = replace(SERVED, completed=40, gave_up=60, p50_ttft_s=None, p99_ttft_s=None)

PICKED = Half({"premium": SERVED, "standard": SERVED, "batch": REFUSED})
ALONE = Half({"premium": ABANDONED, "standard": ABANDONED, "batch": ABANDONED})


def judged(picked: Half = PICKED, alone: Half = ALONE, *, service_time_s: float = 1.2) -> Verdict:
    """The verdict over these halves."""
    return judge(picked=picked, alone=alone, service_time_s=service_time_s, patience_s=10.0)


def changed(half: Half, name: str, **figures: object) -> Half:
    """The same half with other figures of one class."""
    return Half({**half.classes, name: replace(half.classes[name], **figures)})


def broken(verdict: Verdict) -> list[str]:
    """The promises that were not kept."""
    return [check.promise for check in verdict.checks if not check.kept]


def test_what_the_demo_is_meant_to_show_is_kept() -> None:
    """Premium served, batch refused, no throughput lost."""
    assert judged().kept
    assert broken(judged()) == []


@pytest.mark.parametrize(
    ("picked", "alone", "promise"),
    [
        (changed(PICKED, "premium", p99_ttft_s=1.3), ALONE, "within 1.2 s"),
        (changed(PICKED, "premium", refused=1), ALONE, "not one request is lost"),
        (changed(PICKED, "premium", gave_up=1), ALONE, "not one request is lost"),
        (changed(PICKED, "batch", refused=0), ALONE, "bears the overload"),
        (changed(PICKED, "standard", broken=1), ALONE, "nothing breaks"),
        (PICKED, changed(ALONE, "batch", completed_per_s=7.0), "no throughput"),
        (PICKED, changed(ALONE, "premium", p99_ttft_s=0.5), "3 times sooner"),
    ],
)
def test_every_promise_can_be_broken_alone(picked: Half, alone: Half, promise: str) -> None:
    """One figure out of bounds breaks exactly the promise that is about it."""
    verdict = judged(picked, alone)
    assert not verdict.kept
    (found,) = broken(verdict)
    assert promise in found


def test_a_first_token_that_never_came_is_not_within_any_bound() -> None:
    """A p99 of never breaks both promises about it."""
    found = broken(judged(changed(PICKED, "premium", p99_ttft_s=None)))
    assert len(found) == 2


def test_a_client_that_gave_up_waited_at_least_its_patience() -> None:
    """Against a baseline of never, three times sooner means within a third of the patience."""
    slow = changed(PICKED, "premium", p99_ttft_s=3.4)
    assert any("3 times sooner" in promise for promise in broken(judged(slow, service_time_s=5.0)))
    slow = changed(PICKED, "premium", p99_ttft_s=3.3)
    assert judged(slow, service_time_s=5.0).kept


def test_the_bound_is_a_service_time_but_not_less_than_a_second() -> None:
    """Fast servers don't make the bound smaller than a loaded machine's noise."""
    promises = [judged(service_time_s=service_s).checks[0].promise for service_s in (0.2, 2.5)]
    assert "within 1.0 s" in promises[0]
    assert "within 2.5 s" in promises[1]


def test_a_half_in_which_nothing_was_measured_proves_nothing() -> None:
    """Empty halves break promises instead of dividing by zero."""
    nothing = ClassSummary(
        sent=0,
        completed=0,
        refused=0,
        gave_up=0,
        broken=0,
        completed_per_s=0.0,
        p50_ttft_s=None,
        p99_ttft_s=None,
    )
    empty = Half(dict.fromkeys(("premium", "standard", "batch"), nothing))
    assert not judged(empty, empty).kept


def test_a_half_groups_outcomes_by_class() -> None:
    """Classes keep their order, also those without a request, and throughput is their sum."""
    outcomes = [
        Outcome("batch", 0.0, 0.1, 1.0, Result.COMPLETED),
        Outcome("premium", 0.0, 0.1, 1.0, Result.COMPLETED),
        Outcome("premium", 0.0, None, 1.0, Result.REFUSED),
    ]
    half = Half.of(outcomes, ["premium", "standard", "batch"], arrivals_s=2.0)
    assert [(name, summary.sent) for name, summary in half.classes.items()] == [
        ("premium", 2),
        ("standard", 0),
        ("batch", 1),
    ]
    assert half.completed_per_s == 1.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "never"), (0.0124, "12 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (12.34, "12.3 s")],
)
def test_times_for_people(value: float | None, text: str) -> None:
    """Milliseconds below a second, one decimal above."""
    assert seconds(value) == text
