"""HTTP/2 by hand: a gateway's connection, for what no gRPC client would do."""

from __future__ import annotations

import socket
import struct
from collections import Counter

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4

PATH = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


class RawConnection:
    """A blocking HTTP/2 connection that opens gRPC streams and counts what comes back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._buffer = b""
        self.pongs = 0
        self.resets: Counter[int] = Counter()
        """Streams that were reset, by error code."""
        self.answered: set[int] = set()
        """Streams on which data came."""
        self.farewell: bytes | None = None
        """What the server said when it gave up the connection."""
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS))

    def open_stream(self, number: int, *messages: bytes) -> None:
        """Begin a call, and send messages on it."""
        fields = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", PATH),
            (":authority", "epp"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
        # Literal fields without indexing and without compression: lengths below 127 fit into one byte.
        block = b"".join(
            b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in fields
        )
        stream = 2 * number + 1
        data = [
            _frame(_DATA, struct.pack(">BI", 0, len(message)) + message, stream=stream)
            for message in messages
        ]
        self._socket.sendall(b"".join([_frame(_HEADERS, block, flags=_END_HEADERS, stream=stream), *data]))

    def ping(self, count: int) -> None:
        """Send so many pings, and wait until the last of them has come back, or the server has given up."""
        wanted = self.pongs + count
        self._socket.sendall(b"".join(_frame(_PING, struct.pack(">Q", number)) for number in range(count)))
        self.read_until(lambda: self.pongs >= wanted)

    def read_until(self, enough: object) -> None:
        """Read until `enough()` is true or the server has given up the connection."""
        assert callable(enough)
        while not enough() and self.farewell is None:
            try:
                received = self._socket.recv(1 << 16)
            except ConnectionError:
                received = b""
            if not received:
                self.farewell = self.farewell or b"closed"
                return
            self._buffer += received
            while self._take_frame():
                pass

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _take_frame(self) -> bool:
        if len(self._buffer) < 9:
            return False
        length = int.from_bytes(self._buffer[:3], "big")
        if len(self._buffer) < 9 + length:
            return False
        kind, flags, stream = struct.unpack(">BBI", self._buffer[3:9])
        payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
        if kind == _PING and flags & _ACK:
            self.pongs += 1
        elif kind == _PING:
            self._socket.sendall(_frame(_PING, payload, flags=_ACK))
        elif kind == _SETTINGS and not flags & _ACK:
            self._socket.sendall(_frame(_SETTINGS, flags=_ACK))
        elif kind == _GOAWAY:
            self.farewell = payload[8:]
        elif kind == _RST_STREAM:
            self.resets[int.from_bytes(payload, "big")] += 1
        elif kind == _DATA and payload:
            self.answered.add(stream)
            self._socket.sendall(_frame(_WINDOW_UPDATE, struct.pack(">I", len(payload))))
        return True


def _frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload
