"""One half of the demo, against a server that is not one."""

from __future__ import annotations

import pytest

from epp.demo.client import Prompt
from epp.demo.rehearsal import CalibrationError, Plan, calibrate, rehearse
from epp.demo.tally import Result, Snapshot
from epp.demo.traffic import Arrival, three_classes
from epp.quickstart.ports import free_ports

CLASSES = three_classes(2.5)
PROMPT = Prompt(model="m", text="Hello", max_tokens=3)


class Recorder:
    """A view that keeps what it is shown."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def show(self, snapshot: Snapshot, /) -> None:
        """Keep it."""
        self.snapshots.append(snapshot)


def plan(*due_s: float) -> Plan:
    """One request of every class at each of these times."""
    arrivals = [Arrival(each, traffic_class) for each in due_s for traffic_class in CLASSES]
    return Plan(classes=CLASSES, arrivals=arrivals, prompt=PROMPT, patience_s=60.0)


async def test_every_planned_request_is_sent_and_reported(server) -> None:
    """The outcomes are those of the plan, and the last snapshot adds up to them."""
    view = Recorder()
    outcomes = await rehearse(server.base_url, plan(0.0, 0.01, 0.02), view, queue=None)
    assert sorted((each.class_name, each.due_s) for each in outcomes) == sorted(
        (each.traffic_class.name, each.due_s) for each in plan(0.0, 0.01, 0.02).arrivals
    )
    assert {each.result for each in outcomes} == {Result.COMPLETED}
    assert len(server.requests) == 9
    last = view.snapshots[-1]
    assert [live.completed for live in last.classes.values()] == [3, 3, 3]
    assert last.queued is None


async def test_the_pickers_queue_is_shown_by_class(server) -> None:
    """Priorities become the names of the classes; a priority of nobody's is left out."""
    view = Recorder()

    async def queue() -> dict[int, int]:
        return {10: 1, -10: 7, 99: 5}

    await rehearse(server.base_url, plan(0.0), view, queue=queue)
    assert view.snapshots[0].queued == {"premium": 1, "standard": 0, "batch": 7}


async def test_a_view_that_fails_ends_the_half(server) -> None:
    """An error on the screen is not swallowed, nor does it leave requests behind."""

    class Broken:
        def show(self, snapshot: Snapshot, /) -> None:
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as failure:
        await rehearse(server.base_url, plan(0.0, 60.0), Broken(), queue=None)
    assert failure.group_contains(ZeroDivisionError)


async def test_capacity_is_places_over_service_time(server) -> None:
    """Every place is filled in every round, and Little's law gives the rate."""
    capacity = await calibrate([server.base_url, server.base_url], PROMPT, places=5)
    assert len(server.requests) == 2 * 5 * 2
    assert capacity.service_time_s > 0
    assert capacity.per_s == pytest.approx(10 / capacity.service_time_s)


async def test_servers_that_refuse_cannot_be_calibrated(server) -> None:
    """The error says how many requests failed and how."""
    server.status, server.reason = 503, "rejected-no-endpoints"
    with pytest.raises(CalibrationError, match=r"4 of 4 requests .*refused"):
        await calibrate([server.base_url], PROMPT, places=2)


async def test_servers_that_are_not_there_cannot_be_calibrated() -> None:
    """A server that nobody started is an error as well."""
    (port,) = free_ports(1)
    with pytest.raises(CalibrationError, match="broken"):
        await calibrate([f"http://127.0.0.1:{port}"], PROMPT, places=1)
