"""A client that writes what it is told to and reads what comes: frames on a TCP connection, and nothing checked."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from enum import Enum
from types import TracebackType

from hpack import Encoder

from tests.abuse.attacks import REQUEST
from tests.extproc import gateway
from tests.extproc.http2.frames_by_hand import (
    DATA,
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    PREFACE,
    Frame,
    data,
    headers,
    settings,
    settings_ack,
    window_update,
)

SMALL_BYTES = 4096
"""A socket's buffer that is soon full."""


class Reading(Enum):
    """What a peer does with what is sent to it."""

    ALL = "all"
    NOTHING = "nothing"


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self.encoder = Encoder()
        self.next_id = 1

    @classmethod
    async def connect(cls, port: int, reading: Reading = Reading.ALL) -> Raw:
        """To a server on this machine."""
        connection = socket.socket()
        if reading is Reading.NOTHING:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
        if reading is Reading.NOTHING:
            # Transports of sockets can, which asyncio's types don't say.
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        return cls(reader, writer)

    async def __aenter__(self) -> Raw:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def send(self, *pieces: bytes) -> bool:
        """Whether it could be sent: False once the server has closed the connection."""
        try:
            self._writer.write(b"".join(pieces))
            await self._writer.drain()
        except OSError:
            return False
        return not self._writer.transport.is_closing()

    async def greet(self, *pairs: tuple[int, int]) -> None:
        """With windows that are never in the way."""
        await self.send(
            PREFACE,
            settings(*(pairs or ((INITIAL_WINDOW_SIZE, LARGEST_WINDOW),))),
            settings_ack(),
            window_update(0, LARGEST_WINDOW - 65_535),
        )

    def open(self, *messages: bytes, end: bool = False) -> tuple[int, bytes]:
        """The next stream's id, and its HEADERS with these messages after them."""
        number = self.next_id
        self.next_id += 2
        out = headers(number, self.encoder.encode(list(REQUEST)))
        return number, out + b"".join(message_frames(number, each) for each in messages) + (
            data(number, end=True) if end else b""
        )

    async def frame(self) -> Frame | None:
        """The next one; None when the connection has ended."""
        while True:
            if len(self._rest) >= 9:
                size = 9 + int.from_bytes(self._rest[:3], "big")
                if len(self._rest) >= size:
                    whole, self._rest = self._rest[:size], self._rest[size:]
                    return Frame(
                        whole[3], whole[4], int.from_bytes(whole[5:9], "big") & LARGEST_WINDOW, whole[9:]
                    )
            try:
                more = await self._reader.read(2**16)
            except OSError:
                return None
            if not more:
                return None
            self._rest += more

    async def farewell(self) -> Frame | None:
        """Read to the end of the connection; the last GOAWAY of it."""
        last = None
        while (found := await self.frame()) is not None:
            if found.kind == GOAWAY:
                last = found
        return last

    async def first_data(self, number: int) -> bytes:
        """Wait for DATA on a stream."""
        while (found := await self.frame()) is not None:
            if found.kind == DATA and found.stream == number:
                return found.payload
        raise ConnectionError("the connection ended before the answer")


def message_frames(number: int, message: bytes) -> bytes:
    """One message of gRPC, in frames that every server takes."""
    body = b"\x00" + len(message).to_bytes(4, "big") + message
    return b"".join(data(number, body[at : at + 16_384]) for at in range(0, len(body), 16_384))


CHAT = (bytes(gateway.request_headers()), bytes(gateway.request_body()))


async def ask(port: int) -> bytes:
    """What an innocent gateway hears on a connection of its own."""
    async with await Raw.connect(port) as client:
        await client.greet()
        number, opening = client.open(*CHAT)
        await client.send(opening)
        return await client.first_data(number)
