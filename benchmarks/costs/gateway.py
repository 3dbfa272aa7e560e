"""A gateway to drive a picker with: speaks ext_proc as Envoy does, over one connection, as many streams as wanted.

Where the server announces that it takes no more streams on a connection there will be another one, as with Envoy.

It sends a request whole without waiting, since full duplex doesn't; reads the answers up to the end of the body that
comes back; and then shows the response, each message once the one before has been answered, as tokens come one by one.
An answer is checked for being the right kind, nothing more: what this process spends is not measured, but the
machine has to bear it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from benchmarks.costs import messages
from benchmarks.costs.connection import Connection, StreamFailedError
from epp.extproc.wire import ext_proc_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from benchmarks.costs.connection import Call

__all__ = ["Gateway", "Stream", "StreamFailedError", "require_dispatch"]


class Gateway:
    """All connections to one picker."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.connections: list[Connection] = []
        """A new stream goes to the first that has room for it."""

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self.connections:
            connection.close()

    async def _connect(self) -> Connection:
        connection = await Connection.to(self._port)
        self.connections.append(connection)
        return connection

    async def open(self, request: Sequence[bytes]) -> Stream:
        """A stream for a request, which is sent whole."""
        connection = next((each for each in self.connections if each.has_room), None)
        stream = Stream((connection or await self._connect()).call())
        await stream.send(*request)
        return stream

    async def serve(self, request: Sequence[bytes], *, chunks: int, pause_s: float = 0.0) -> None:
        """One request from its first message to the end of its response of so many chunks and an end."""
        stream = await self.open(request)
        await stream.dispatched()
        await stream.respond(chunks=chunks, pause_s=pause_s)


class Stream:
    """One request's stream."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    async def send(self, *sent: bytes) -> None:
        """Messages of the gateway, without waiting for answers."""
        for message in sent:
            await self._call.send(message)

    async def dispatched(self) -> None:
        """Return when the request has an endpoint and its whole body has come back."""
        answer = await self.answer()
        require_dispatch(answer)
        while not answer.request_body.response.body_mutation.streamed_response.end_of_stream:
            answer = await self.answer()

    async def respond(self, *, chunks: int, pause_s: float = 0.0) -> None:
        """Show the response, and end the stream."""
        await self.begin_response()
        for _ in range(chunks):
            if pause_s:
                await asyncio.sleep(pause_s)
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
        self._call.done_sending()
        if await self._call.receive() is not None:
            raise StreamFailedError("something came after the end of the response")

    def cancel(self) -> None:
        """Reset the stream, as a gateway does whose client has gone."""
        self._call.cancel()

    @property
    def ended(self) -> bool:
        """Whether the stream is closed, by whomever."""
        return self._call.ended

    async def answer(self) -> wire.ProcessingResponse:
        """The picker's next message. Raises `StreamFailedError` if none comes."""
        data = await self._call.receive()
        if data is None:
            raise StreamFailedError("the stream was closed before its end")
        return wire.ProcessingResponse.FromString(data)


def require_dispatch(first: wire.ProcessingResponse) -> None:
    """A stream's first answer must let the request go to an endpoint. Raises `StreamFailedError`."""
    kind = first.WhichOneof("response")
    if kind != "request_headers":
        raise StreamFailedError(f"the first answer was {kind}: {first.immediate_response.body[:200]!r}")
