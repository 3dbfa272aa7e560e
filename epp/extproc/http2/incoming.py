"""Bytes from the peer, cut into frames: everything about a frame that doesn't depend on what was before it.

Rules of this file (RFC 9113, sections 3.4, 4 and 6):

- The preface comes first, then SETTINGS.
- No frame is larger than we have announced; those of a fixed size have that size; those of the connection name no
  stream, the others one.
- A header block is one unit: nothing comes between its parts, and they are handed on as one HEADERS frame.
- A frame of a type that nobody knows is skipped.

Whoever breaks one of them ends the connection. A frame is kept until it is whole, in time that is linear in its bytes
however small the pieces are.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from epp.extproc.http2 import codes
from epp.extproc.http2.codes import ConnectionFault, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epp.extproc.http2.guard import Guard
    from epp.extproc.http2.limits import Limits

_HEAD: Final = struct.Struct(">IBI")
_PRIORITY_BYTES: Final = 5

_OF_CONNECTION: Final = frozenset({codes.SETTINGS, codes.PING, codes.GOAWAY})
_NAMES: Final = (
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
)
_SIZES: Final = {codes.RST_STREAM: 4, codes.PING: 8, codes.WINDOW_UPDATE: 4}


class Frame(NamedTuple):
    """One frame. HEADERS have their whole block for a payload, without padding and priority."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class FrameReader:
    """Of one connection."""

    __slots__ = (
        "_block",
        "_continuations",
        "_guard",
        "_is_open",
        "_is_prefaced",
        "_limits",
        "_now",
        "_opening",
        "_rest",
        "_wanted",
        "is_greeted",
    )

    def __init__(self, limits: Limits, guard: Guard) -> None:
        self._limits = limits
        self._guard = guard
        self._now = 0.0
        self._is_prefaced = False
        self._is_open = False
        """Any frame may come: the peer's SETTINGS have, and no header block is open."""
        self.is_greeted = False
        """The preface and SETTINGS have come."""
        self._rest = bytearray()
        """The beginning of something whose end has not come."""
        self._wanted = len(codes.PREFACE)
        """How many bytes that takes, as far as is known."""
        self._opening: Frame | None = None
        """The HEADERS whose block has not ended."""
        self._block = bytearray()
        self._continuations = 0

    def read(self, data: bytes, now: float) -> Iterator[Frame]:
        """The frames that are whole now. Raises ConnectionFault."""
        self._now = now
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._wanted and self._is_prefaced:
                return
            data = bytes(rest)
            rest.clear()
        position = 0
        size = len(data)
        if not self._is_prefaced:
            _check_preface(data)
            if size < len(codes.PREFACE):
                rest += data
                return
            self._is_prefaced = True
            position = len(codes.PREFACE)
        largest = self._limits.max_frame_bytes
        unpack = _HEAD.unpack_from
        wanted = codes.FRAME_HEADER_BYTES
        while size - position >= codes.FRAME_HEADER_BYTES:
            head, flags, stream_id = unpack(data, position)
            length = head >> 8
            if length > largest:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + codes.FRAME_HEADER_BYTES
            if start + length > size:
                wanted = codes.FRAME_HEADER_BYTES + length
                break
            position = start + length
            frame = Frame(head & 0xFF, flags, stream_id & codes.LAST_STREAM_ID, data[start:position])
            if frame.kind == codes.DATA and self._is_open:
                yield frame
            else:
                whole = self._checked(frame)
                if whole is not None:
                    yield whole
        if position < size:
            rest += memoryview(data)[position:]
        self._wanted = wanted

    def _checked(self, frame: Frame) -> Frame | None:
        """The frame if it may be and is whole."""
        kind, flags, stream_id, payload = frame
        if not self._is_open:
            if self._opening is None and (kind != codes.SETTINGS or flags & codes.ACK):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no SETTINGS after the preface")
            if self._opening is not None and kind != codes.CONTINUATION:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "another frame inside a header block")
            self._is_open = self._opening is None
            self.is_greeted = True
        if kind > codes.CONTINUATION:
            self._guard.empty_frame(self._now)
            return None
        if bool(stream_id) is (kind in _OF_CONNECTION) and kind != codes.WINDOW_UPDATE:
            where = "a stream" if stream_id else "stream 0"
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{_NAMES[kind]} on {where}")
        if len(payload) != _SIZES.get(kind, len(payload)):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{_NAMES[kind]} of {len(payload)} bytes")
        if kind == codes.HEADERS:
            return self._headers(frame)
        if kind == codes.CONTINUATION:
            return self._continuation(frame)
        if kind == codes.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        return frame

    def _headers(self, frame: Frame) -> Frame | None:
        _, flags, stream_id, payload = frame
        if flags & codes.PADDED:
            payload = unpadded(payload)
        if flags & codes.PRIORITIZED:
            if len(payload) < _PRIORITY_BYTES:
                # Section 6.2: with padding, it is the padding that is too long.
                code = ErrorCode.PROTOCOL_ERROR if flags & codes.PADDED else ErrorCode.FRAME_SIZE_ERROR
                raise ConnectionFault(code, "HEADERS without room for their priority")
            payload = payload[_PRIORITY_BYTES:]
        self._guard.header_block(len(payload))
        frame = Frame(codes.HEADERS, flags, stream_id, payload)
        if flags & codes.END_HEADERS:
            return frame
        self._opening = frame
        self._is_open = False
        self._block += payload
        self._continuations = 0
        return None

    def _continuation(self, frame: Frame) -> Frame | None:
        opening = self._opening
        if opening is None or opening.stream_id != frame.stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._continuations += 1
        self._guard.continuation(self._continuations)
        self._block += frame.payload
        self._guard.header_block(len(self._block))
        if not frame.flags & codes.END_HEADERS:
            return None
        whole = opening._replace(payload=bytes(self._block))
        self._opening = None
        self._is_open = True
        self._block.clear()
        return whole


def unpadded(payload: bytes) -> bytes:
    """The payload of a PADDED frame without its padding. Raises ConnectionFault."""
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without the length of its padding")
    # Section 6.1: padding as long as what is left of the frame, or longer, is an error.
    if payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def _check_preface(data: bytes) -> None:
    if not codes.PREFACE.startswith(data[: len(codes.PREFACE)]):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface")
