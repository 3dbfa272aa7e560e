"""When requests leave."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.load.pace import send_when_due
from benchmarks.load.plan import Due
from tests.kube.virtualloop import virtual

LATE_S = 0.001
"""Timers are rounded up."""


def dues(*times: float) -> list[Due]:
    """Requests that are due then."""
    return [Due(due_s, "chat", "", 1, 1) for due_s in times]


@virtual
async def test_nobody_waits_for_an_earlier_request() -> None:
    """Each leaves when it is due, not before, though those before it take for ever; it returns after the last end."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    left: list[tuple[float, float]] = []

    async def send(due: Due) -> None:
        left.append((due.due_s, loop.time() - start_s))
        await asyncio.sleep(1000.0)

    await send_when_due(dues(0.0, 0.0, 0.3, 0.3004, 7.0, 500.0), send, clock=loop.time, start_s=start_s)
    assert [due_s for due_s, _ in left] == [0.0, 0.0, 0.3, 0.3004, 7.0, 500.0]
    assert all(due_s <= left_s + 1e-9 and left_s <= due_s + LATE_S for due_s, left_s in left)
    assert loop.time() - start_s >= 1500.0


@virtual
async def test_a_timer_that_fires_early_is_waited_out() -> None:
    """What counts is the clock: where it runs at half the speed of the loop's timers, nothing leaves too early."""
    loop = asyncio.get_running_loop()
    left: list[tuple[float, float]] = []

    def clock() -> float:
        return loop.time() / 2

    start_s = clock()

    async def send(due: Due) -> None:
        left.append((due.due_s, clock() - start_s))

    await send_when_due(dues(0.5, 3.0), send, clock=clock, start_s=start_s)
    assert len(left) == 2
    assert all(due_s <= left_s <= due_s + LATE_S for due_s, left_s in left)


@virtual
async def test_what_is_late_leaves_at_once() -> None:
    """A generator that was held up catches up, in order, and leaves nobody out."""
    loop = asyncio.get_running_loop()
    start_s = loop.time() - 10.0
    left: list[tuple[float, float]] = []

    async def send(due: Due) -> None:
        left.append((due.due_s, loop.time() - start_s))

    await send_when_due(dues(1.0, 2.0, 9.9, 12.0), send, clock=loop.time, start_s=start_s)
    assert left[:3] == [(1.0, 10.0), (2.0, 10.0), (9.9, 10.0)]
    assert left[3][1] >= 12.0


@virtual
async def test_what_send_raises_ends_the_play() -> None:
    """As it is, once, and whatever is under way is cancelled."""
    loop = asyncio.get_running_loop()
    cancelled: list[float] = []

    async def send(due: Due) -> None:
        if due.due_s == 2.0:
            raise OSError("no more")
        try:
            await asyncio.sleep(1000.0)
        except asyncio.CancelledError:
            cancelled.append(due.due_s)
            raise

    with pytest.raises(OSError, match=r"^no more$"):
        await send_when_due(dues(0.0, 1.0, 2.0, 2.0, 50.0), send, clock=loop.time, start_s=loop.time())
    assert sorted(cancelled) == [0.0, 1.0]


@virtual
async def test_cancelling_ends_everything() -> None:
    """What is under way is cancelled, and what is to come never leaves."""
    loop = asyncio.get_running_loop()
    left: list[float] = []

    async def send(due: Due) -> None:
        left.append(due.due_s)
        await asyncio.sleep(1000.0)

    play = asyncio.create_task(
        send_when_due(dues(0.0, 1.0, 50.0), send, clock=loop.time, start_s=loop.time())
    )
    await asyncio.sleep(10.0)
    play.cancel()
    with pytest.raises(asyncio.CancelledError):
        await play
    assert left == [0.0, 1.0]
