"""The `h2` library as a server: does what it is told, and says what has happened, as `observed` has it."""

from __future__ import annotations

from collections import deque
from enum import Enum

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from h2.settings import Settings as H2Settings
from h2.stream import StreamClosedBy
from h2.stream import StreamState as H2State

from epp.extproc.http2.limits import Limits
from tests.extproc.http2.differential.observed import Output, Standing, StreamState, Word
from tests.extproc.http2.differential.steps import Fields


class Situation(Enum):
    """How a server sees a stream that a frame names."""

    CONNECTION = "stream 0"
    EVEN = "even"
    IDLE = "never opened"
    OPEN = "open"
    HALF_CLOSED_REMOTE = "half-closed by the peer"
    HALF_CLOSED_LOCAL = "half-closed by us"
    RESET_BY_US = "reset by us"
    RESET_BY_PEER = "reset by the peer"
    ENDED = "ended on both sides"
    PASSED_OVER = "passed over"

    @property
    def takes_data(self) -> bool:
        """Whether the peer may still send a body."""
        return self in (Situation.OPEN, Situation.HALF_CLOSED_LOCAL)

    @property
    def is_live(self) -> bool:
        """Whether the stream is neither closed nor to come."""
        return self.takes_data or self is Situation.HALF_CLOSED_REMOTE

    @property
    def is_gone(self) -> bool:
        """Whether the stream is closed."""
        return self in (
            Situation.RESET_BY_US,
            Situation.RESET_BY_PEER,
            Situation.ENDED,
            Situation.PASSED_OVER,
        )


_LIVE = {
    H2State.OPEN: Situation.OPEN,
    H2State.HALF_CLOSED_LOCAL: Situation.HALF_CLOSED_LOCAL,
    H2State.HALF_CLOSED_REMOTE: Situation.HALF_CLOSED_REMOTE,
}
_GONE = {
    StreamClosedBy.SEND_RST_STREAM: Situation.RESET_BY_US,
    StreamClosedBy.RECV_RST_STREAM: Situation.RESET_BY_PEER,
    StreamClosedBy.SEND_END_STREAM: Situation.ENDED,
    StreamClosedBy.RECV_END_STREAM: Situation.ENDED,
    None: Situation.PASSED_OVER,
}


class Reference:
    """A server whose frames are judged by `h2`. It must be given whole frames, one at a time: an error loses events."""

    def __init__(self, limits: Limits) -> None:
        self._connection = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                normalize_inbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._connection.local_settings = H2Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                SettingCodes.MAX_FRAME_SIZE: limits.max_frame_bytes,
                SettingCodes.HEADER_TABLE_SIZE: limits.header_table_bytes,
            },
        )
        self._connection.max_inbound_frame_size = limits.max_frame_bytes
        self._connection.initiate_connection()
        self._pending: dict[int, deque[bytes]] = {}
        self._trailers: dict[int, Fields] = {}
        self.words: list[Word] = []
        self.output = Output()
        self.is_over = False
        self.is_greeted = False
        """SETTINGS have come."""
        self.has_granted = False
        """It has opened a window by itself, as h2 does for DATA on closed streams."""
        self._send()

    def receive(self, frame: bytes) -> None:
        """One frame, or the preface."""
        if self.is_over:
            return
        try:
            for event in self._connection.receive_data(frame):
                self._note(event)
        except ProtocolError as error:
            self.words.append(("over", int(error.error_code)))
            self.is_over = True
        self._flush()
        granted = len(self.output.grants)
        self._send()
        self.has_granted |= len(self.output.grants) > granted

    def situation(self, stream: int) -> Situation:
        """How the stream stands."""
        connection = self._connection
        if not stream:
            return Situation.CONNECTION
        if not stream % 2:
            return Situation.EVEN
        found = connection.streams.get(stream)
        if found is not None and found.state_machine.state in _LIVE:
            return _LIVE[found.state_machine.state]
        if stream > connection.highest_inbound_stream_id:
            return Situation.IDLE
        return _GONE[connection._stream_closed_by(stream)]

    def has_forgotten(self, stream: int) -> bool:
        """It knows of a closed stream no more than how it ended. That is so once another has been opened."""
        return stream not in self._connection.streams

    def standing(self) -> Standing:
        """How the connection stands."""
        streams = []
        for stream, found in sorted(self._connection.streams.items()):
            state = _LIVE.get(found.state_machine.state)
            if state is not None:
                open_to_us = state is not Situation.HALF_CLOSED_LOCAL
                window = found.outbound_flow_control_window if open_to_us else None
                streams.append(StreamState(stream, state.takes_data, open_to_us, window))
        return Standing(tuple(streams), self._connection.outbound_flow_control_window)

    @property
    def has_opened(self) -> bool:
        """There has been a stream."""
        return self._connection.highest_inbound_stream_id > 0

    def open_streams(self) -> int:
        """How many there are."""
        return self._connection.open_inbound_streams

    def room(self, stream: int) -> tuple[int, int]:
        """What the peer may still send: on the stream, and on the connection."""
        found = self._connection.streams[stream]
        return found.inbound_flow_control_window, self._connection.inbound_flow_control_window

    def send_window(self, stream: int) -> int:
        """What we may still send on the stream, or on the connection."""
        if not stream:
            return self._connection.outbound_flow_control_window
        return self._connection.streams[stream].outbound_flow_control_window

    def announced_length(self, stream: int) -> tuple[int | None, int]:
        """The `content-length` of the request, if it had one, and what has come of it."""
        found = self._connection.streams[stream]
        return found._expected_content_length, found._actual_content_length

    # --------------------------------------------------------------------------- what it is told

    def grant(self, stream: int, increment: int) -> None:
        """Open a window of the peer's as the other server has done."""
        if not stream or self.situation(stream).takes_data:
            self._connection.increment_flow_control_window(increment, stream or None)
            self._send()

    def respond(self, stream: int, fields: Fields, *, ends: bool = False) -> None:
        """Send headers."""
        self._connection.send_headers(stream, list(fields), end_stream=ends)
        self._send()

    def send(self, stream: int, data: bytes) -> None:
        """Send a piece of the body."""
        self._pending.setdefault(stream, deque()).append(data)
        self._flush()
        self._send()

    def finish(self, stream: int, fields: Fields) -> None:
        """Send trailers, after what waits."""
        self._trailers[stream] = fields
        self._flush()
        self._send()

    def reset(self, stream: int, code: int) -> None:
        """Reset the stream."""
        self._connection.reset_stream(stream, code)
        self._send()

    # ---------------------------------------------------------------------------------- helpers

    def _note(self, event: Event) -> None:
        match event:
            case RequestReceived():
                fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
                self.words.append(("opened", event.stream_id, fields))
            case DataReceived():
                self.words.append(("data", event.stream_id, event.data))
            case TrailersReceived():
                fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
                self.words.append(("trailers", event.stream_id, fields))
            case StreamEnded():
                self.words.append(("ended", event.stream_id))
            case StreamReset():
                self.words.append(("reset", event.stream_id, int(event.error_code)))
            case RemoteSettingsChanged():
                self.is_greeted = True
            case ConnectionTerminated():
                self.words.append(("goaway",))
            case _:
                pass

    def _flush(self) -> None:
        """Send what waits, as far as the windows go."""
        connection = self._connection
        for stream in sorted({*self._pending, *self._trailers}):
            if self.is_over or not self.situation(stream).is_live:
                self._pending.pop(stream, None)
                self._trailers.pop(stream, None)
                continue
            pending = self._pending.get(stream)
            while pending and (room := connection.local_flow_control_window(stream)) > 0:
                room = min(room, connection.max_outbound_frame_size)
                data = pending.popleft()
                if data[room:]:
                    pending.appendleft(data[room:])
                connection.send_data(stream, data[:room])
            if not pending:
                self._pending.pop(stream, None)
                if stream in self._trailers:
                    connection.send_headers(stream, list(self._trailers.pop(stream)), end_stream=True)

    def _send(self) -> None:
        self.output.read(self._connection.data_to_send())
