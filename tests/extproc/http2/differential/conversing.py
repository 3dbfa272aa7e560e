"""A client of the `h2` library and our server, with a wire between them that holds bytes for as long as it likes.

Everything either side does is checked by the other: `h2` raises when something of ours breaks the protocol or a window,
and what arrives must be what was sent. `Conversation.play` takes moves, each of which may be out of turn and then does
nothing; `Conversation.finish` opens every window, and everything must come to its end.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum, auto
from typing import NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes

from epp.extproc.http2 import events as ours
from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.connection import Connection
from epp.extproc.http2.guard import Tally
from epp.extproc.http2.limits import Limits
from epp.extproc.http2.stream import Stream
from tests.extproc.http2.differential.steps import REQUEST, RESPONSE, STATUS, Fields

MOST_STREAMS = 6
_TEXT = bytes((number * number // 7 + number // 251) % 256 for number in range(1 << 20))
_PLENTY = 1 << 24


class Move(Enum):
    """Who does what."""

    OPEN = auto()
    """The client opens a stream."""
    OPEN_WHOLE = auto()
    """And has nothing more to say on it."""
    SEND = auto()
    """The client sends so much of a body, as far as the windows let it."""
    END = auto()
    """The client ends its side."""
    END_BY_TRAILERS = auto()
    GIVE_UP = auto()
    """The client resets a stream."""
    WIDEN = auto()
    """The client opens a stream's window by so much."""
    WIDEN_ALL = auto()
    """The client opens the connection's window."""
    WINDOW = auto()
    """The client changes INITIAL_WINDOW_SIZE."""
    FRAME = auto()
    """The client changes MAX_FRAME_SIZE."""
    TABLE = auto()
    """The client changes HEADER_TABLE_SIZE."""
    PING = auto()
    RESPOND = auto()
    """The server sends headers."""
    ANSWER = auto()
    """The server sends so much of a body."""
    FINISH = auto()
    """The server sends trailers, whether the client has ended or not."""
    DROP = auto()
    """The server resets a stream."""
    WITHHOLD = auto()
    RELEASE = auto()
    TO_SERVER = auto()
    """So many bytes arrive."""
    TO_CLIENT = auto()
    """Frames of so many bytes, or a little more."""


class Play(NamedTuple):
    """A move."""

    move: Move
    pick: int = 0
    """Which of the streams with which it may be done."""
    size: int = 1


class Half:
    """What one side says on one stream."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.has_begun = False
        """Headers were sent."""
        self.is_sent = False
        """All was sent."""
        self.is_received = False

    def next_piece(self, stream: int, size: int) -> bytes:
        """The next that is sent, which differs from stream to stream."""
        start = stream * 1_000 + self.sent
        self.sent += size
        return _TEXT[start : start + size]

    def receive(self, stream: int, data: bytes) -> None:
        """The next that has come, which must be what was sent."""
        start = stream * 1_000 + self.received
        self.received += len(data)
        assert data == _TEXT[start : start + len(data)]
        assert self.received <= self.sent


class Conversation:
    """Both ends, and the wire."""

    def __init__(self, limits: Limits) -> None:
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.server: Connection[Stream] = Connection(limits, tally=Tally(), new_stream=Stream, now=0.0)
        self.to_server = b""
        self.to_client = b""
        self.requests: dict[int, Half] = {}
        self.responses: dict[int, Half] = {}
        self.expected_headers: defaultdict[int, list[Fields]] = defaultdict(list)
        self.client_streams: set[int] = set()
        """Those that the client hasn't seen reset, nor has reset."""
        self.server_streams: dict[int, Stream] = {}
        """The same of the server's."""
        self.waiting: set[int] = set()
        """Streams on which the server has been told to wait."""
        self.pings = 0
        self.unacknowledged = [SettingCodes.MAX_CONCURRENT_STREAMS]
        """What the client has set."""
        self.client.initiate_connection()
        self._deliver(_PLENTY)

    def play(self, play: Play) -> None:
        """Do it, if it can be done now."""
        move, pick, size = play
        match move:
            case Move.OPEN | Move.OPEN_WHOLE:
                self._open(whole=move is Move.OPEN_WHOLE)
            case Move.SEND | Move.END | Move.END_BY_TRAILERS | Move.GIVE_UP | Move.WIDEN:
                streams = sorted(self.client_streams)
                if streams:
                    self._on_client(move, streams[pick % len(streams)], size)
            case Move.WIDEN_ALL:
                self.client.increment_flow_control_window(size)
            case Move.WINDOW:
                self._set(SettingCodes.INITIAL_WINDOW_SIZE, size)
            case Move.FRAME:
                self._set(SettingCodes.MAX_FRAME_SIZE, 16_384 + size)
            case Move.TABLE:
                self._set(SettingCodes.HEADER_TABLE_SIZE, size)
            case Move.PING:
                self.pings += 1
                self.client.ping(b"12345678")
            case Move.TO_SERVER:
                self._deliver_to_server(size)
            case Move.TO_CLIENT:
                self._deliver_to_client(size)
            case _:
                streams = sorted(self.server_streams)
                if streams:
                    self._on_server(move, streams[pick % len(streams)], size)

    def finish(self) -> None:
        """Both say all that they have to say, and all windows are opened: everything must arrive."""
        self._deliver(_PLENTY)
        self._set(SettingCodes.INITIAL_WINDOW_SIZE, _PLENTY)
        self.client.increment_flow_control_window(_PLENTY)
        self._deliver(_PLENTY)
        for stream in list(self.server_streams):
            self._on_server(Move.RELEASE, stream, 0)
            self._on_server(Move.FINISH, stream, 0)
        for stream in list(self.client_streams):
            self._on_client(Move.END, stream, 0)
        self._deliver(_PLENTY)
        assert self.server.streams == {}
        assert self.client.open_outbound_streams == 0
        assert not self.waiting
        for stream in self.client_streams:
            for half in (self.requests[stream], self.responses[stream]):
                assert half.is_received
                assert half.received == half.sent
            assert not self.expected_headers[stream]
        assert self.pings == 0
        assert not self.unacknowledged

    # ------------------------------------------------------------------------------- the client

    def _open(self, *, whole: bool) -> None:
        if self.client.open_outbound_streams >= MOST_STREAMS:
            return
        stream = self.client.get_next_available_stream_id()
        self.client.send_headers(stream, [*REQUEST, (b"x-stream", b"%d" % stream)], end_stream=whole)
        self.requests[stream] = Half()
        self.responses[stream] = Half()
        self.requests[stream].is_sent = whole
        self.client_streams.add(stream)

    def _set(self, setting: SettingCodes, value: int) -> None:
        # With one acknowledgement h2 takes it that all settings hold which have been sent, even if in several frames.
        if all(other is setting for other in self.unacknowledged):
            self.unacknowledged.append(setting)
            self.client.update_settings({setting: value})

    def _on_client(self, move: Move, stream: int, size: int) -> None:
        client, request = self.client, self.requests[stream]
        response = self.responses[stream]
        if move is Move.WIDEN:
            if not response.is_received:
                client.increment_flow_control_window(max(size, 1), stream)
        elif request.is_sent and response.is_received:
            return
        elif move is Move.GIVE_UP:
            client.reset_stream(stream, ErrorCode.CANCEL)
            self.client_streams.remove(stream)
        elif request.is_sent:
            return
        elif move is Move.SEND:
            while size and (room := client.local_flow_control_window(stream)) > 0:
                piece = min(size, room, client.max_outbound_frame_size)
                client.send_data(stream, request.next_piece(stream, piece))
                size -= piece
        else:
            request.is_sent = True
            if move is Move.END:
                client.end_stream(stream)
            else:
                client.send_headers(stream, [(b"x-sum", b"%d" % stream)], end_stream=True)

    def _deliver_to_client(self, size: int) -> None:
        self.to_client += b"".join(self.server.take())
        self.server.note_written()
        events: list[Event] = []
        while size > 0 and self.to_client:
            # In one piece h2 would hold a frame to the largest size that was allowed before the piece.
            length = 9 + int.from_bytes(self.to_client[:3], "big")
            frame, self.to_client = self.to_client[:length], self.to_client[length:]
            size -= length
            events += self.client.receive_data(frame)
        for event in events:
            match event:
                case DataReceived():
                    self.responses[event.stream_id].receive(event.stream_id, event.data)
                case ResponseReceived() | TrailersReceived():
                    fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
                    assert fields == self.expected_headers[event.stream_id].pop(0)
                case StreamEnded():
                    self.responses[event.stream_id].is_received = True
                case StreamReset():
                    assert event.remote_reset
                    assert event.error_code == ErrorCode.INTERNAL_ERROR, "a reset that nobody asked for"
                    self.client_streams.discard(event.stream_id)
                case ConnectionTerminated():
                    raise AssertionError("the server gave the connection up")
                case PingAckReceived():
                    self.pings -= 1
                case SettingsAcknowledged():
                    self.unacknowledged.pop(0)
                case _:
                    pass

    # ------------------------------------------------------------------------------- the server

    def _on_server(self, move: Move, number: int, size: int) -> None:
        server, stream, response = self.server, self.server_streams[number], self.responses[number]
        if move is Move.WITHHOLD:
            server.withhold(stream)
        elif move is Move.RELEASE:
            server.release(stream)
        elif response.is_sent:
            return
        elif move is Move.DROP:
            server.reset(stream, ErrorCode.INTERNAL_ERROR)
            del self.server_streams[number]
            self.waiting.discard(number)
        else:
            if not response.has_begun:
                response.has_begun = True
                # Now and then a block that takes more than one frame.
                large = (b"x-large", b"X" * 20_000) if number % 16 == 15 else (b"x-small", b"")
                fields = (*RESPONSE, (b"x-number", b"%d" % (number % 3)), large)
                self.expected_headers[number].append(fields)
                server.send_headers(stream, fields)
            if move is Move.ANSWER:
                server.send_data(stream, response.next_piece(number, size))
            elif move is Move.FINISH:
                response.is_sent = True
                self.expected_headers[number].append(STATUS)
                server.send_trailers(stream, STATUS)
            if stream.pending is not None:
                self.waiting.add(number)

    def _deliver_to_server(self, size: int) -> None:
        self.to_server += self.client.data_to_send()
        data, self.to_server = self.to_server[:size], self.to_server[size:]
        for event in self.server.receive(data, 0.0):
            match event:
                case ours.StreamOpened(stream, headers, ended):
                    assert headers == (*REQUEST, (b"x-stream", b"%d" % stream.id))
                    self.server_streams[stream.id] = stream
                    self.requests[stream.id].is_received = ended
                case ours.DataReceived(stream, data, ended):
                    request = self.requests[stream.id]
                    request.receive(stream.id, bytes(data))
                    request.is_received = ended
                case ours.TrailersReceived(stream, headers):
                    assert headers == ((b"x-sum", b"%d" % stream.id),)
                    self.requests[stream.id].is_received = True
                case ours.StreamReset(stream, code):
                    assert code == ErrorCode.CANCEL, "a reset that nobody asked for"
                    del self.server_streams[stream.id]
                    self.waiting.discard(stream.id)
                case ours.PendingSent(stream):
                    assert stream.pending is None
                    self.waiting.remove(stream.id)
                case ours.ConnectionEnded(code, detail):
                    raise AssertionError(f"the server ended the connection: {code.name}, {detail}")

    def _deliver(self, size: int) -> None:
        """Everything, until both are silent."""
        while True:
            self._deliver_to_server(size)
            self._deliver_to_client(size)
            if not (self.to_server or self.to_client or self.client._data_to_send):
                return
