"""The ext_proc service on grpc.aio: moves messages between gateways and exchanges, and decides nothing.

Per stream one task reads. What a message calls for is written at once, as is a decision that comes while the reader
waits, and no task is made for that. While a write is under way messages are still taken in, so that what they bring
goes out together in the next write; but no more of them than one write can carry. A peer that doesn't read its answers
is not read either, so nothing piles up.

Reads and writes under way are never cancelled: grpc's core writes into memory that belongs to them. A stream that ends
makes them fail, and that ends them. And once a handler has returned, its call is never touched again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from epp.extproc.exchange import Exchange
from epp.extproc.listen import SERVICE, bind
from epp.extproc.request import ConversationSettings
from epp.extproc.transports.credentials import server_credentials
from epp.extproc.transports.transport import PortSharing, ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from epp.extproc.health import HealthService
    from epp.extproc.ingress import Picker
    from epp.extproc.tls import TlsSettings

_ANY_NUMBER: Final = 2**31 - 1


class GrpcioServer:
    """The service. Made and used on one event loop."""

    def __init__(
        self,
        picker: Picker,
        *,
        conversation: ConversationSettings | None = None,
        settings: ServerSettings | None = None,
        tls: TlsSettings | None = None,
        health: HealthService | None = None,
    ) -> None:
        """Without `tls` it speaks plaintext. Raises CertificateError.

        With `health` it answers health checks on its own port too: a gateway checks the address that it uses, unless
        it is told of another.
        """
        self._picker = picker
        self._conversation = conversation or ConversationSettings()
        self._settings = settings or ServerSettings()
        self._credentials = None if tls is None else server_credentials(tls)
        self._health = health
        self._server: grpc.aio.Server | None = None
        self._port = 0
        self._calls: set[_Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return self._port

    @property
    def streams(self) -> int:
        """How many streams are open: queued, running, or passing a response on."""
        return len(self._calls)

    async def start(self) -> None:
        """Listen and serve. Raises OSError if the port is taken."""
        settings = self._settings
        server = grpc.aio.server(options=_options(settings))
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE, {"Process": grpc.stream_stream_rpc_method_handler(self._process)}
                ),
            )
        )
        if self._health is not None:
            self._health.add_to(server)
        self._port = bind(server, settings.host, settings.port, credentials=self._credentials)
        await server.start()
        self._server = server

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no stream is open, while new ones are still served; whether that came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, grace_s: float = 0.0) -> None:
        """Take no new streams, give the open ones `grace_s`, then cut them off."""
        if self._server is None:
            return
        await self._server.stop(grace_s or None)
        # grpc is done with its calls, and their handlers are about to hear of it.
        while self._calls or self._tasks:
            await self._empty.wait()
            if self._tasks:
                await asyncio.wait(self._tasks)
        self._server = None

    async def _process(self, _: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        call = _Call(self._conversation, picker=self._picker, context=context, spawn=self.spawn)
        self._calls.add(call)
        self._empty.clear()
        try:
            await call.run()
        finally:
            self._calls.discard(call)
            if not self._calls:
                self._empty.set()

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start a task that `stop` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Call(Exchange):
    """One stream of one gateway."""

    __slots__ = ("_closed", "_context", "_spawn", "_write", "_written")

    def __init__(
        self,
        settings: ConversationSettings,
        *,
        picker: Picker,
        context: grpc.aio.ServicerContext[bytes, bytes],
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(settings, picker=picker, clock=loop.time)
        self._context = context
        self._spawn = spawn
        self._closed: asyncio.Future[None] = loop.create_future()
        self._write: Coroutine[Any, Any, None] | None = None
        """The write that is under way."""
        self._written: asyncio.Future[None] | None = None
        """Where the reader waits for the end of a write."""

    async def run(self) -> None:
        """The handler: its end is the stream's end. Cancelled when the stream is reset."""
        self._spawn(self._read())
        try:
            await self._closed
        finally:
            # From here on there is nothing to send, so nothing touches the call any more.
            self.reset()

    def wake(self) -> None:
        """Write a decision that came on another stream's account."""
        self._send()

    async def _read(self) -> None:
        read = self._context.read
        try:
            while not self.over:
                data = await read()
                if data is grpc.aio.EOF:
                    self.half_closed()
                    self._send()
                    break
                self.receive(data)
                self._send()
                while self._write is not None and self.is_backlogged:
                    await self._write_ended()
        except Exception as error:
            self._fail(error)
        # Whoever waits for this task waits for the last write as well.
        while self._write is not None:
            await self._write_ended()

    def _write_ended(self) -> asyncio.Future[None]:
        self._written = asyncio.get_running_loop().create_future()
        return self._written

    def _send(self) -> None:
        """Begin to write what there is to send, unless a write is under way: then what there is follows it."""
        if self._write is not None or self._closed.done():
            # Asking for the next message after a write that failed would say that it was written.
            return
        try:
            message = self.next_message()
            if message is None:
                self.settle()
                if self.over:
                    self._close()
                return
            self._write = self._context.write(message)
        except Exception as error:
            self._fail(error)
        else:
            self._go_on_writing()

    def _go_on_writing(self, _: object = None) -> None:
        """Let the write run until it waits, as a task would: but at once, and with nothing to be made and scheduled."""
        assert self._write is not None
        try:
            awaited = self._write.send(None)
            # What a task does with a future that its coroutine awaits.
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(self._go_on_writing)
        except StopIteration:
            self._end_write()
            self._send()
        except (Exception, asyncio.CancelledError) as error:
            self._end_write()
            self._fail(error)

    def _end_write(self) -> None:
        self._write = None
        if self._written is not None:
            written, self._written = self._written, None
            if not written.done():
                written.set_result(None)

    def _fail(self, error: Exception | asyncio.CancelledError) -> None:
        """Turn every way in which work for this stream can fail into the end of the stream."""
        if isinstance(error, grpc.aio.BaseError | asyncio.CancelledError):
            # The stream ended under a read or a write.
            self._close()
        elif not self._closed.done():
            # A bug. The handler raises it again, so that grpc logs it and fails the stream.
            self._closed.set_exception(error)

    def _close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_receive_bytes),
        ("grpc.max_send_message_length", settings.max_send_bytes),
        # A gateway's keepalive pings, at whatever rate, must not end the connection that all its streams share.
        ("grpc.http2.max_ping_strikes", 0),
        # A burst is for the queue to judge. Left alone, grpc cancels some of the streams that wait for the event loop
        # as soon as there are a thousand of them.
        ("grpc.server.max_pending_requests", _ANY_NUMBER),
        ("grpc.server.max_pending_requests_hard_limit", _ANY_NUMBER),
        ("grpc.so_reuseport", int(settings.port_sharing is PortSharing.ON)),
    ]
