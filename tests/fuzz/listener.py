"""What a server says on an HTTP/2 connection, read by `hyperframe` and `hpack`, and held against what its peer allowed.

The peer's own frames are only skimmed, for what they allow at most: a bound that holds whatever else is in them.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

from hpack import Decoder
from hyperframe import frame as frames

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD_BYTES = 9
_DEFAULT_WINDOW = 65_535
_DEFAULT_FRAME = 16_384
_LARGEST_TABLE = 2**32
_SETTINGS, _WINDOW_UPDATE = 4, 8
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 4, 5


class _State(Enum):
    OPEN = "open"
    ENDED = "ended"
    RESET = "reset"


class Listener:
    """The peer's ears."""

    def __init__(self) -> None:
        self._asked = b""
        self._said = b""
        self._initial_window = _DEFAULT_WINDOW
        self._largest_frame = _DEFAULT_FRAME
        self._windows: Counter[int] = Counter({0: _DEFAULT_WINDOW})
        """What WINDOW_UPDATEs have allowed, by stream."""
        self._data: Counter[int] = Counter()
        """What has been sent, by stream."""
        self._states: dict[int, _State] = {}
        self._decoder = Decoder()
        # How large a table may be is for other tests: here the question is whether a block can be read.
        self._decoder.max_allowed_table_size = _LARGEST_TABLE
        self._has_begun = False
        self._last_ids = [2**31 - 1]
        """Of GOAWAYs."""
        self.headers: dict[int, int] = {}
        """How many header blocks came, by stream."""

    def asks(self, data: bytes) -> None:
        """The peer is about to send this."""
        self._asked += data
        if not _PREFACE.startswith(self._asked[: len(_PREFACE)]):
            self._asked = b""  # nothing that follows is a frame to anybody
        while len(self._asked) >= len(_PREFACE) + _HEAD_BYTES:
            head = self._asked[len(_PREFACE) :][:_HEAD_BYTES]
            end = len(_PREFACE) + _HEAD_BYTES + int.from_bytes(head[:3], "big")
            if len(self._asked) < end:
                return
            payload = self._asked[len(_PREFACE) + _HEAD_BYTES : end]
            self._asked = _PREFACE + self._asked[end:]
            self._skim(head[3], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)

    def _skim(self, kind: int, stream_id: int, payload: bytes) -> None:
        if kind == _SETTINGS:
            for at in range(0, len(payload) - 5, 6):
                value = int.from_bytes(payload[at + 2 : at + 6], "big")
                setting = int.from_bytes(payload[at : at + 2], "big")
                if setting == _INITIAL_WINDOW_SIZE:
                    self._initial_window = max(self._initial_window, value)
                elif setting == _MAX_FRAME_SIZE:
                    self._largest_frame = max(self._largest_frame, value)
        elif kind == _WINDOW_UPDATE:
            self._windows[stream_id] += int.from_bytes(payload[:4], "big") & 0x7FFFFFFF

    def hears(self, data: bytes) -> None:
        """The server has sent this. Raises AssertionError, or whatever a library makes of it."""
        self._said += data
        while len(self._said) >= _HEAD_BYTES:
            frame, length = frames.Frame.parse_frame_header(memoryview(self._said)[:_HEAD_BYTES], strict=True)
            assert len(self._said) >= _HEAD_BYTES + length, "the server writes whole frames"
            assert length <= self._largest_frame, f"a frame of {length} bytes"
            frame.parse_body(memoryview(self._said)[_HEAD_BYTES : _HEAD_BYTES + length])
            self._said = self._said[_HEAD_BYTES + length :]
            self._judge(frame)

    def _judge(self, frame: frames.Frame) -> None:
        if not self._has_begun:
            assert isinstance(frame, frames.SettingsFrame), "its SETTINGS come first"
            assert "ACK" not in frame.flags
            self._has_begun = True
        match frame:
            case frames.HeadersFrame():
                self._judge_headers(frame)
            case frames.DataFrame():
                self._judge_data(frame)
            case frames.RstStreamFrame():
                # Maybe not for the first time: who goes on sending on a stream that is gone may be told so each time.
                assert frame.stream_id % 2 == 1
                self._states[frame.stream_id] = _State.RESET
            case frames.GoAwayFrame():
                assert frame.last_stream_id <= self._last_ids[-1], "more streams are served than was said"
                self._last_ids.append(frame.last_stream_id)
            case frames.WindowUpdateFrame():
                assert frame.window_increment > 0
            case frames.SettingsFrame() | frames.PingFrame():
                pass
            case _:
                raise AssertionError(f"a server here sends no {frame!r}")

    def _judge_headers(self, frame: frames.HeadersFrame) -> None:
        stream_id = frame.stream_id
        assert stream_id % 2 == 1
        assert self._states.setdefault(stream_id, _State.OPEN) is _State.OPEN, "headers after the end"
        assert "END_HEADERS" in frame.flags, "what is said here is short"
        headers = self._decoder.decode(bytes(frame.data), raw=True)
        blocks = self.headers[stream_id] = self.headers.get(stream_id, 0) + 1
        if blocks == 1:
            assert headers[0][0] == b":status"
        else:
            assert blocks == 2
            assert "END_STREAM" in frame.flags, "trailers end the stream"
            assert headers[0][0] == b"grpc-status"
        if "END_STREAM" in frame.flags:
            self._states[stream_id] = _State.ENDED

    def _judge_data(self, frame: frames.DataFrame) -> None:
        stream_id, size = frame.stream_id, frame.flow_controlled_length
        assert self._states.get(stream_id) is _State.OPEN, "data before the headers, or after the end"
        self._data[stream_id] += size
        self._data[0] += size
        assert self._data[0] <= self._windows[0], "more than the connection's window"
        assert self._data[stream_id] <= self._initial_window + self._windows[stream_id], (
            "more than the stream's window"
        )
