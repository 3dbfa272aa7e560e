"""The introspection service on a plaintext port of its own, for people and their tools: read-only, off the data path.

It asks, and writes the answers down as they are: what they say is decided in the core. Between two pieces of a long
answer the loop goes on, and so many calls at once are refused that answering can't crowd out requests. The only
errors are those of the call itself: a bad size or token is INVALID_ARGUMENT, with what to do about it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import DecodeError

from epp.core.questions import BadQuestionError, Question, Topic
from epp.introspect.wire import introspection_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from epp.core.questions import Answer

SERVICE: Final = "epp.introspection.v1.Introspection"
FLAG: Final = "--introspection-port"
_PIECE = 100
"""Entries that are written down before the loop gets a turn."""


class Ask(Protocol):
    """Answers questions, at once."""

    def __call__(self, topic: Topic, question: Question, /) -> Answer:
        """What there is to say now. Raises `BadQuestionError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntrospectionSettings:
    """Where it listens, and how much it takes on."""

    port: int
    host: str = "127.0.0.1"
    """This machine only, since nobody is asked who they are; `kubectl port-forward` gets there."""
    most_calls: int = 16
    """At once; more are told RESOURCE_EXHAUSTED."""
    max_receive_bytes: int = 64 * 1024
    max_send_bytes: int = 16 * 1024 * 1024


class _Method(NamedTuple):
    topic: Topic
    request: type[Message]
    response: type[Message]


METHODS: Final = {
    "ListBands": _Method(Topic.BANDS, wire.ListBandsRequest, wire.ListBandsResponse),
    "ListFlows": _Method(Topic.FLOWS, wire.ListFlowsRequest, wire.ListFlowsResponse),
    "ListQueued": _Method(Topic.QUEUED, wire.ListQueuedRequest, wire.ListQueuedResponse),
    "ListRunning": _Method(Topic.RUNNING, wire.ListRunningRequest, wire.ListRunningResponse),
    "ListEndpoints": _Method(Topic.ENDPOINTS, wire.ListEndpointsRequest, wire.ListEndpointsResponse),
    "GetRequest": _Method(Topic.REQUEST, wire.GetRequestRequest, wire.GetRequestResponse),
    "GetPolicy": _Method(Topic.POLICY, wire.GetPolicyRequest, wire.GetPolicyResponse),
}


class IntrospectionServer:
    """The service, from `start` to `stop`, on the running loop."""

    def __init__(self, ask: Ask, *, settings: IntrospectionSettings) -> None:
        self._ask = ask
        self._settings = settings
        self._port = settings.port
        self._server: grpc.aio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return self._port

    async def start(self) -> None:
        """Listen and serve. Raises OSError if the port can't be had."""
        settings = self._settings
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", settings.max_receive_bytes),
                ("grpc.max_send_message_length", settings.max_send_bytes),
            ],
            maximum_concurrent_rpcs=settings.most_calls,
        )
        handlers = {name: _handler(method, self._answering(method)) for name, method in METHODS.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        address = f"{settings.host}:{settings.port}"
        try:
            self._port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {address}: the port is taken, not permitted, or the address is not one of this "
                f"host's; choose another with {FLAG}, or 0 for none ({error})"
            ) from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Stop at once; whoever still reads is cut off."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def _answering(self, method: _Method) -> _Behaviour:
        async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            try:
                said = self._ask(method.topic, question_of(_read(method, request)))
            except BadQuestionError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            return await _written(said, method.response())

        return answer


if TYPE_CHECKING:
    _Behaviour = Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message]]


def _handler(method: _Method, behaviour: _Behaviour) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        behaviour,
        response_serializer=method.response.SerializeToString,
    )


def _read(method: _Method, request: bytes) -> Message:
    """The request. Read here and not by grpc, which would call bytes that are none an unknown error."""
    try:
        return method.request.FromString(request)
    except DecodeError:
        remedy = f"is no message of this call: {len(request)} bytes that protos/introspection.proto doesn't describe"
        raise BadQuestionError("request", "", remedy) from None


def question_of(request: Message) -> Question:
    """What a call asks. Each field of a request is one of a question's, by name; those left out keep their defaults."""
    return Question(**{field.name: value for field, value in request.ListFields()})


async def _written(answer: Answer, response: Message) -> Message:
    """The answer's fields are the response's, by name."""
    for name in answer.__dataclass_fields__:
        value = getattr(answer, name)
        if value is None:
            continue
        if not isinstance(value, tuple):
            response.MergeFrom(type(response)(**{name: msgspec.to_builtins(value)}))
            continue
        entries = getattr(response, name)
        for start in range(0, len(value), _PIECE):
            for entry in value[start : start + _PIECE]:
                entries.add(**msgspec.to_builtins(entry))
            await asyncio.sleep(0)
    return response
