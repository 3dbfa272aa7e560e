"""The agenda: each thing once, in order, and not before its time."""

from __future__ import annotations

import asyncio

from epp.kube.agenda import Agenda
from tests.kube.virtual import VirtualTime, running


async def test_each_once_in_order():
    """What is asked for again keeps its place."""
    time = VirtualTime()
    agenda = Agenda(clock=time.clock, sleep=time.sleep)
    for key in "abac":
        agenda.add(key)
    assert len(agenda) == 3
    assert [await agenda.take() for _ in range(3)] == ["a", "b", "c"]


async def test_later_is_later():
    """What is due later waits, in the order in which it falls due; what is asked for now does not."""
    time = VirtualTime()
    agenda = Agenda(clock=time.clock, sleep=time.sleep)
    taken = []

    async def take() -> None:
        while True:
            taken.append((await agenda.take(), time.now_s))

    async with running(take()):
        agenda.add_later("late", not_before_s=1020.0)
        agenda.add_later("soon", not_before_s=1010.0)
        agenda.add_later("hurried", not_before_s=1030.0)
        await time.pass_by(5)
        agenda.add("now")
        agenda.add("hurried")
        await time.pass_by(60)
    assert taken == [("now", 1005.0), ("hurried", 1005.0), ("soon", 1010.0), ("late", 1020.0)]
    assert not agenda


async def test_now_stays_now():
    """Asking for it later does not put off what is to be done now."""
    time = VirtualTime()
    agenda = Agenda(clock=time.clock, sleep=time.sleep)
    agenda.add("a")
    agenda.add_later("a", not_before_s=2000.0)
    assert await agenda.take() == "a"
    assert "a" not in agenda


async def test_giving_up():
    """What is due last goes first, then what waited longest."""
    time = VirtualTime()
    agenda = Agenda(clock=time.clock, sleep=time.sleep)
    agenda.add("a")
    agenda.add("b")
    agenda.add_later("c", not_before_s=2000.0)
    agenda.add_later("d", not_before_s=3000.0)
    assert [agenda.give_up_one() for _ in range(3)] == ["d", "c", "a"]
    agenda.discard("b")
    assert not len(agenda)


async def test_a_cancelled_wait_loses_nothing():
    """Who is cancelled while it waits leaves everything there, and no task behind."""
    time = VirtualTime()
    agenda = Agenda(clock=time.clock, sleep=time.sleep)
    agenda.add_later("a", not_before_s=1001.0)
    async with running(agenda.take()):
        await time.settle()
    assert len(asyncio.all_tasks()) == 1
    assert "a" in agenda
