"""SETTINGS: what the peer has told us of itself, and what we tell it (RFC 9113, section 6.5).

A setting that nobody knows is ignored. A value that can't be is the connection's end, with the code that belongs to the
setting: FLOW_CONTROL_ERROR for a window, PROTOCOL_ERROR for anything else.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from epp.extproc.http2.codes import (
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW_BYTES,
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME_BYTES,
    LARGEST_WINDOW_BYTES,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    ConnectionFault,
    ErrorCode,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epp.extproc.http2.limits import Limits

_SETTING: Final = struct.Struct(">HI")


def announced(limits: Limits) -> dict[int, int]:
    """What we tell every peer."""
    return {
        HEADER_TABLE_SIZE: limits.header_table_bytes,
        MAX_CONCURRENT_STREAMS: limits.announced_streams,
        INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
        MAX_FRAME_SIZE: limits.max_frame_bytes,
        MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
    }


def read_settings(payload: bytes) -> Iterable[tuple[int, int]]:
    """The settings of a frame, in order, each checked. Raises ConnectionFault."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a length that is no multiple of 6")
    settings = list(_SETTING.iter_unpack(payload))
    for setting, value in settings:
        _check(setting, value)
    return settings


class PeerSettings:
    """What holds for what we send. Before the peer says anything: the RFC's initial values."""

    __slots__ = ("initial_window_bytes", "max_frame_bytes")

    def __init__(self) -> None:
        self.initial_window_bytes = DEFAULT_WINDOW_BYTES
        self.max_frame_bytes = DEFAULT_FRAME_BYTES


def _check(setting: int, value: int) -> None:
    if setting == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW_BYTES:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value}")
    if setting == MAX_FRAME_SIZE and not DEFAULT_FRAME_BYTES <= value <= LARGEST_FRAME_BYTES:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
    if setting == ENABLE_PUSH and value > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")
