"""A gateway to drive a picker with: speaks ext_proc as Envoy does, over one connection, as many streams as wanted.

It sends a request whole without waiting, since full duplex doesn't; reads the answers up to the end of the body that
comes back; and then shows the response, each message once the one before has been answered, as tokens come one by one.
An answer is checked for being the right kind, nothing more: what this process spends is not measured, but the
machine has to bear it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc.aio

from benchmarks.costs import messages
from epp.extproc.listen import SERVICE
from epp.extproc.wire import ext_proc_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_LONGEST_MESSAGE_BYTES = 1024 * 1024


class StreamFailedError(Exception):
    """A stream got another answer than an endpoint and its own bytes back, or none."""


class Gateway:
    """One connection to a picker."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}",
            options=[
                ("grpc.max_receive_message_length", _LONGEST_MESSAGE_BYTES),
                # Channels to one address would share a connection otherwise.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._process = self._channel.stream_stream(f"/{SERVICE}/Process")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def open(self, request: Sequence[bytes]) -> Stream:
        """A stream for a request, which is sent whole."""
        stream = Stream(self._process())
        await stream.send(*request)
        return stream

    async def serve(self, request: Sequence[bytes], *, chunks: int) -> None:
        """One request from its first message to the end of its response of so many chunks and an end."""
        stream = await self.open(request)
        await stream.dispatched()
        await stream.respond(chunks=chunks)


class Stream:
    """One request's stream."""

    __slots__ = ("_call",)

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self._call = call

    async def send(self, *sent: bytes) -> None:
        """Messages of the gateway, without waiting for answers."""
        try:
            for message in sent:
                await self._call.write(message)
        except grpc.aio.AioRpcError as error:
            raise StreamFailedError(f"the stream was ended: {error.details()}") from error

    async def dispatched(self) -> None:
        """Return when the request has an endpoint and its whole body has come back."""
        answer = await self.answer()
        require_dispatch(answer)
        while not answer.request_body.response.body_mutation.streamed_response.end_of_stream:
            answer = await self.answer()

    async def respond(self, *, chunks: int) -> None:
        """Show the response, and end the stream."""
        await self.begin_response()
        for _ in range(chunks):
            await self.send(messages.RESPONSE_CHUNK)
            await self.answer()
        await self.send(messages.RESPONSE_END)
        await self.finish()

    async def begin_response(self) -> None:
        """Show the response's headers."""
        await self.send(messages.RESPONSE_HEADERS)
        await self.answer()

    async def finish(self) -> None:
        """After the end of the response was sent: read its answer, and close."""
        answer = await self.answer()
        while not answer.response_body.response.body_mutation.streamed_response.end_of_stream:
            answer = await self.answer()
        await self._call.done_writing()
        if await self._call.read() is not grpc.aio.EOF:
            raise StreamFailedError("something came after the end of the response")

    def cancel(self) -> None:
        """Reset the stream, as a gateway does whose client has gone."""
        self._call.cancel()

    @property
    def ended(self) -> bool:
        """Whether the stream is closed, by whomever."""
        return bool(self._call.done())

    async def answer(self) -> wire.ProcessingResponse:
        """The picker's next message. Raises `StreamFailedError` if none comes."""
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise StreamFailedError(f"the stream failed: {error.details()}") from error
        if data is grpc.aio.EOF:
            raise StreamFailedError("the stream was closed before its end")
        return wire.ProcessingResponse.FromString(data)


def require_dispatch(first: wire.ProcessingResponse) -> None:
    """A stream's first answer must let the request go to an endpoint. Raises `StreamFailedError`."""
    kind = first.WhichOneof("response")
    if kind != "request_headers":
        raise StreamFailedError(f"the first answer was {kind}: {first.immediate_response.body[:200]!r}")
