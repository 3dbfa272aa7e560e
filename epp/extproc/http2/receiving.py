"""What the peer sends on a connection, judged by what was before it: frames become events, or faults.

Every frame is judged by the state of its stream (RFC 9113, section 5.1):

    id                      DATA          HEADERS         RST_STREAM   WINDOW_UPDATE   PRIORITY, unknown
    never opened            connection    opens           connection   connection      ignored
    open                    passed on     trailers        ends it      widens          ignored
    half-closed by peer     stream        stream          ends it      widens          ignored
    reset by us             ignored       ignored         ignored      ignored         ignored
    reset by the peer       stream        connection      ignored      ignored         ignored
    ended on both sides     stream        connection      ignored      ignored         ignored

"stream" is a stream error, "connection" one of the connection: STREAM_CLOSED, or PROTOCOL_ERROR for what was never
opened. After our last GOAWAY what was never opened is ignored, too.

Header blocks are decoded whatever becomes of their stream, and DATA always counts for the connection's window. That
window is given back as data comes; a stream's, too, unless it is withheld. There are no priorities (section 5.3.2) and
no push (8.4): we never announce either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from epp.extproc.http2 import codes, frames
from epp.extproc.http2.codes import ConnectionFault, ErrorCode, StreamFault
from epp.extproc.http2.events import DataReceived, PendingSent, StreamOpened, StreamReset, TrailersReceived
from epp.extproc.http2.guard import Offence
from epp.extproc.http2.headers import HeaderReader, trailers_problem
from epp.extproc.http2.incoming import FrameReader, unpadded
from epp.extproc.http2.limits import FRAGMENT_BYTES
from epp.extproc.http2.settings import read_settings
from epp.extproc.http2.stream import Stream
from epp.extproc.http2.streams import End, Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epp.extproc.http2.events import Event, Headers
    from epp.extproc.http2.guard import Guard
    from epp.extproc.http2.headers import Block
    from epp.extproc.http2.limits import Limits
    from epp.extproc.http2.sending import Sender

S = TypeVar("S", bound=Stream)


class Receiver(Generic[S]):
    """Of one connection."""

    def __init__(self, limits: Limits, guard: Guard, *, sender: Sender, new_stream: Callable[..., S]) -> None:
        self.streams: Streams[S] = Streams()
        self.pongs: set[bytes] = set()
        """PINGs of ours that have been answered, by their payload. To be emptied by whoever sent them."""
        self.ignores_new = False
        """The peer has been told which streams are served."""
        self._limits = limits
        self._guard = guard
        self._tally = guard.tally
        self._sender = sender
        self._new_stream = new_stream
        self._now = 0.0
        self._events: list[Event] = []
        self._frames = FrameReader(limits, guard)
        self._headers = HeaderReader(
            guard, max_list_bytes=limits.max_header_list_bytes, table_bytes=limits.header_table_bytes
        )
        self._receive_window = limits.connection_window_bytes
        self._taken_bytes = 0

    @property
    def is_greeted(self) -> bool:
        """The peer's preface and its SETTINGS have come."""
        return self._frames.is_greeted

    def read(self, data: bytes, now: float, events: list[Event]) -> None:
        """What came, cut as it may be; what happened is added to `events`. Raises ConnectionFault."""
        self._now = now
        self._events = events
        on_data = self._on_data
        try:
            for kind, flags, stream_id, payload in self._frames.read(data, now):
                try:
                    if kind == codes.DATA:
                        on_data(flags, stream_id, payload)
                    else:
                        _HANDLERS[kind](self, flags, stream_id, payload)
                except StreamFault as fault:
                    self.fail(stream_id, fault.code)
        finally:
            self._events = []

    # ---------------------------------------------------------------------------------- frames

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        # Whatever becomes of it, it counts for the connection.
        self._receive_window -= size
        if self._receive_window < 0:
            raise self._guard.offended(
                Offence.WINDOW_OVERFLOW,
                "more data than the connection's window",
                ErrorCode.FLOW_CONTROL_ERROR,
            )
        self._taken_bytes += size
        if self._taken_bytes * 2 >= self._limits.connection_window_bytes:
            self._sender.out.append(frames.window_update(0, self._taken_bytes))
            self._receive_window += self._taken_bytes
            self._taken_bytes = 0
        stream = self.streams.open.get(stream_id)
        if stream is None:
            self._on_late_data(stream_id, size)
            return
        if stream.remote_closed:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "data after the end")
        stream.receive_window -= size
        if stream.receive_window < 0:
            self._tally.offended(Offence.WINDOW_OVERFLOW)
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window")
        if flags & codes.PADDED:
            payload = unpadded(payload)
        ends = bool(flags & codes.END_STREAM)
        self.streams.has_come(stream_id, len(payload), ends=ends)
        if ends:
            stream.remote_closed = True
        elif payload:
            stream.taken_bytes += size
            if stream.taken_bytes * 2 >= self._limits.stream_window_bytes and not stream.withheld:
                self.give_back(stream)
        else:
            stream.taken_bytes += size
            self._guard.empty_frame(self._now)
        self._events.append(DataReceived(stream, payload, ends))
        if ends:
            self.close_if_done(stream)

    def _on_late_data(self, stream_id: int, size: int) -> None:
        """DATA on a stream that isn't open."""
        if self._is_past(stream_id, "DATA") and self.streams.end_of(stream_id) is not End.RESET_BY_US:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "data on a stream that has ended")
        if size < FRAGMENT_BYTES:
            self._guard.fragment(self._now)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """A whole header block: a request's, or trailers."""
        # Before anything else: the table has to follow, whatever becomes of the stream.
        block = self._headers.read(payload)
        ends = bool(flags & codes.END_STREAM)
        stream = self.streams.open.get(stream_id)
        if stream is not None:
            if stream.remote_closed:
                raise StreamFault(ErrorCode.STREAM_CLOSED, "headers after the end")
            if not ends:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers that don't end the stream")
            self._check_trailers(block)
            self.streams.has_come(stream_id, 0, ends=True)
            stream.remote_closed = True
            self._events.append(TrailersReceived(stream, block.headers))
            self.close_if_done(stream)
        elif not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client opened a stream with an even id")
        elif stream_id <= self.streams.last_id:
            end = self.streams.end_of(stream_id)
            if end is not End.RESET_BY_US:
                code = ErrorCode.PROTOCOL_ERROR if end is End.UNKNOWN else ErrorCode.STREAM_CLOSED
                raise ConnectionFault(code, "headers on a stream that has ended")
        elif not self.ignores_new:
            self.streams.last_id = stream_id
            refusal = self._refusal(block)
            if refusal is not None:
                # The others are counted for what they are, and may come from gateways that mean well.
                if refusal is ErrorCode.PROTOCOL_ERROR:
                    self._guard.late_reset(self._now)
                self.fail(stream_id, refusal)
            else:
                self._open(stream_id, block.headers, ends=ends)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        if len(payload) != 5:
            # A stream error; but a stream that was never opened can't be reset.
            fault = StreamFault if stream_id <= self.streams.last_id else ConnectionFault
            raise fault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a length that isn't 5")
        self._guard.empty_frame(self._now)

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        stream = self.streams.open.get(stream_id)
        if stream is None:
            # A peer may reset before it has heard that the stream has ended. Once.
            if self._is_past(stream_id, "RST_STREAM"):
                if self.streams.end_of(stream_id) in {End.RESET_BY_PEER, End.UNKNOWN}:
                    self._guard.late_reset(self._now)
                self.streams.remember(stream_id, End.RESET_BY_PEER)
            return
        self._tally.resets_received += 1
        self._guard.reset(stream, self._now)
        self.forget(stream, End.RESET_BY_PEER)
        self._events.append(StreamReset(stream, _named(int.from_bytes(payload, "big"))))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        del stream_id
        if flags & codes.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            self._guard.empty_frame(self._now)
            self._headers.allow_table(self._limits.header_table_bytes)
            return
        self._guard.settings(self._now)
        self._sent(self._sender.settings(read_settings(payload), self.streams.open.values()))

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        del stream_id
        if flags & codes.ACK:
            self._guard.empty_frame(self._now)
            self.pongs.add(payload)
            return
        self._tally.pings_received += 1
        self._guard.ping(self._now)
        self._guard.reply_queued()
        self._sender.out.append(frames.ping_ack(payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        """The peer will open no more streams, or says that it will; those that there are go on."""
        del flags, stream_id
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of less than 8 bytes")
        self._guard.empty_frame(self._now)

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        self._guard.window_update(self._now)
        increment = int.from_bytes(payload, "big") & codes.LARGEST_WINDOW_BYTES
        if not stream_id:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self._sent(self._sender.widen(increment))
            return
        stream = self.streams.open.get(stream_id)
        if stream is None:
            self._is_past(stream_id, "WINDOW_UPDATE")
            return
        if not increment:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        self._sent(self._sender.widen_stream(stream, increment))

    # ------------------------------------------------------------------------ streams that begin

    def _refusal(self, block: Block) -> ErrorCode | None:
        """Why a request is not for us to serve; None if it is."""
        if block.is_too_large:
            self._tally.offended(Offence.HEADER_LIST)
            return ErrorCode.ENHANCE_YOUR_CALM
        if block.problem:
            return ErrorCode.PROTOCOL_ERROR
        if len(self.streams.open) >= self._limits.max_streams:
            self._tally.offended(Offence.STREAMS)
            return ErrorCode.REFUSED_STREAM
        return None

    def _check_trailers(self, block: Block) -> None:
        """Raises StreamFault where they can't be trailers."""
        if block.is_too_large:
            self._tally.offended(Offence.HEADER_LIST)
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, "trailers that are too large")
        if problem := trailers_problem(block.headers):
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, problem)

    def _open(self, stream_id: int, headers: Headers, *, ends: bool) -> None:
        self.streams.announce_length(stream_id, headers)
        self.streams.has_come(stream_id, 0, ends=ends)
        stream = self._new_stream(
            stream_id,
            send_window=self._sender.peer.initial_window_bytes,
            receive_window=self._limits.stream_window_bytes,
            now=self._now,
        )
        self._tally.streams_opened += 1
        self.streams.add(stream)
        stream.remote_closed = ends
        self._events.append(StreamOpened(stream, headers, ends))

    # -------------------------------------------------------------------------- streams that end

    def _is_past(self, stream_id: int, what: str) -> bool:
        """Whether a stream that isn't open has been; False if it is one that we ignore. Raises ConnectionFault."""
        if stream_id <= self.streams.last_id and stream_id & 1:
            return True
        if stream_id & 1 and self.ignores_new:
            return False
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on a stream that was never opened")

    def give_back(self, stream: S) -> None:
        """Let the peer send on this stream as much again as has come."""
        self._sender.out.append(frames.window_update(stream.id, stream.taken_bytes))
        stream.receive_window += stream.taken_bytes
        stream.taken_bytes = 0

    def _sent(self, streams: Sequence[Stream]) -> None:
        """Everything that waited on these has gone."""
        for each in streams:
            stream = self.streams.open[each.id]
            self._events.append(PendingSent(stream))
            self.close_if_done(stream)

    def close_if_done(self, stream: S) -> None:
        """Forget the stream if both sides have ended."""
        if stream.local_closed and stream.remote_closed:
            self.forget(stream, End.BOTH_SIDES)

    def fail(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream because of what the peer did."""
        self._guard.reply_queued()
        self._tally.resets_sent += 1
        self._sender.out.append(frames.rst_stream(stream_id, code))
        stream = self.streams.open.get(stream_id)
        if stream is not None:
            # A peer can make us reset as well as reset by itself: it costs the same.
            self._guard.reset(stream, self._now)
            self.forget(stream, End.RESET_BY_US)
            self._events.append(StreamReset(stream, code))
        elif stream_id <= self.streams.last_id:
            self.streams.remember(stream_id, End.RESET_BY_US)

    def forget(self, stream: S, end: End) -> None:
        """It is gone."""
        if stream.pending is not None:
            self._sender.forget(stream)
        self.streams.drop(stream, end)
        self._tally.streams_ended += 1


def _named(code: int) -> ErrorCode | int:
    try:
        return ErrorCode(code)
    except ValueError:
        return code


_HANDLERS: Final[dict[int, Callable[[Receiver[Any], int, int, bytes], None]]] = {
    codes.HEADERS: Receiver._on_headers,
    codes.PRIORITY: Receiver._on_priority,
    codes.RST_STREAM: Receiver._on_rst_stream,
    codes.SETTINGS: Receiver._on_settings,
    codes.PING: Receiver._on_ping,
    codes.GOAWAY: Receiver._on_goaway,
    codes.WINDOW_UPDATE: Receiver._on_window_update,
}
"""All but DATA, which comes more often than all others."""
