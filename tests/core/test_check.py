"""`Controller.check` is awake: a state that contradicts itself, or a promise, is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from epp.core import Controller
from epp.core.check import BrokenPromiseError
from epp.core.events import Cancelled, Ended, EndpointsChanged
from tests.core.building import A, B, controller, request
from tests.core.turns import ON_A


def busy() -> Controller:
    """A controller with something everywhere: two bands, two lanes, two flows, two endpoints."""
    core = controller(A, B)
    for number in range(3):
        core.handle(request(number), 0.0)
    core.handle(request(10, 5, "ada"), 0.0)
    core.handle(request(11, 5, "bob", eligibility=ON_A), 0.0)
    core.handle(request(12, 0, "ada"), 0.0)
    return core


def _band_count(core: Controller) -> None:
    core._bands[5].queued_requests += 1


def _band_bytes(core: Controller) -> None:
    core._bands[5].queued_bytes -= 1


def _total_count(core: Controller) -> None:
    core._bands.queued_requests += 1


def _total_bytes(core: Controller) -> None:
    core._bands.queued_bytes += 1


def _flow_count(core: Controller) -> None:
    core._bands[5].flows["ada"].queued_requests += 1


def _lost_item(core: Controller) -> None:
    del core._waiting.items[11]


def _lost_sequence(core: Controller) -> None:
    core._waiting.by_sequence.popitem()


def _load(core: Controller) -> None:
    core._ledger.listed[A.key].own_requests += 1


def _old_view(core: Controller) -> None:
    endpoint = core._ledger.listed[A.key]
    endpoint.view = endpoint.view._replace(own_requests=0)


def _room_that_is_not(core: Controller) -> None:
    endpoint = core._ledger.listed[A.key]
    core._ledger.full_room.views[endpoint] = endpoint.view


def _forgotten_endpoint(core: Controller) -> None:
    del core._ledger._known[A.key]


def _rising_ceiling(core: Controller) -> None:
    core._bands[5].ceiling = 0.5


def _room_beside_a_queue(core: Controller) -> None:
    core._running.gone(Ended(0), 0.0)


@pytest.mark.parametrize(
    "corrupt",
    [
        _band_count,
        _band_bytes,
        _total_count,
        _total_bytes,
        _flow_count,
        _lost_item,
        _lost_sequence,
        _load,
        _old_view,
        _room_that_is_not,
        _forgotten_endpoint,
        _rising_ceiling,
        _room_beside_a_queue,
    ],
)
def test_a_corrupted_state_is_found(corrupt: Callable[[Controller], None]) -> None:
    """Each counter that is wrong, each table that differs and each promise that is broken raises."""
    core = busy()
    core.check()
    corrupt(core)
    with pytest.raises(BrokenPromiseError):
        core.check()


def test_an_honest_life_passes() -> None:
    """From birth over work and flaps to the end the state is in order."""
    core = busy()
    for event in (
        Ended(0),
        EndpointsChanged((B,)),
        Cancelled(11),
        EndpointsChanged(()),
        EndpointsChanged((A, B)),
    ):
        core.check()
        core.handle(event, 1.0)
    core.check()
