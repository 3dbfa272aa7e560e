"""A flow's tag: charges, wakes and settlements, one by one."""

from __future__ import annotations

from math import inf

import pytest

from epp.core.flow import Flow
from epp.core.incarnation import Endpoint
from tests.core.building import A

PLACE = Endpoint(A)


def wake(flow: Flow, time: float, *, rested: float = -inf) -> None:
    """It wakes at home."""
    flow.wake(time, PLACE, reference=time, rested=rested, kept=1.0)


def charge(flow: Flow, cost: float) -> int:
    """It is served; returns what its settlement needs."""
    flow.charge(cost, PLACE, 0.0)
    return flow.epoch


@pytest.mark.parametrize(("correction", "tag"), [(-8.0, 2.0), (5.0, 15.0)])
def test_a_settlement_moves_the_tag_by_what_was_charged_wrongly(correction: float, tag: float) -> None:
    """Nothing happened in between: the tag is what the actual cost alone would have made it."""
    flow = Flow("tenant")
    wake(flow, 0.0)
    epoch = charge(flow, 10.0)
    assert flow.settle(correction, epoch)
    assert flow.tag == tag


def test_a_lift_absorbs_what_it_would_have_given_anyway() -> None:
    """After a lift from 10 to 30, refunds change nothing, and a surcharge counts only beyond 30."""
    flow = Flow("tenant")
    wake(flow, 0.0)
    epochs = [charge(flow, 5.0), charge(flow, 5.0)]
    wake(flow, 30.0)
    assert not flow.settle(-5.0, epochs[0])
    assert flow.tag == 30.0
    assert flow.settle(40.0, epochs[1])
    assert flow.tag == 45.0


def test_what_a_flow_was_behind_when_it_rested_it_stays_behind() -> None:
    """It rested at virtual time 20 and woke at 30: a refund to 15 leaves it 5 behind, as it was."""
    flow = Flow("tenant")
    wake(flow, 0.0)
    epoch = charge(flow, 40.0)
    wake(flow, 30.0, rested=20.0)
    assert flow.tag == 40.0
    flow.settle(-25.0, epoch)
    assert flow.tag == 25.0


def test_charges_of_before_a_reset_are_forgiven() -> None:
    """The band was empty in between: their settlement moves nothing, and is not waited for by anybody."""
    flow = Flow("tenant")
    wake(flow, 0.0)
    old = charge(flow, 10.0)
    flow.reset(lifetime=1)
    wake(flow, 0.0)
    new = charge(flow, 1.0)
    assert not flow.settle(100.0, old)
    assert flow.tag == 1.0
    assert flow.settle(2.0, new)
    assert (flow.tag, flow.unsettled) == (3.0, 0)


def test_a_request_that_runs_for_hours_costs_no_memory_of_its_tenants_wakes() -> None:
    """Ten thousand wakes beside one open charge are not remembered, and its surcharge counts all the same."""
    flow = Flow("tenant")
    wake(flow, 0.0)
    long = charge(flow, 1.0)
    for time in range(10_000):
        wake(flow, float(time), rested=float(time))
        flow.settle(0.0, charge(flow, 1.0))
    assert len(flow._wakes) <= 64
    before = flow.tag
    flow.settle(500.0, long)
    assert flow.tag == before + 500.0
    assert not flow._wakes


def test_a_tenant_that_always_has_something_open_remembers_only_what_may_still_change() -> None:
    """Wakes from before the oldest open charge are forgotten as it is settled."""
    flow = Flow("tenant")
    open_charges = []
    for time in range(1_000):
        wake(flow, float(time), rested=float(time))
        open_charges.append(charge(flow, 1.0))
        if len(open_charges) > 3:
            flow.settle(0.0, open_charges.pop(0))
        assert len(flow._wakes) <= 3
