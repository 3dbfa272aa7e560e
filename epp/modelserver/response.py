"""The client's half of HTTP/1.1 for one response: bytes in, a `Response` out, no I/O.

It reads what metrics endpoints send - by content-length, chunked, or until the connection closes - and refuses the
rest with a `ScrapeFailure`. A response is bounded as a whole, head and framing included, so that no server can
make us hold or walk through more than `max_bytes`.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

from epp.modelserver.failures import FailureKind, ScrapeFailure

MAX_HEAD_BYTES = 32 * 1024
MAX_CHUNK_LINE_BYTES = 256

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?")


class Connection(Enum):
    """What becomes of the connection after a response."""

    KEPT = auto()
    CLOSED = auto()


class Response(NamedTuple):
    """A whole response."""

    status: int
    body: bytes
    location: str
    """Where a redirect points; '' without one."""
    connection: Connection


class _Expect(Enum):
    """What the next bytes are."""

    HEAD = auto()
    LENGTH = auto()
    """The rest of a body of known length."""
    CHUNKS = auto()
    TRAILERS = auto()
    CLOSE = auto()
    """A body that lasts until the server hangs up."""
    NOTHING = auto()


class ResponseReader:
    """Reads one response; make another for the next."""

    __slots__ = (
        "_body",
        "_buffer",
        "_connection",
        "_expect",
        "_left_bytes",
        "_location",
        "_max_bytes",
        "_read_bytes",
        "_status",
    )

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._read_bytes = 0
        self._expect = _Expect.HEAD
        self._buffer = bytearray()
        self._body = list[bytes]()
        self._left_bytes = 0
        self._status = 0
        self._location = ""
        self._connection = Connection.KEPT

    def feed(self, data: bytes) -> Response | None:
        """What the server sent next; the response once it is whole. Raises `ScrapeFailure`."""
        self._read_bytes += len(data)
        if self._read_bytes > self._max_bytes:
            raise self._too_large()
        while True:
            match self._expect:
                case _Expect.HEAD:
                    rest = self._read_head(data)
                    if rest is None:
                        return None
                    data = rest
                case _Expect.LENGTH:
                    return self._read_length(data)
                case _Expect.CHUNKS | _Expect.TRAILERS:
                    return self._read_chunks(data)
                case _Expect.CLOSE:
                    self._body.append(data)
                    return None
                case _Expect.NOTHING:
                    raise ScrapeFailure(FailureKind.NOT_HTTP, "the server sent more than its response")

    def end(self) -> Response:
        """The server hung up: the response if that ends it. Raises `ScrapeFailure`."""
        if self._expect is _Expect.CLOSE:
            return self._whole()
        raise ScrapeFailure(FailureKind.CLOSED, f"the server hung up after {self._read_bytes} bytes")

    def _read_head(self, data: bytes) -> bytes | None:
        """The bytes after the head once it is whole; interim (1xx) heads are skipped."""
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            if len(data) >= MAX_HEAD_BYTES:
                raise ScrapeFailure(
                    FailureKind.TOO_LARGE, f"the headers are larger than {MAX_HEAD_BYTES} bytes"
                )
            if not b"HTTP/1.".startswith(data[:7]):
                raise _not_http(data)
            self._buffer += data
            return None
        self._parse_head(data[:end])
        return data[end + 4 :]

    def _parse_head(self, head: bytes) -> None:
        status_line, *lines = head.split(b"\r\n")
        found = _STATUS_LINE.fullmatch(status_line)
        if found is None:
            raise _not_http(head)
        self._status = int(found[2])
        if self._status < 200:
            return
        if found[1] == b"0":
            self._connection = Connection.CLOSED
        length: bytes | None = None
        coding: bytes | None = None
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise _not_http(line)
            match name.lower():
                case b"content-length":
                    if length not in {None, value.strip()}:
                        raise ScrapeFailure(FailureKind.NOT_HTTP, "two different content-length headers")
                    length = value.strip()
                case b"transfer-encoding":
                    coding = value.strip().lower()
                case b"connection":
                    if b"close" in value.lower():
                        self._connection = Connection.CLOSED
                case b"location":
                    self._location = value.strip()[:200].decode("latin-1")
                case _:
                    pass
        self._choose_framing(length=length, coding=coding)

    def _choose_framing(self, *, length: bytes | None, coding: bytes | None) -> None:
        if self._status in {204, 304}:
            self._expect = _Expect.LENGTH
        elif coding is not None:
            if coding != b"chunked":
                raise ScrapeFailure(
                    FailureKind.NOT_HTTP, f"transfer-encoding {coding[:80]!r} is not understood"
                )
            self._expect = _Expect.CHUNKS
        elif length is not None:
            if not re.fullmatch(rb"[0-9]{1,15}", length):
                raise ScrapeFailure(FailureKind.NOT_HTTP, f"content-length {length[:80]!r} is no number")
            self._expect = _Expect.LENGTH
            self._left_bytes = int(length)
            if self._left_bytes > self._max_bytes:
                raise self._too_large()
        else:
            self._expect = _Expect.CLOSE
            self._connection = Connection.CLOSED

    def _read_length(self, data: bytes) -> Response | None:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            data = data[: self._left_bytes]
            self._connection = Connection.CLOSED
        self._body.append(data)
        return None if self._left_bytes > 0 else self._whole()

    def _read_chunks(self, data: bytes) -> Response | None:
        """Takes whole chunks out of the buffer. `_left_bytes` is the size of the one that is awaited, or 0."""
        buffer = self._buffer
        buffer += data
        at = 0
        while True:
            if self._left_bytes:
                end = at + self._left_bytes
                if len(buffer) < end + 2:
                    break
                if buffer[end : end + 2] != b"\r\n":
                    raise ScrapeFailure(FailureKind.NOT_HTTP, "a chunk is longer than its size")
                with memoryview(buffer) as view:
                    self._body.append(bytes(view[at:end]))
                self._left_bytes = 0
                at = end + 2
                continue
            end = buffer.find(b"\r\n", at, at + MAX_HEAD_BYTES)
            if end < 0:
                if len(buffer) - at > MAX_CHUNK_LINE_BYTES and self._expect is _Expect.CHUNKS:
                    raise ScrapeFailure(FailureKind.NOT_HTTP, "a chunk without a size")
                break
            line = bytes(buffer[at:end])
            at = end + 2
            if self._expect is _Expect.TRAILERS:
                if not line:
                    if at < len(buffer):
                        self._connection = Connection.CLOSED
                    return self._whole()
            else:
                self._left_bytes = _chunk_size(line)
                if self._left_bytes > self._max_bytes:
                    raise self._too_large()
                if not self._left_bytes:
                    self._expect = _Expect.TRAILERS
        del buffer[:at]
        return None

    def _whole(self) -> Response:
        self._expect = _Expect.NOTHING
        return Response(self._status, b"".join(self._body), self._location, self._connection)

    def _too_large(self) -> ScrapeFailure:
        return ScrapeFailure(FailureKind.TOO_LARGE, f"the response is larger than {self._max_bytes} bytes")


def _chunk_size(line: bytes) -> int:
    found = _CHUNK_SIZE.fullmatch(line)
    if found is None:
        raise ScrapeFailure(FailureKind.NOT_HTTP, f"{line[:80]!r} is no chunk size")
    return int(found[1], 16)


def _not_http(data: bytes) -> ScrapeFailure:
    return ScrapeFailure(FailureKind.NOT_HTTP, f"no HTTP/1 response: it starts with {data[:40]!r}")
