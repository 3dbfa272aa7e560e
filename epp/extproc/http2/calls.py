"""gRPC over one HTTP/2 connection: calls and messages in, messages and statuses out. No I/O, no clock.

Rules of this file:

- A call is *live* from its `CallOpened` until its end: `finish`, a refusal of ours, or a reset. Of what is not live
  nobody hears anything, and commands for it do nothing.
- Whatever a peer does wrong on a call is answered here (`call` and `messages` say how). If the call was live, a
  `CallReset` tells its owner.
- A call's headers go with its first message; a call without one ends in a single block.
- After our end, a peer that hasn't ended its side is sent RST_STREAM with NO_ERROR (RFC 9113, section 8.1), as soon as
  nothing of what we sent waits any more.
- What is told is the same however the bytes were cut. Where a peer passes a limit of the whole connection with its
  messages, the connection ends after the rest of the same read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from epp.extproc.http2.call import Call, Refusal, Request, read_request
from epp.extproc.http2.codes import ConnectionFault, ErrorCode
from epp.extproc.http2.connection import Connection
from epp.extproc.http2.events import (
    CallOpened,
    CallReset,
    ConnectionEnded,
    DataReceived,
    HalfClosed,
    MessageReceived,
    MessageSent,
    PendingSent,
    StreamOpened,
    StreamReset,
    TrailersReceived,
)
from epp.extproc.http2.limits import FRAGMENT_BYTES
from epp.extproc.http2.messages import PREFIX_BYTES, CallFault, Messages
from epp.extproc.http2.statuses import RESPONSE_HEADERS, Status, trailers, trailers_only

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from epp.extproc.http2.events import CallEvent, Event, Headers
    from epp.extproc.http2.guard import Tally
    from epp.extproc.http2.limits import Limits
    from epp.extproc.http2.stream import Stream


class Calls:
    """The calls of one connection."""

    def __init__(self, limits: Limits, *, tally: Tally, methods: Container[str], now: float) -> None:
        """`methods` are the paths that are served."""
        self._connection: Connection[Call] = Connection(limits, tally=tally, new_stream=Call, now=now)
        self._messages = Messages(limits, tally)
        self._methods = methods
        self._tally = tally
        self._most_bytes = limits.max_message_bytes
        self._headers: Headers | None = None
        """Those of the last request. A gateway's are the same object as long as it repeats them."""
        self._request: Request | Refusal
        """What they came to."""

    # --------------------------------------------------------------------------- from the peer

    def receive(self, data: bytes, now: float) -> list[CallEvent]:
        """What came from the peer, cut as it may be; gives what happened."""
        events = self._connection.receive(data, now)
        return self._told(events, now) if events else []

    def tick(self, now: float) -> list[CallEvent]:
        """To be called every few seconds while calls are open: ends those that have waited too long for a window."""
        return self._told(self._connection.tick(now), now)

    def close(self, code: ErrorCode, detail: str) -> list[CallEvent]:
        """End the connection; gives the ends of its calls."""
        return self._told(self._connection.close(code, detail), now=0.0)

    # -------------------------------------------------------------------------------- commands

    def send_message(self, call: Call, message: bytes) -> None:
        """Afterwards `call.pending` is None, or some of it waits for the peer's windows until `MessageSent`."""
        if not call.is_live:
            return
        connection = self._connection
        if not call.answered:
            connection.send_headers(call, RESPONSE_HEADERS)
        # The flag for compression is the first of the five, and 0.
        connection.send_data(call, len(message).to_bytes(PREFIX_BYTES, "big"), message)
        self._tally.messages_out += 1

    def finish(self, call: Call, status: Status, message: str = "") -> None:
        """End a call. What was sent on it before still goes out."""
        if call.is_live:
            call.is_live = False
            self._messages.forget(call)
            self._end(call, status, message)

    def withhold(self, call: Call) -> None:
        """Let the peer send no more on this call than its window has left."""
        self._connection.withhold(call)

    def release(self, call: Call) -> None:
        """Let it go on."""
        self._connection.release(call)

    def ping(self) -> None:
        """Ask whether the peer is there. Its answer clears `is_ping_unanswered`."""
        self._connection.ping()

    def announce_shutdown(self) -> None:
        """Ask the peer to open no more calls here. Those that are already on their way are served."""
        self._connection.announce_shutdown()

    def finish_shutdown(self) -> None:
        """Open no call any more. Done by itself when the peer has answered the announcement."""
        self._connection.finish_shutdown()

    def take(self) -> Sequence[bytes | memoryview]:
        """What is to be written now, in order. It is the caller's."""
        return self._connection.take()

    def note_written(self) -> None:
        """Everything taken so far has left us: the peer reads."""
        self._connection.note_written()

    # ----------------------------------------------------------------------------------- state

    @property
    def streams(self) -> Mapping[int, Call]:
        """Those that HTTP/2 has open, by id: the live ones, and those whose end waits for the peer's windows."""
        return self._connection.streams

    @property
    def is_over(self) -> bool:
        """Nothing more comes of the connection once what `take` gives has been written."""
        return self._connection.is_over

    @property
    def is_greeted(self) -> bool:
        """The peer's preface and its SETTINGS have come."""
        return self._connection.is_greeted

    @property
    def last_heard_s(self) -> float:
        """When the peer last sent anything."""
        return self._connection.last_heard_s

    @property
    def is_ping_unanswered(self) -> bool:
        """A `ping` of ours waits for its answer."""
        return self._connection.is_ping_unanswered

    # ---------------------------------------------------------------------------------- events

    def _told(self, events: list[Event], now: float) -> list[CallEvent]:
        """What HTTP/2's events mean for calls."""
        told: list[CallEvent] = []
        fault: ConnectionFault | None = None
        messages = 0
        most_bytes = self._most_bytes
        number = int.from_bytes
        for event in events:
            if isinstance(event, DataReceived):
                call: Call
                call, data, ended = event  # type: ignore[assignment]  # the connection makes its streams of Call
                size = len(data) - PREFIX_BYTES
                if (
                    call.begun is None
                    and call.is_live
                    # A whole message and nothing else: where the flag is 0, all five bytes are the length.
                    and number(data[:PREFIX_BYTES], "big") == size <= most_bytes
                ):
                    told.append(MessageReceived(call, data[PREFIX_BYTES:]))
                    messages += 1
                elif data and self._put_together(call, data, told) and fault is None:
                    fault = self._count_fragment(now)
                if ended:
                    self._half_closed(call, told)
            else:
                self._tell(event, told)
        self._tally.messages_in += messages
        if fault is not None:
            told += self._told(self._connection.close(fault.code, fault.detail), now)
        return told

    def _tell(
        self,
        event: StreamOpened | TrailersReceived | StreamReset | PendingSent | ConnectionEnded,
        told: list[CallEvent],
    ) -> None:
        """All but data."""
        match event:
            case StreamOpened(stream, headers, ended):
                call = _call(stream)
                self._opened(call, headers, told)
                if ended:
                    self._half_closed(call, told)
            case TrailersReceived(stream):
                # In gRPC clients have no trailers; what they say with them is that they are done.
                self._half_closed(_call(stream), told)
            case StreamReset(stream, code):
                self._lost(_call(stream), code, told)
            case PendingSent(stream):
                call = _call(stream)
                if call.is_live:
                    told.append(MessageSent(call))
                else:
                    self._let_go(call)
            case ConnectionEnded():
                told.append(event)
            case _:
                assert_never(event)

    def _opened(self, call: Call, headers: Headers, told: list[CallEvent]) -> None:
        if headers is not self._headers:
            self._headers = headers
            self._request = read_request(headers, self._methods)
        request = self._request
        if isinstance(request, Refusal):
            self._connection.guard.reply_queued()
            self._connection.send_headers(call, request.headers, end=True)
            self._let_go(call)
        else:
            call.is_live = True
            call.is_encoded = request.is_encoded
            told.append(CallOpened(call, request.path, request.timeout_s))

    def _put_together(self, call: Call, data: bytes, told: list[CallEvent]) -> bool:
        """Make messages of a call's data. Whether that was a lot of trouble for little."""
        if not call.is_live:
            return len(data) < FRAGMENT_BYTES
        told_before = len(told)
        fault = None
        try:
            self._messages.add(call, data, told)
        except CallFault as caught:
            fault = caught
        finished = len(told) - told_before
        self._tally.messages_in += finished
        if fault is not None:
            self._refuse(call, fault, told)
        return not finished and len(data) < FRAGMENT_BYTES

    def _count_fragment(self, now: float) -> ConnectionFault | None:
        try:
            self._connection.guard.fragment(now)
        except ConnectionFault as fault:
            return fault
        return None

    def _half_closed(self, call: Call, told: list[CallEvent]) -> None:
        if not call.is_live:
            return
        if call.begun is None:
            told.append(HalfClosed(call))
        else:
            self._refuse(call, CallFault(Status.INTERNAL, "the peer ended its side inside a message"), told)

    def _lost(self, call: Call, code: ErrorCode | int, told: list[CallEvent]) -> None:
        if call.is_live:
            call.is_live = False
            self._messages.forget(call)
            told.append(CallReset(call, code))

    # ------------------------------------------------------------------------------------ ends

    def _refuse(self, call: Call, fault: CallFault, told: list[CallEvent]) -> None:
        """End a live call because of what the peer did on it."""
        self._lost(call, ErrorCode.PROTOCOL_ERROR, told)
        self._connection.guard.reply_queued()
        self._end(call, fault.status, fault.message, fault.extra)

    def _end(self, call: Call, status: Status, message: str, extra: Headers = ()) -> None:
        if call.answered:
            self._connection.send_trailers(call, trailers(status, message) + extra)
        else:
            self._connection.send_headers(call, trailers_only(status, message) + extra, end=True)
        self._let_go(call)

    def _let_go(self, call: Call) -> None:
        """After our end: nothing more is wanted of the peer. If it has ended its side, the stream is gone already."""
        if call.local_closed:
            self._connection.reset(call, ErrorCode.NO_ERROR)


def _call(stream: Stream) -> Call:
    assert isinstance(stream, Call), "the connection makes its streams of Call"
    return stream
