"""Who sends what, and when."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from epp.demo.traffic import Arrival, TrafficClass, play, schedule, three_classes

DEADLINE_S = 60.0
CLASSES = three_classes(2.5)


def drawn(classes: tuple[TrafficClass, ...] = CLASSES, *, seed: int = 1) -> tuple[Arrival, ...]:
    """A schedule of a hundred seconds."""
    return schedule(classes, capacity_per_s=20.0, duration_s=100.0, seed=seed)


def of_class(arrivals: tuple[Arrival, ...], name: str) -> list[float]:
    """When the requests of one class are due."""
    return [arrival.due_s for arrival in arrivals if arrival.traffic_class.name == name]


def test_the_three_classes_make_the_overload() -> None:
    """Priorities are those of the demo's objectives, shares add up, and all but batch would fit."""
    assert [(each.name, each.objective, each.priority) for each in CLASSES] == [
        ("premium", "premium", 10),
        ("standard", None, 0),
        ("batch", "batch", -10),
    ]
    assert sum(each.share for each in CLASSES) == pytest.approx(2.5)
    assert sum(each.share for each in CLASSES[:2]) < 1


@pytest.mark.parametrize("overload", [0.8, 20.1, float("inf"), float("nan")])
def test_an_overload_that_is_none_or_too_much_is_refused(overload: float) -> None:
    """The message names the value and the range."""
    with pytest.raises(
        ValueError, match=rf"^{overload:g} times the capacity: give more than 0.8, at most 20"
    ):
        three_classes(overload)


def test_the_seed_decides_everything() -> None:
    """The same seed gives the same arrivals, another one others."""
    assert drawn(seed=3) == drawn(seed=3)
    assert drawn(seed=3) != drawn(seed=4)


def test_classes_do_not_disturb_each_other() -> None:
    """Another rate of batch leaves premium's arrivals as they are."""
    premium, standard, batch = CLASSES
    other = drawn((premium, standard, replace(batch, share=9.0)))
    assert of_class(other, "premium") == of_class(drawn(), "premium")
    assert of_class(other, "batch") != of_class(drawn(), "batch")


def test_arrivals_come_in_order_and_at_the_offered_rate() -> None:
    """They are sorted, within the duration, and as many as the shares say, within 5 standard deviations."""
    arrivals = drawn()
    due = [arrival.due_s for arrival in arrivals]
    assert due == sorted(due)
    assert due[0] > 0
    assert due[-1] < 100.0
    for each in CLASSES:
        expected = each.share * 20.0 * 100.0
        assert len(of_class(arrivals, each.name)) == pytest.approx(expected, abs=5 * expected**0.5)


async def test_nobody_waits_for_an_earlier_request() -> None:
    """Open loop: all requests are under way at once although none of them has ended."""
    arrivals = [Arrival(number * 0.001, CLASSES[0]) for number in range(50)]
    meeting = asyncio.Barrier(len(arrivals))

    async def send(arrival: Arrival, due_s: float) -> None:
        await meeting.wait()  # nobody passes before everybody has been sent

    start_s = asyncio.get_running_loop().time()
    await asyncio.wait_for(play(arrivals, send, start_s=start_s), DEADLINE_S)


async def test_a_late_client_still_counts_from_the_due_time() -> None:
    """When the loop is blocked, requests leave late, and their due times say so."""
    arrivals = [Arrival(0.0, CLASSES[0]), Arrival(0.01, CLASSES[0]), Arrival(0.02, CLASSES[0])]
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    sent: list[tuple[float, float]] = []

    async def send(arrival: Arrival, due_s: float) -> None:
        sent.append((due_s, loop.time()))
        time.sleep(0.05)  # noqa: ASYNC251 - blocking the loop is what is tested

    await play(arrivals, send, start_s=start_s)
    assert [due_s for due_s, _ in sent] == [start_s, start_s + 0.01, start_s + 0.02]
    assert sent[2][1] - sent[2][0] >= 0.03


async def test_nothing_is_sent_early() -> None:
    """A request leaves at its due time or after it."""
    arrivals = [Arrival(0.05, CLASSES[0]), Arrival(0.1, CLASSES[1])]
    loop = asyncio.get_running_loop()
    lateness: list[float] = []

    async def send(arrival: Arrival, due_s: float) -> None:
        lateness.append(loop.time() - due_s)

    await play(arrivals, send, start_s=loop.time())
    assert len(lateness) == 2
    # The loop's clock has a resolution, within which a timer may fire.
    assert min(lateness) >= -2 * time.get_clock_info("monotonic").resolution - 1e-3
