"""Health checks, from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.extproc.health import LIVENESS, READINESS_NAMES, HealthServer, Serving
from epp.extproc.server import ExtProcServer, ServerSettings
from tests.extproc.fakes import FakePicker

Status = health_pb2.HealthCheckResponse
READY_NAMES = ("readiness", "envoy.service.ext_proc.v3.ExternalProcessor", "inference-extension", "")


@asynccontextmanager
async def probing() -> AsyncIterator[tuple[HealthServer, Any]]:
    """A health server on a free port, and a client's stub for it."""
    server = HealthServer(0, host="127.0.0.1")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield server, health_pb2_grpc.HealthStub(channel)
    await server.stop()


async def check(stub: Any, name: str) -> int:
    """The status of one service."""
    response = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    status: int = response.status
    return status


def test_the_names_are_those_that_gateways_probe() -> None:
    """Charts and gateways ask under these names."""
    assert (LIVENESS, sorted(READINESS_NAMES)) == ("liveness", sorted(READY_NAMES))


async def test_whoever_can_answer_lives() -> None:
    """A process lives before it is ready and after, and readiness, under all of its names, can come and go."""
    async with probing() as (server, stub):
        for serving, status in (
            (None, Status.NOT_SERVING),
            (Serving.YES, Status.SERVING),
            (Serving.NO, Status.NOT_SERVING),
        ):
            if serving is not None:
                server.set_ready(serving)
            for name in READY_NAMES:
                assert await check(stub, name) == status
            assert await check(stub, "liveness") == Status.SERVING


async def test_a_standby_lives_and_is_not_ready() -> None:
    """A replica that doesn't lead stays up, and gets no requests until it leads."""
    async with probing() as (server, stub):
        server.set_ready(Serving.NO)
        response = await stub.List(health_pb2.HealthListRequest())
        statuses = {name: answer.status for name, answer in response.statuses.items()}
        assert statuses == {"liveness": Status.SERVING} | dict.fromkeys(READY_NAMES, Status.NOT_SERVING)
        server.set_ready(Serving.YES)
        assert await check(stub, "readiness") == Status.SERVING


@pytest.mark.parametrize("name", ["redis", "Liveness", "envoy.service.ext_proc.v3.ExternalProcessor/Process"])
async def test_an_unknown_service_is_not_found(name: str) -> None:
    """A probe with a wrong name fails in a way that says so, ready or not."""
    async with probing() as (server, stub):
        for serving in Serving:
            server.set_ready(serving)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await check(stub, name)
            assert failed.value.code() is grpc.StatusCode.NOT_FOUND
            assert name in (failed.value.details() or "")


async def test_all_services_are_listed() -> None:
    """Every name comes with its status."""
    async with probing() as (server, stub):
        server.set_ready(Serving.YES)
        response = await stub.List(health_pb2.HealthListRequest())
        statuses = {name: answer.status for name, answer in response.statuses.items()}
        assert statuses == dict.fromkeys(("liveness", *READY_NAMES), Status.SERVING)


async def test_a_watcher_hears_of_every_change() -> None:
    """The status comes at once and again when it changes, and not when it is only said again."""
    async with probing() as (server, stub):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watch.read()).status == Status.NOT_SERVING
        server.set_ready(Serving.NO)
        await check(stub, "liveness")
        server.set_ready(Serving.YES)
        assert (await watch.read()).status == Status.SERVING
        server.set_ready(Serving.NO)
        assert (await watch.read()).status == Status.NOT_SERVING
        watch.cancel()


async def test_an_unknown_service_can_be_watched() -> None:
    """As the protocol asks, the call stays open and says that nobody knows this service."""
    async with probing() as (server, stub):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="redis"))
        assert (await watch.read()).status == Status.SERVICE_UNKNOWN
        server.set_ready(Serving.YES)
        assert not watch.done()
        watch.cancel()


async def test_stopping_ends_watches() -> None:
    """A watcher doesn't hold up the end."""
    async with probing() as (server, stub):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="liveness"))
        await watch.read()
        await server.stop()
        assert await watch.code() is not grpc.StatusCode.OK
        await server.stop()


async def test_the_ext_proc_port_can_answer_too() -> None:
    """A gateway that checks the address it uses gets the same answers there."""
    health = HealthServer(0, host="127.0.0.1")
    health.set_ready(Serving.YES)
    server = ExtProcServer(
        FakePicker(), settings=ServerSettings(port=0, host="127.0.0.1"), health=health.service
    )
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert await check(stub, "envoy.service.ext_proc.v3.ExternalProcessor") == Status.SERVING
    await server.stop()
