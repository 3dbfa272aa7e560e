"""The pace: bursts are bounded, rates are kept, pauses grow."""

from __future__ import annotations

import asyncio

import pytest

from epp.kube.pace import Backoff, TokenBucket, rung, until
from tests.kube.virtual import VirtualTime, running


@pytest.mark.parametrize("start_s", [0.0, 1000.0, 3e7])
async def test_a_burst_and_then_a_rate(start_s):
    """Twenty at once, then ten a second, however exact the clock's numbers are."""
    time = VirtualTime(start_s)
    bucket = TokenBucket(per_second=10.0, burst=20, clock=time.clock, sleep=time.sleep)
    taken = []

    async def take() -> None:
        while True:
            await bucket.take()
            taken.append(time.now_s)

    async with running(take()):
        await time.pass_by(10.01)
    assert taken.count(start_s) == 20
    assert len(taken) == 120


async def test_idling_saves_up_a_burst_and_no_more():
    """After an hour of nothing there is one burst."""
    time = VirtualTime()
    bucket = TokenBucket(per_second=10.0, burst=20, clock=time.clock, sleep=time.sleep)
    await time.pass_by(3600)
    for _ in range(20):
        await bucket.take()
    async with running(bucket.take()) as task:
        await time.settle()
        assert not task.done()


def test_pauses_double_up_to_the_most():
    """With jitter of up to a half, and from the beginning after a success."""
    longest = Backoff(first_s=1.0, most_s=10.0, chance=lambda: 1.0)
    shortest = Backoff(first_s=1.0, most_s=10.0, chance=lambda: 0.0)
    assert [longest.next_s() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert [shortest.next_s() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    longest.reset()
    assert longest.next_s() == 1.0


def test_retry_after_is_the_least():
    """What the server asks for is waited, within reason; a thousandth failure is no error."""
    backoff = Backoff(first_s=1.0, most_s=10.0, chance=lambda: 1.0)
    assert backoff.next_s(5.0) == 5.0
    assert backoff.next_s(1e9) == 10.0
    assert [backoff.next_s() for _ in range(2000)][-1] == 10.0


@pytest.mark.parametrize("rings", [True, False])
async def test_a_pause_is_cut_short_by_a_bell(rings):
    """Either is enough, and nothing goes on waiting for the other."""
    time, bell = VirtualTime(), asyncio.Event()
    async with running(rung(bell, within_s=10.0, sleep=time.sleep)) as task:
        await time.pass_by(9.9)
        assert not task.done()
        if rings:
            bell.set()
        await time.pass_by(0 if rings else 0.2)
        assert task.done()
        assert len(asyncio.all_tasks()) == 1


async def test_until_it_is_true():
    """A bell that rings for nothing ends no wait, and without a bell it is noticed at the next look."""
    time, bell, facts = VirtualTime(), asyncio.Event(), []
    async with running(until(lambda: bool(facts), bell, look_every_s=10.0, sleep=time.sleep)) as task:
        await time.pass_by(5)
        bell.set()
        await time.pass_by(5)
        assert not task.done()
        facts.append("it is")
        await time.pass_by(4)
        assert not task.done()
        await time.pass_by(1)
        assert task.done()
