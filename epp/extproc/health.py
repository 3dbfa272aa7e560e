"""Health checks (`grpc.health.v1`): whether we live, and whether gateways should send us requests.

`liveness` is answered with SERVING by every process that can answer at all, whatever it waits for: a picker that is
restarted because it isn't ready never gets ready. `readiness`, the ext_proc service's own name, `inference-extension`
(which upstream's charts probe) and the empty name all mean the same: synced, the leader if there are several, and not
stopping. Other names are unknown. grpcio ships a servicer for this that lacks `List`, so the few lines are here.

`HealthService` is the answers, and their servicer for gRPC's own server; `transports.checks` serves them natively.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.extproc.listen import SERVICE, bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LIVENESS: Final = "liveness"
READINESS_NAMES: Final = ("readiness", SERVICE, "inference-extension", "")


class Serving(Enum):
    """The answer to a probe."""

    YES = "SERVING"
    NO = "NOT_SERVING"


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # the stubs have no types
    """The answers, for any number of servers. Starts not ready."""

    def __init__(self) -> None:
        self._statuses = {LIVENESS: Serving.YES} | dict.fromkeys(READINESS_NAMES, Serving.NO)
        self._changed = asyncio.Event()
        self.watchers: set[Callable[[], None]] = set()
        """Called after each change."""

    def response(self, name: str) -> health_pb2.HealthCheckResponse:
        """The status of one service, now; SERVICE_UNKNOWN if there is no such service."""
        return _response(self._statuses.get(name))

    def listed(self) -> health_pb2.HealthListResponse:
        """The status of every service, now."""
        return health_pb2.HealthListResponse(
            statuses={name: _response(serving) for name, serving in self._statuses.items()}
        )

    def set_ready(self, serving: Serving) -> None:
        """Whether requests should come here."""
        self._statuses |= dict.fromkeys(READINESS_NAMES, serving)
        self._changed.set()
        self._changed = asyncio.Event()
        for changed in tuple(self.watchers):
            changed()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Answer on this server, which has not been started."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    # The names are those of the generated stubs.

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> health_pb2.HealthCheckResponse:
        """The status of one service, now."""
        if request.service not in self._statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
        return self.response(request.service)

    async def List(  # noqa: N802
        self, request: health_pb2.HealthListRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> health_pb2.HealthListResponse:
        """The status of every service, now."""
        del request, context
        return self.listed()

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status of one service, now and whenever it changes."""
        del context
        told = None
        while True:
            changed = self._changed
            response = self.response(request.service)
            if response != told:
                told = response
                yield response
            await changed.wait()


class HealthServer:
    """The health service on a plaintext port of its own, where probes expect it."""

    def __init__(self, port: int = 9003, *, host: str = "[::]", service: HealthService | None = None) -> None:
        self.service = service or HealthService()
        self._host = host
        self._port = port
        self._server: grpc.aio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return self._port

    def set_ready(self, serving: Serving) -> None:
        """Whether requests should come here."""
        self.service.set_ready(serving)

    async def start(self) -> None:
        """Listen and serve. Raises OSError if the port is taken."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)])
        self.service.add_to(server)
        self._port = bind(server, self._host, self._port)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Stop at once; watchers are cut off."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


def _response(serving: Serving | None) -> health_pb2.HealthCheckResponse:
    if serving is None:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
    return health_pb2.HealthCheckResponse(
        status=health_pb2.HealthCheckResponse.ServingStatus.Value(serving.value)
    )
