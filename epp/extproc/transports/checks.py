"""Health checks on the native transport: the answers of `epp.extproc.health`, without a coroutine."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from epp.extproc.http2.statuses import Status

if TYPE_CHECKING:
    from epp.extproc.health import HealthService
    from epp.extproc.http2.call import Call
    from epp.extproc.transports.peer import Peer


class Method(Enum):
    """What can be asked."""

    CHECK = "/grpc.health.v1.Health/Check"
    LIST = "/grpc.health.v1.Health/List"
    WATCH = "/grpc.health.v1.Health/Watch"


_LONGEST_QUESTION_BYTES: Final = 1024
"""It is the name of a service, which is kept while its status is watched, and shown where it is unknown."""

HEALTH_METHODS: Final = frozenset(method.value for method in Method)


class HealthCall:
    """One call: a question, and its answer or answers."""

    __slots__ = ("_call", "_health", "_method", "_name", "_peer", "_told", "touched")

    def __init__(self, method: Method, *, health: HealthService, peer: Peer, call: Call) -> None:
        self.touched = False
        self._method = method
        self._health = health
        self._peer = peer
        self._call: Call | None = call
        self._name: str | None = None
        """The service that is asked about, once that is known."""
        self._told: health_pb2.HealthCheckResponse | None = None

    def wake(self) -> None:
        """A status may have changed."""
        self._peer.touch(self)

    # ------------------------------------------------------------------------ from the peer

    def receive(self, message: bytes) -> None:
        """The question; whatever follows it is ignored."""
        if self._name is not None:
            return
        if len(message) > _LONGEST_QUESTION_BYTES:
            self._finish(Status.RESOURCE_EXHAUSTED, "no service has such a long name")
            return
        try:
            self._name = health_pb2.HealthCheckRequest.FromString(message).service
        except DecodeError:
            self._finish(Status.INTERNAL, "no HealthCheckRequest")
            return
        if self._method is Method.WATCH:
            self._health.watchers.add(self.wake)

    def half_closed(self) -> None:
        """There is no question any more, if there was none."""
        if self._name is None:
            self._finish(Status.INTERNAL, "a call without a request")

    def reset(self) -> None:
        """Nobody listens any more."""
        self._leave()

    def send(self) -> None:
        """Answer, if there is something new to be said."""
        call = self._call
        if call is None or self._name is None or call.pending is not None:
            return
        if self._method is Method.LIST:
            self._answer(call, self._health.listed())
            self._finish(Status.OK)
            return
        response = self._health.response(self._name)
        if self._method is Method.WATCH:
            if response != self._told:
                self._told = response
                self._answer(call, response)
        elif response.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            self._finish(Status.NOT_FOUND, f"unknown service {self._name!r}")
        else:
            self._answer(call, response)
            self._finish(Status.OK)

    def hold_back(self) -> None:
        """What is asked is small, and asked once."""

    def fail(self) -> None:
        """End it: a bug."""
        self._finish(Status.UNKNOWN, "unexpected error")

    def expire(self) -> None:
        """The asker's own time for it is up."""
        self._finish(Status.DEADLINE_EXCEEDED)

    # ---------------------------------------------------------------------------- helpers

    def _answer(
        self, call: Call, response: health_pb2.HealthCheckResponse | health_pb2.HealthListResponse
    ) -> None:
        self._peer.calls.send_message(call, response.SerializeToString())

    def _finish(self, status: Status, message: str = "") -> None:
        call = self._call
        if call is not None:
            self._leave()
            self._peer.calls.finish(call, status, message)

    def _leave(self) -> None:
        self._health.watchers.discard(self.wake)
        if self._call is not None:
            self._call.owner = None
            self._call = None
