"""The engine between any peer and any server: nothing raises, the books are right, and what is said can be read."""

from __future__ import annotations

import struct

from hpack import Encoder

from epp.extproc.http2.call import Call
from epp.extproc.http2.calls import Calls
from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import (
    CallEvent,
    CallOpened,
    CallReset,
    ConnectionEnded,
    HalfClosed,
    MessageReceived,
    MessageSent,
)
from epp.extproc.http2.guard import Tally
from epp.extproc.http2.limits import Allowance, Limits
from epp.extproc.http2.statuses import Status
from tests.fuzz.choices import Choices
from tests.fuzz.listener import Listener

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PATH = "/a.Service/Method"
_FEW = Allowance(20, 10.0)
_TIGHT = Limits(
    max_streams=4,
    stream_window_bytes=65_535,
    connection_window_bytes=100_000,
    max_frame_bytes=16_384,
    header_table_bytes=256,
    max_header_list_bytes=600,
    max_message_bytes=20_000,
    max_unfinished_bytes=40_000,
    rapid_resets=_FEW,
    pings=_FEW,
    settings=_FEW,
    empty_frames=_FEW,
    fragments=_FEW,
    window_updates=_FEW,
    max_continuations=3,
    max_unsent_replies=10,
    stall_s=5.0,
)
_LIMITS = (Limits(), _TIGHT)
_LARGEST_WINDOW = 2**31 - 1
_MOST_STEPS = 300

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
_END_STREAM, _END_HEADERS, _PADDED = 1, 4, 8
_REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", _PATH.encode()),
    (b":authority", b"epp"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)
_REQUESTS = (
    _REQUEST,
    (*_REQUEST, (b"grpc-timeout", b"5S")),
    (*_REQUEST, (b"content-length", b"12")),
    (*_REQUEST, (b"x-long", b"v" * 700)),
    (*_REQUEST, (b"grpc-timeout", b"soon"), (b"grpc-encoding", b"gzip")),
    ((b":method", b"GET"), *_REQUEST[1:]),
    (*_REQUEST[:2], (b":path", b"/nobody"), *_REQUEST[3:]),
    _REQUEST[:-1],
    (*_REQUEST, (b"Upper", b"case")),
    (*_REQUEST, (b":late", b"pseudo")),
    (*_REQUEST, (b"connection", b"close")),
)
_SIZES = (0, 1, 5, 63, 64, 200, 4_097, 16_384, 20_001, 65_535, 70_000)
_NUMBERS = (0, 1, 16_384, 65_535, 65_536, 100, 4_096, 2**24 - 1, _LARGEST_WINDOW, 2**31, 2**32 - 1)
_SPANS_S = (0.0, 0.001, 0.5, 6.0, 1000.0)


def one_input(data: bytes) -> None:
    """Play it, and look at everything after each step."""
    _Play(Choices(data)).run()


class _Owner:
    """Whoever handles a call: checks that what it hears is in order."""

    def __init__(self) -> None:
        self.is_half_closed = False
        self.is_over = False


class _Play:
    """One connection with a peer and a server at its ends."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._limits = choices.of(_LIMITS)
        self._now = 100.0
        self._tally = Tally()
        self._calls = Calls(self._limits, tally=self._tally, methods={_PATH}, now=self._now)
        self._listener = Listener()
        self._encoder = Encoder()
        self._cut = 0
        """The pieces in which bytes arrive; 0: as they come."""
        self._next_id = 1
        self._known: list[Call] = []
        self._has_ended = False
        if choices.byte() % 16:
            self.send(_PREFACE + _frame(_SETTINGS))

    def run(self) -> None:
        """To the end of the choices, and on to the end of the connection."""
        steps = 0
        while self._choices.left and steps < _MOST_STEPS:
            _STEPS[self._choices.byte() % len(_STEPS)](self)
            self.check()
            steps += 1
        self.take()
        self.hear(self._calls.close(ErrorCode.NO_ERROR, "the end"))
        self.take()
        self.check()
        assert self._calls.is_over
        assert self._has_ended
        assert all(call.owner is None or call.owner.is_over for call in self._known)
        assert not self._calls.streams

    # ----------------------------------------------------------------------------- the checks

    def hear(self, events: list[CallEvent]) -> None:
        """What the engine says has happened."""
        for event in events:
            assert not self._has_ended, f"{event} after the connection's end"
            match event:
                case CallOpened(call, path, timeout_s):
                    assert path == _PATH
                    assert timeout_s is None or timeout_s >= 0
                    assert call.owner is None
                    call.owner = _Owner()
                    self._known.append(call)
                case MessageReceived(call, message):
                    assert isinstance(message, bytes)
                    assert len(message) <= self._limits.max_message_bytes
                    assert not call.owner.is_over
                    assert not call.owner.is_half_closed
                case HalfClosed(call):
                    assert not call.owner.is_over
                    assert not call.owner.is_half_closed
                    call.owner.is_half_closed = True
                case MessageSent(call):
                    assert not call.owner.is_over
                    assert call.pending is None
                case CallReset(call):
                    assert not call.owner.is_over
                    call.owner.is_over = True
                case ConnectionEnded(code, detail):
                    assert detail
                    assert code in ErrorCode
                    self._has_ended = True

    def check(self) -> None:
        """What must hold at any moment."""
        calls, limits = self._calls, self._limits
        assert len(calls.streams) <= limits.max_streams
        sender, receiver = calls._connection._sender, calls._connection._receiver
        assert self._has_ended or sender.window <= _LARGEST_WINDOW
        assert receiver._receive_window + receiver._taken_bytes <= limits.connection_window_bytes
        assert self._has_ended or receiver._receive_window >= 0
        for stream_id, call in calls.streams.items():
            assert call.id == stream_id
            assert not (call.local_closed and call.remote_closed)
            assert call.send_window <= _LARGEST_WINDOW
            assert call.remote_closed or call.receive_window >= 0
            assert call.receive_window + call.taken_bytes <= limits.stream_window_bytes
            if call.pending is None:
                assert call.pending_end is None
                assert call.stalled_s is None
            else:
                assert call.pending
                assert call.stalled_s is not None
                assert call.send_window <= 0 or sender.window <= 0, "it waits, and nothing holds it up"
            if call.begun is not None:
                assert len(call.begun) <= limits.max_message_bytes + 5
        assert all(stream.id in calls.streams for stream in sender._waiting)
        assert all(call.pending is None for call in self._known if call.id not in calls.streams)
        unfinished = sum(len(call.begun) for call in calls.streams.values() if call.begun is not None)
        assert unfinished <= limits.max_unfinished_bytes

    # -------------------------------------------------------------------------- the peer's steps

    def send(self, data: bytes) -> None:
        """Bytes of the peer's arrive."""
        self._listener.asks(data)
        # In no more than a hundred pieces: what is large would take too long in single bytes.
        size = max(self._cut or len(data), len(data) // 100, 1)
        for start in range(0, len(data), size):
            self.hear(self._calls.receive(data[start : start + size], self._now))

    def send_anything(self) -> None:
        """Bytes."""
        self.send(self._choices.piece())

    def send_frame(self) -> None:
        """Any frame."""
        choices = self._choices
        self.send(_frame(choices.byte() % 12, choices.piece(), flags=choices.byte(), stream=self._some_id()))

    def open_call(self) -> None:
        """HEADERS, maybe in several pieces."""
        choices = self._choices
        block = self._encoder.encode(choices.of(_REQUESTS), huffman=choices.flag())
        stream, self._next_id = self._next_id, self._next_id + 2
        flags = _END_STREAM if choices.byte() % 8 == 7 else 0
        pieces = choices.byte() % 8
        if pieces < 5:
            self.send(_frame(_HEADERS, block, flags=flags | _END_HEADERS, stream=stream))
            return
        size = len(block) // (pieces - 3) + 1
        parts = [block[start : start + size] for start in range(0, len(block), size)]
        said = [_frame(_HEADERS, parts[0], flags=flags, stream=stream)]
        said += [_frame(_CONTINUATION, part, stream=stream) for part in parts[1:-1]]
        said.append(_frame(_CONTINUATION, parts[-1], flags=_END_HEADERS, stream=stream))
        self.send(b"".join(said))

    def open_usual_call(self) -> None:
        """As a gateway does."""
        stream, self._next_id = self._next_id, self._next_id + 2
        block = self._encoder.encode(_REQUEST)
        self.send(_frame(_HEADERS, block, flags=_END_HEADERS, stream=stream))

    def talk(self) -> None:
        """As a gateway and a picker do: a few messages each way on the last call, and everybody reads."""
        for _ in range(1 + self._choices.byte() % 3):
            size = self._choices.of(_SIZES)
            message = struct.pack(">BI", 0, size) + b"m" * size
            for start in range(0, len(message), 16_384):
                part = message[start : start + 16_384]
                self.send(_frame(_DATA, part, stream=max(self._next_id - 2, 1)))
            if self._known:
                self._calls.send_message(self._known[-1], b"a" * self._choices.of(_SIZES))
        self.take()

    def send_trailers(self) -> None:
        """HEADERS on a stream that may be open."""
        block = self._encoder.encode(((b"x-check", b"sum"),))
        self.send(_frame(_HEADERS, block, flags=_END_HEADERS | _END_STREAM, stream=self._some_id()))

    def send_message(self) -> None:
        """A message in one or more frames of DATA."""
        choices = self._choices
        size, stream = choices.of(_SIZES), self._some_id()
        message = struct.pack(">BI", choices.byte() % 32 == 31, size) + b"m" * size
        message = message[: len(message) - choices.byte() % 4]
        largest = choices.of((16_384, 16_384, 1_000, 100_000))
        flags = _END_STREAM if choices.byte() % 8 == 7 else 0
        said = []
        for start in range(0, len(message), largest):
            part = message[start : start + largest]
            ends = flags if start + largest >= len(message) else 0
            said.append(_frame(_DATA, part, flags=ends, stream=stream))
        self.send(b"".join(said))

    def send_padded(self) -> None:
        """DATA with padding, which may be longer than the frame."""
        choices = self._choices
        payload = bytes([choices.byte()]) + choices.piece()
        self.send(_frame(_DATA, payload, flags=_PADDED, stream=self._some_id()))

    def update_window(self) -> None:
        """WINDOW_UPDATE."""
        stream = 0 if self._choices.flag() else self._some_id()
        increment = struct.pack(">I", self._choices.of(_NUMBERS))
        self.send(_frame(_WINDOW_UPDATE, increment, stream=stream))

    def send_settings(self) -> None:
        """SETTINGS, up to three of them."""
        choices = self._choices
        settings = [
            struct.pack(">HI", choices.byte() % 8, choices.of(_NUMBERS)) for _ in range(choices.byte() % 4)
        ]
        self.send(_frame(_SETTINGS, b"".join(settings), flags=choices.byte() % 16 == 15))

    def reset(self) -> None:
        """RST_STREAM."""
        code = struct.pack(">I", self._choices.byte())
        self.send(_frame(_RST_STREAM, code, stream=self._some_id()))

    def ping(self) -> None:
        """PING, a question or an answer."""
        payload = self._choices.of((b"epp-ping", b"epp-bye!", b"whatever"))
        self.send(_frame(_PING, payload, flags=self._choices.byte() % 2))

    def say_goodbye(self) -> None:
        """GOAWAY."""
        self.send(_frame(_GOAWAY, struct.pack(">II", self._next_id, self._choices.byte())))

    def cut(self) -> None:
        """From now on bytes arrive in other pieces."""
        self._cut = self._choices.of((0, 1, 7, 100, 5_000))

    # ------------------------------------------------------------------------ the server's steps

    def answer(self) -> None:
        """A message of the server's."""
        call = self._some_call()
        if call is not None:
            self._calls.send_message(call, b"a" * self._choices.of(_SIZES))

    def finish(self) -> None:
        """A status."""
        call = self._some_call()
        if call is not None:
            self._calls.finish(call, self._choices.of(list(Status)), self._choices.of(("", " why é% ")))
            call.owner.is_over = True

    def hold(self) -> None:
        """Back-pressure comes or goes."""
        call = self._some_call()
        if call is not None:
            (self._calls.withhold if self._choices.flag() else self._calls.release)(call)

    def administrate(self) -> None:
        """What happens to whole connections."""
        match self._choices.byte() % 8:
            case 0:
                self._calls.ping()
            case 1:
                self._calls.announce_shutdown()
            case 2:
                self._calls.finish_shutdown()
            case 3:
                self.hear(self._calls.close(self._choices.of(list(ErrorCode)), "closed"))
            case _:
                self._now += self._choices.of(_SPANS_S)
                self.hear(self._calls.tick(self._now))

    def take(self) -> None:
        """What is to be written is, and the peer hears it."""
        self._listener.hears(b"".join(self._calls.take()))
        self._calls.note_written()

    # ---------------------------------------------------------------------------------- helpers

    def _some_id(self) -> int:
        """A stream's: mostly the last ones, sometimes nobody's."""
        choice = self._choices.byte()
        if choice < 250:
            return max(self._next_id - 2 * (1 + choice % 4), 1)
        return (0, 2, self._next_id + 2, 2**31 - 1, 1, 3)[choice - 250]

    def _some_call(self) -> Call | None:
        """One that the server knows, which may be over."""
        choice = self._choices.byte()
        return self._known[-1 - choice % min(len(self._known), 4)] if self._known else None


_STEPS = (
    _Play.open_usual_call,
    _Play.send_message,
    _Play.take,
    _Play.answer,
    _Play.update_window,
    _Play.finish,
    _Play.open_call,
    _Play.send_settings,
    _Play.reset,
    _Play.cut,
    _Play.hold,
    _Play.administrate,
    _Play.send_frame,
    _Play.send_anything,
    _Play.send_padded,
    _Play.send_trailers,
    _Play.ping,
    _Play.say_goodbye,
    _Play.talk,
    _Play.talk,
)


def _frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
