"""What the product is for: through real Envoy, to an endpoint with room, highest priority first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from epp.quickstart.envoy import BodyMode
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.world import World

BOTH_MODES = pytest.mark.parametrize("mode", list(BodyMode), ids=lambda mode: mode.value)


@BOTH_MODES
async def test_the_highest_priority_goes_first(world: Callable[[Setting], World], mode: BodyMode) -> None:
    """With one place, whatever was queued first, premium precedes standard and standard precedes batch."""
    async with world(Setting(body_mode=mode)) as it:
        first = it.hold("first")
        await it.server.until_held(1)
        queued = []
        for name in ("batch", "standard", "premium"):
            queued.append(it.hold(name, "" if name == "standard" else name))
            await it.until_queued(len(queued))
        it.server.let_go(4)
        assert await asyncio.gather(first, *queued) == [
            (200, "first"),
            (200, "batch"),
            (200, "standard"),
            (200, "premium"),
        ]
        assert it.server.order == ["first", "premium", "standard", "batch"]
        assert it.server.most_held == 1


@BOTH_MODES
async def test_a_slot_is_free_when_the_response_ends(
    world: Callable[[Setting], World], mode: BodyMode
) -> None:
    """The next request reaches the server once the one before it is answered, never earlier, in both modes."""
    async with world(Setting(body_mode=mode, max_concurrency=3)) as it:
        requests = [it.hold(str(number)) for number in range(12)]
        await it.server.until_held(3)
        await it.until_queued(9)
        it.server.let_go(12)
        assert {status for status, _ in await asyncio.gather(*requests)} == {200}
        assert it.server.most_held == 3
        await it.until_metric("llm_d_epp_request_running", 0)


async def test_a_client_that_leaves_the_queue_is_forgotten(world: Callable[[Setting], World]) -> None:
    """A disconnect while queued empties the queue at once, and its turn goes to the next."""
    async with world(Setting()) as it:
        first = it.hold("first")
        await it.server.until_held(1)
        gone = it.hold("gone", "premium")
        await it.until_queued(1)
        stays = it.hold("stays", "batch")
        await it.until_queued(2)
        gone.cancel()
        await it.until_queued(1)
        it.server.let_go(2)
        assert await first == (200, "first")
        assert await stays == (200, "stays")
        assert it.server.order == ["first", "stays"]


@BOTH_MODES
async def test_a_client_that_leaves_while_served_frees_its_slot(
    world: Callable[[Setting], World], mode: BodyMode
) -> None:
    """A disconnect while the server works gives the slot to whoever waits."""
    async with world(Setting(body_mode=mode)) as it:
        gone = it.hold("gone")
        await it.server.until_held(1)
        waits = it.hold("waits")
        await it.until_queued(1)
        gone.cancel()
        await it.until_queued(0)
        it.server.let_go(1)
        assert await waits == (200, "waits")


async def test_a_changed_objective_acts_on_new_requests(world: Callable[[Setting], World]) -> None:
    """Priorities follow the file while requests wait: what comes after the change is treated by it."""
    async with world(Setting()) as it:
        first = it.hold("first")
        await it.server.until_held(1)
        batch = it.hold("batch", "batch")
        await it.until_queued(1)
        it.write_objects(it.ports, vip=100)
        await it.until_metric("llm_d_epp_flow_control_capacity_utilization_requests", 0, priority="100")
        vip = it.hold("vip", "vip")
        await it.until_queued(2)
        it.server.let_go(3)
        await asyncio.gather(first, batch, vip)
        assert it.server.order == ["first", "vip", "batch"]


async def test_requests_are_held_while_there_is_no_endpoint(world: Callable[[Setting], World]) -> None:
    """Scale from zero: requests wait for the first endpoint and go to it within moments of its coming."""
    async with world(Setting()) as it:
        it.write_objects([])
        await it.until_metric("llm_d_epp_ready_endpoints", 0)
        held = it.hold("held")
        await it.until_queued(1)
        it.write_objects(it.ports)
        it.server.let_go(1)
        assert await held == (200, "held")
