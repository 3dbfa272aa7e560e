"""Starting, stopping, failing: what a gateway and its clients notice of it."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.quickstart.envoy import BodyMode, FailureMode
from tests.e2e.world import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.world import World

HOLD_S = 10


async def test_a_gateways_pings_never_end_a_held_stream(world: Callable[[Setting], World]) -> None:
    """With Envoy pinging every second, requests that are held for ten seconds are served all the same."""
    async with world(Setting(keepalive_s=1.0, ttl="60s")) as it:
        first = it.hold("first")
        await it.server.until_held(1)
        held = [it.hold(str(number)) for number in range(20)]
        await it.until_queued(20)
        done, _ = await asyncio.wait(held, timeout=HOLD_S)
        assert not done
        it.server.let_go(21)
        assert {status for status, _ in await asyncio.gather(first, *held)} == {200}


@pytest.mark.parametrize("failure", list(FailureMode), ids=lambda mode: mode.value)
async def test_without_the_picker_a_client_cannot_choose_its_server(
    world: Callable[[Setting], World], failure: FailureMode
) -> None:
    """With the picker down, a client's own destination header is obeyed neither fail-closed nor fail-open."""
    async with world(Setting(failure_mode=failure)) as it:
        await it.children.stop(it.picker)
        headers = {"x-gateway-destination-endpoint": f"127.0.0.1:{it.ports[0]}"}
        async with it.client.get(f"{it.url}/v1/models", headers=headers) as response:
            assert response.status >= 500
        assert it.server.seen == []


async def test_stopping_refuses_what_waits_and_finishes_what_runs(world: Callable[[Setting], World]) -> None:
    """After SIGTERM and the drain time, queued requests get a 503 with its reason and running ones their responses."""
    async with world(Setting()) as it:
        running = it.hold("running")
        await it.server.until_held(1)
        waiting = it.client.post(f"{it.url}/v1/hold", data=b"x")
        queued = asyncio.create_task(waiting.__aenter__())
        await it.until_queued(1)
        it.picker.send(signal.SIGTERM)
        response = await queued
        assert response.status == 503
        assert response.headers["x-llm-d-request-dropped-reason"] == "rejected-shutting-down"
        assert json.loads(await response.read())["error"]
        await waiting.__aexit__(None, None, None)
        assert not running.done()
        it.server.let_go(1)
        assert await running == (200, "running")
        async with asyncio.timeout(60):
            assert await it.picker.ended == 0


async def test_while_draining_new_streams_are_served_and_probes_say_no(
    world: Callable[[Setting], World],
) -> None:
    """From SIGTERM to the end of --drain-timeout: NOT_SERVING for probes, service as usual for whoever still comes."""
    async with world(Setting(flags=["--drain-timeout=60s"])) as it:
        async with it.client.get(f"{it.metrics_url}/readyz") as response:
            assert response.status == 200
        it.picker.send(signal.SIGTERM)

        async def unready() -> bool:
            async with it.client.get(f"{it.metrics_url}/readyz") as response:
                return response.status == 503

        await it.until(unready)
        async with it.client.post(f"{it.url}/anything", data=b"late") as response:
            assert await response.read() == b"late"
        it.picker.send(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await it.picker.ended == 0


async def test_ctrl_c_waits_for_no_gateway(world: Callable[[Setting], World]) -> None:
    """SIGINT comes from a person: the drain time is skipped, and what runs is finished all the same."""
    async with world(Setting(flags=["--drain-timeout=3600s"])) as it:
        running = it.hold("running")
        await it.server.until_held(1)
        it.picker.send(signal.SIGINT)
        await it.until(lambda: _refuses(it))
        it.server.let_go(1)
        assert await running == (200, "running")
        async with asyncio.timeout(60):
            assert await it.picker.ended == 0


async def _refuses(it: World) -> bool:
    async with it.client.post(f"{it.url}/anything", data=b"x") as response:
        return response.headers.get("x-llm-d-request-dropped-reason") == "rejected-shutting-down"


async def test_health_answers_by_every_name_that_gateways_use(world: Callable[[Setting], World]) -> None:
    """The names of probes, charts and gateways are SERVING on the health port once the pool is known."""
    names = [
        "",
        "liveness",
        "readiness",
        "inference-extension",
        "envoy.service.ext_proc.v3.ExternalProcessor",
    ]
    async with world(Setting()) as it:
        line = next(line for line in it.picker.last_lines(50) if '"serving"' in line)
        port = json.loads(line)["health_port"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in names:
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                assert (name, answer.status) == (name, health_pb2.HealthCheckResponse.SERVING)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_endpoint_that_refuses_connections_harms_only_its_own(
    world: Callable[[Setting], World],
) -> None:
    """Once nobody is found listening at one endpoint, every request goes to the other, and none fails."""
    async with world(Setting(body_mode=BodyMode.LEAN, endpoints=2, max_concurrency=2)) as it:
        alive = it.ports[0]
        it.ports = [alive, 1]  # nobody listens on port 1
        it.write_objects(it.ports)
        await it.until_metric("llm_d_epp_flow_control_stale_endpoints", 1)
        statuses = []
        for number in range(30):
            async with it.client.post(f"{it.url}/anything", data=str(number).encode()) as response:
                statuses.append(response.status)
        assert statuses == [200] * 30
        assert {seen.port for seen in it.server.seen} == {alive}
        await it.until_metric("llm_d_epp_request_running", 0)
