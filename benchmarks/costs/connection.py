"""The client's side of one HTTP/2 connection, as light as a gateway's: what it costs must not hide what a server costs.

Everything that is written in one turn of the loop leaves in one write, as it does at a gateway that has worked off
what its event loop brought, so how many messages a server reads at once depends on how many streams have one to send
(`writes` and `messages` tell). Flow control, settings, and pings are kept as RFC 9113 has them. What no server here
sends, such as padding, is a failure that says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from struct import Struct
from typing import Final, Self, cast

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

from epp.extproc.http2 import codes
from epp.extproc.http2.codes import ErrorCode
from epp.extproc.listen import SERVICE

_PROCESS: Final = f"/{SERVICE}/Process"
_HEADERS: Final = (
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "picker"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("x-envoy-internal", "true"),
    ("x-forwarded-for", "192.0.2.7"),
)
_ANY_NUMBER: Final = 2**32
_HEADER_TABLE_BYTES: Final = 4096
"""RFC 7541 begins with it, and it is enough."""
_STREAM_WINDOW_BYTES: Final = 16 * 1024 * 1024
_CONNECTION_WINDOW_BYTES: Final = 256 * 1024 * 1024
_GIVE_BACK_BYTES: Final = 1024 * 1024

_FRAME = Struct(">HBBBI")
_SETTING = Struct(">HI")
_NUMBER = Struct(">I")
_PREFIX = Struct(">BI")
"""Of a gRPC message: whether it is compressed, and how long it is."""


class StreamFailedError(Exception):
    """A stream got another answer than an endpoint and its own bytes back, or none."""


class Call:
    """One gRPC call of the service: a stream of messages in either direction."""

    __slots__ = ("_answers", "_connection", "_failure", "_partial", "_status", "_waiter", "id", "window")

    def __init__(self, connection: Connection, call_id: int, *, window: int) -> None:
        self._connection = connection
        self.id = call_id
        self.window = window
        self._partial = bytearray()
        self._answers: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._status: dict[bytes, bytes] | None = None
        self._failure = ""

    @property
    def ended(self) -> bool:
        """Whether it is closed, by whomever."""
        return self._status is not None or bool(self._failure)

    async def send(self, message: bytes) -> None:
        """Waits only for the server's windows. Raises `StreamFailedError` once the call has ended."""
        rest = memoryview(_PREFIX.pack(0, len(message)) + message)
        self._connection.messages += 1
        while True:
            if self.ended:
                raise StreamFailedError(f"the stream was ended: {self._end()}")
            size = min(len(rest), self._connection.frame_bytes, self._connection.window, self.window)
            if size <= 0:
                await self._connection.more_window()
                continue
            self.window -= size
            self._connection.send_data(self.id, bytes(rest[:size]))
            rest = rest[size:]
            if not rest:
                return

    def done_sending(self) -> None:
        """Close this side."""
        self._connection.write(codes.DATA, codes.END_STREAM, self.id)

    def cancel(self) -> None:
        """Reset it."""
        if not self.ended:
            self._connection.write(codes.RST_STREAM, 0, self.id, _NUMBER.pack(ErrorCode.CANCEL))
            self._connection.forget(self.id)
            self.fail("we have reset it")

    async def receive(self) -> bytes | None:
        """The server's next message; None where it ended well. Raises `StreamFailedError` where it didn't."""
        while not self._answers:
            if self._failure or (self._status is not None and self._status.get(b"grpc-status") != b"0"):
                raise StreamFailedError(f"the stream failed: {self._end()}")
            if self._status is not None:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._answers.popleft()

    def _end(self) -> str:
        told = self._status or {}
        words = (told.get(b"grpc-status", b"unknown"), told.get(b"grpc-message", b""))
        return self._failure or f"gRPC status {b' '.join(words).decode().strip()}"

    # ------------------------------------------------------------------ from the connection

    def take(self, data: bytes) -> None:
        """Bytes of messages came."""
        partial = self._partial
        partial += data
        start = 0
        while len(partial) - start >= _PREFIX.size:
            _, size = _PREFIX.unpack_from(partial, start)
            end = start + _PREFIX.size + size
            if end > len(partial):
                break
            self._answers.append(bytes(partial[start + _PREFIX.size : end]))
            start = end
        del partial[:start]
        self._wake()

    def end(self, status: dict[bytes, bytes]) -> None:
        """The server closed its side."""
        self._status = status
        self._wake()

    def fail(self, why: str) -> None:
        """It is gone."""
        self._failure = self._failure or why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            if not waiter.done():
                waiter.set_result(None)


class Connection(asyncio.Protocol):
    """To one server."""

    def __init__(self) -> None:
        self.window = codes.DEFAULT_WINDOW_BYTES
        """What the server still takes on all streams together."""
        self.frame_bytes = codes.DEFAULT_FRAME_BYTES
        """The largest that it takes."""
        self.messages = 0
        """So many were sent."""
        self.writes = 0
        """In so many writes."""
        self.greeted = asyncio.get_running_loop().create_future()
        """Done once the server's settings have come."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, Call] = {}
        self._next_id = 1
        self._most_calls = _ANY_NUMBER
        self._stream_window = codes.DEFAULT_WINDOW_BYTES
        self._taken_bytes = 0
        self._unread = bytearray()
        self._unsent: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._failure = ""
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._blocks: dict[str, bytes] = {}
        """What doesn't change any more, since all of it is in the server's table."""

    @classmethod
    async def to(cls, port: int) -> Self:
        """Open one on this machine. Raises `StreamFailedError`."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        await connection.greeted
        return connection

    def close(self) -> None:
        """Whatever is under way fails."""
        if self._transport is not None:
            self._transport.close()

    @property
    def has_room(self) -> bool:
        """Whether the server takes another call on it. One more than it takes goes to another connection."""
        return len(self._calls) < self._most_calls

    def call(self, path: str = _PROCESS) -> Call:
        """Begin one."""
        if self._failure:
            raise StreamFailedError(f"the connection has ended: {self._failure}")
        call = Call(self, self._next_id, window=self._stream_window)
        self._calls[call.id] = call
        self._next_id += 2
        self.write(codes.HEADERS, codes.END_HEADERS, call.id, self._block(path))
        return call

    def _block(self, path: str) -> bytes:
        block = self._blocks.get(path)
        if block is None:
            block = self._encoder.encode([*_HEADERS[:2], (":path", path), *_HEADERS[2:]])
            if all(byte & 0x80 for byte in block):
                self._blocks[path] = block
        return block

    def forget(self, call_id: int) -> None:
        """What comes for it from now on is ignored."""
        self._calls.pop(call_id, None)

    # ------------------------------------------------------------------------------ sending

    def send_data(self, call_id: int, data: bytes) -> None:
        """Within the windows, which the caller has looked at."""
        self.window -= len(data)
        self.write(codes.DATA, 0, call_id, data)

    def write(self, kind: int, flags: int, call_id: int, payload: bytes = b"") -> None:
        """One frame, with this turn's others."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        size = len(payload)
        self._unsent.append(_FRAME.pack(size >> 8, size & 0xFF, kind, flags, call_id) + payload)

    def more_window(self) -> asyncio.Future[None]:
        """Done once the server may take more."""
        waiter = self._loop.create_future()
        if self._failure:
            waiter.set_result(None)
        else:
            self._waiters.append(waiter)
        return waiter

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None and not self._failure:
            self.writes += 1
            self._transport.write(b"".join(unsent))

    # ---------------------------------------------------------------------------- receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(codes.PREFACE)
        self.write(codes.SETTINGS, 0, 0, _SETTING.pack(codes.INITIAL_WINDOW_SIZE, _STREAM_WINDOW_BYTES))
        more = _CONNECTION_WINDOW_BYTES - codes.DEFAULT_WINDOW_BYTES
        self.write(codes.WINDOW_UPDATE, 0, 0, _NUMBER.pack(more))

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end(str(error or "it was closed"))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        unread = self._unread
        unread += data
        start = 0
        try:
            while len(unread) - start >= _FRAME.size:
                high, low, kind, flags, stream_id = _FRAME.unpack_from(unread, start)
                end = start + _FRAME.size + (high << 8 | low)
                if end > len(unread):
                    break
                self._take_frame(kind, flags, stream_id, bytes(unread[start + _FRAME.size : end]))
                start = end
        except (ValueError, HPACKError) as error:
            self._end(str(error))
            self.close()
        del unread[:start]

    def _take_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        call = self._calls.get(stream_id)
        match kind:
            case codes.DATA:
                self._take_data(call, flags, payload)
            case codes.HEADERS:
                self._take_headers(call, flags, payload)
            case codes.RST_STREAM if call is not None:
                self.forget(stream_id)
                call.fail(f"the server has reset it, code {_NUMBER.unpack(payload)[0]}")
            case codes.SETTINGS if not flags & codes.ACK:
                self._take_settings(payload)
            case codes.PING if not flags & codes.ACK:
                self.write(codes.PING, codes.ACK, 0, payload)
            case codes.GOAWAY:
                raise ValueError(f"the server says goodbye: {payload[4:]!r}")
            case codes.WINDOW_UPDATE:
                (more,) = _NUMBER.unpack(payload)
                if stream_id == 0:
                    self.window += more
                elif call is not None:
                    call.window += more
                self._wake()
            case codes.CONTINUATION:
                raise ValueError("a server with so few headers needs no CONTINUATION")
            case _:
                pass

    def _take_data(self, call: Call | None, flags: int, payload: bytes) -> None:
        if flags & (codes.PADDED | codes.END_STREAM):
            raise ValueError("neither padding nor an end without trailers is expected of a gRPC server")
        self._taken_bytes += len(payload)
        if self._taken_bytes >= _GIVE_BACK_BYTES:
            self.write(codes.WINDOW_UPDATE, 0, 0, _NUMBER.pack(self._taken_bytes))
            self._taken_bytes = 0
        if call is not None:
            call.take(payload)

    def _take_headers(self, call: Call | None, flags: int, payload: bytes) -> None:
        if flags & (codes.PADDED | codes.PRIORITIZED) or not flags & codes.END_HEADERS:
            raise ValueError("neither padding, priority nor CONTINUATION is expected of a gRPC server")
        headers = dict(self._decoder.decode(payload, raw=True))
        if call is None:
            return
        if headers.get(b":status", b"200") != b"200":
            self.forget(call.id)
            call.fail(f"HTTP status {headers[b':status'].decode()}")
        elif flags & codes.END_STREAM:
            self.forget(call.id)
            call.end(headers)

    def _take_settings(self, payload: bytes) -> None:
        for key, value in _SETTING.iter_unpack(payload):
            match key:
                case codes.INITIAL_WINDOW_SIZE:
                    for call in self._calls.values():
                        call.window += value - self._stream_window
                    self._stream_window = value
                case codes.HEADER_TABLE_SIZE:
                    self._encoder.header_table_size = min(value, _HEADER_TABLE_BYTES)
                    self._blocks.clear()
                case codes.MAX_CONCURRENT_STREAMS:
                    self._most_calls = value
                case codes.MAX_FRAME_SIZE:
                    self.frame_bytes = min(value, 0xFFFF)
                case _:
                    pass
        self.write(codes.SETTINGS, codes.ACK, 0)
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._wake()

    def _end(self, why: str) -> None:
        self._failure = self._failure or why
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.fail(self._failure)
        if not self.greeted.done():
            self.greeted.set_exception(StreamFailedError(f"the connection has ended: {self._failure}"))
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
