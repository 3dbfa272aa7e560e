"""Health checks, from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.extproc.health import LIVENESS, READINESS_NAMES, HealthServer, HealthService, Serving
from epp.extproc.transports.choice import make_transport
from epp.extproc.transports.transport import ServerSettings, Transport, TransportName
from tests.extproc.fakes import FakePicker

Status = health_pb2.HealthCheckResponse
READY_NAMES = ("readiness", "envoy.service.ext_proc.v3.ExternalProcessor", "inference-extension", "")


class Place(Enum):
    """Where health checks are answered."""

    OWN_PORT = "own port"
    GRPCIO = "grpcio"
    NATIVE = "native"


class Probed:
    """Something that answers."""

    def __init__(self, place: Place) -> None:
        self.service = HealthService()
        self._server: HealthServer | Transport
        if place is Place.OWN_PORT:
            self._server = HealthServer(0, host="127.0.0.1", service=self.service)
        else:
            self._server = make_transport(
                TransportName(place.value),
                FakePicker(),
                settings=ServerSettings(port=0, host="127.0.0.1"),
                health=self.service,
            )

    def set_ready(self, serving: Serving) -> None:
        """Tell it."""
        self.service.set_ready(serving)

    async def start(self) -> int:
        """Listen; gives the port."""
        await self._server.start()
        return self._server.port

    async def stop(self) -> None:
        """End it."""
        await self._server.stop()


Probing = Callable[[], AbstractAsyncContextManager[tuple[Probed, Any]]]


@pytest.fixture(params=list(Place), ids=lambda place: place.value)
def probing(request: pytest.FixtureRequest) -> Probing:
    """Health checks and a client's stub for them: a gateway checks the address it uses, a kubelet the port it knows."""

    @asynccontextmanager
    async def probe() -> AsyncIterator[tuple[Probed, Any]]:
        server = Probed(request.param)
        port = await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield server, health_pb2_grpc.HealthStub(channel)
        await server.stop()

    return probe


async def check(stub: Any, name: str) -> int:
    """The status of one service."""
    response = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    status: int = response.status
    return status


def test_the_names_are_those_that_gateways_probe() -> None:
    """Charts and gateways ask under these names."""
    assert (LIVENESS, sorted(READINESS_NAMES)) == ("liveness", sorted(READY_NAMES))


async def test_whoever_can_answer_lives(probing: Probing) -> None:
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


async def test_a_standby_lives_and_is_not_ready(probing: Probing) -> None:
    """A replica that doesn't lead stays up, and gets no requests until it leads."""
    async with probing() as (server, stub):
        server.set_ready(Serving.NO)
        response = await stub.List(health_pb2.HealthListRequest())
        statuses = {name: answer.status for name, answer in response.statuses.items()}
        assert statuses == {"liveness": Status.SERVING} | dict.fromkeys(READY_NAMES, Status.NOT_SERVING)
        server.set_ready(Serving.YES)
        assert await check(stub, "readiness") == Status.SERVING


@pytest.mark.parametrize("name", ["redis", "Liveness", "envoy.service.ext_proc.v3.ExternalProcessor/Process"])
async def test_an_unknown_service_is_not_found(probing: Probing, name: str) -> None:
    """A probe with a wrong name fails in a way that says so, ready or not."""
    async with probing() as (server, stub):
        for serving in Serving:
            server.set_ready(serving)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await check(stub, name)
            assert failed.value.code() is grpc.StatusCode.NOT_FOUND
            assert name in (failed.value.details() or "")


async def test_all_services_are_listed(probing: Probing) -> None:
    """Every name comes with its status."""
    async with probing() as (server, stub):
        server.set_ready(Serving.YES)
        response = await stub.List(health_pb2.HealthListRequest())
        statuses = {name: answer.status for name, answer in response.statuses.items()}
        assert statuses == dict.fromkeys(("liveness", *READY_NAMES), Status.SERVING)


async def test_a_watcher_hears_of_every_change(probing: Probing) -> None:
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


async def test_a_name_of_a_megabyte_gets_a_short_answer(probing: Probing) -> None:
    """No service is called so, and saying it again would cost seconds."""
    async with probing() as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await check(stub, "x" * 1_000_000)
        assert failed.value.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_an_unknown_service_can_be_watched(probing: Probing) -> None:
    """As the protocol asks, the call stays open and says that nobody knows this service."""
    async with probing() as (server, stub):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="redis"))
        assert (await watch.read()).status == Status.SERVICE_UNKNOWN
        server.set_ready(Serving.YES)
        assert not watch.done()
        watch.cancel()


async def test_stopping_ends_watches(probing: Probing) -> None:
    """A watcher doesn't hold up the end."""
    async with probing() as (server, stub):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="liveness"))
        await watch.read()
        await server.stop()
        assert await watch.code() is not grpc.StatusCode.OK
        await server.stop()
