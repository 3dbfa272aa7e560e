"""Frames as bytes, for sending (RFC 9113, sections 4.1 and 6).

Each function gives a whole frame, except `frame_head`, which gives the nine bytes before a payload that is sent as it
is.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from epp.extproc.http2.codes import (
    ACK,
    GOAWAY,
    LARGEST_WINDOW_BYTES,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEAD: Final = struct.Struct(">IBI")
"""Length and type share the first four bytes."""
_SETTING: Final = struct.Struct(">HI")
_LONGEST_DEBUG_BYTES: Final = 256

SETTINGS_ACK: Final = _HEAD.pack(SETTINGS, ACK, 0)


def frame_head(kind: int, flags: int, stream_id: int, *, size: int) -> bytes:
    """What stands before a payload of `size` bytes."""
    return _HEAD.pack(size << 8 | kind, flags, stream_id)


def settings(values: Mapping[int, int]) -> bytes:
    """SETTINGS with these values."""
    payload = b"".join(_SETTING.pack(setting, value) for setting, value in values.items())
    return _HEAD.pack(len(payload) << 8 | SETTINGS, 0, 0) + payload


def ping(payload: bytes) -> bytes:
    """PING, with eight bytes that come back."""
    return _HEAD.pack(8 << 8 | PING, 0, 0) + payload


def ping_ack(payload: bytes) -> bytes:
    """The answer to a PING."""
    return _HEAD.pack(8 << 8 | PING, ACK, 0) + payload


def rst_stream(stream_id: int, code: int) -> bytes:
    """RST_STREAM."""
    return struct.pack(">IBII", 4 << 8 | RST_STREAM, 0, stream_id, code)


def window_update(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE of a stream, or of the connection (0)."""
    assert 0 < increment <= LARGEST_WINDOW_BYTES
    return struct.pack(">IBII", 4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def goaway(last_stream_id: int, code: int, detail: str = "") -> bytes:
    """GOAWAY, with a few words for whoever debugs the peer."""
    debug = detail.encode("ascii", "replace")[:_LONGEST_DEBUG_BYTES]
    head = struct.pack(">IBIII", (8 + len(debug)) << 8 | GOAWAY, 0, 0, last_stream_id, code)
    return head + debug
