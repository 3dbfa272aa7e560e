"""A server's side of one HTTP/2 connection (RFC 9113): bytes in, events out; commands in, bytes out. No I/O, no clock.

Rules of this file:

- Nothing raises for what a peer sends. What ends a stream gives RST_STREAM and a `StreamReset`; what ends the
  connection gives GOAWAY, a `StreamReset` for each stream, and `ConnectionEnded` as the last event there is.
- Commands for a stream that is gone do nothing: events of one read may come after their stream's end.
- Going away takes two steps (section 6.8): the first asks the peer to open no more streams, the second, once it has
  heard that, says which ones are served. Streams that were on their way between the two are served.

How frames are judged stands in `receiving`, how windows are kept in `sending`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from epp.extproc.http2 import codes, frames
from epp.extproc.http2.codes import ConnectionFault, ErrorCode
from epp.extproc.http2.events import ConnectionEnded, StreamReset
from epp.extproc.http2.guard import Guard, Offence
from epp.extproc.http2.receiving import Receiver
from epp.extproc.http2.sending import Sender
from epp.extproc.http2.settings import announced
from epp.extproc.http2.stream import Stream
from epp.extproc.http2.streams import End

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.extproc.http2.events import Event, Headers
    from epp.extproc.http2.guard import Tally
    from epp.extproc.http2.limits import Limits

S = TypeVar("S", bound=Stream)

_OUR_PING: Final = b"epp-ping"
_SHUTDOWN_PING: Final = b"epp-bye!"


class _Shutdown(Enum):
    """How far we are with going away (section 6.8)."""

    NO = "no"
    ANNOUNCED = "announced"
    """Streams that the peer opened before it heard of it are still served."""
    FINAL = "final"
    """It knows which streams are served; others are ignored."""


class Connection(Generic[S]):
    """One connection, from its preface on."""

    def __init__(self, limits: Limits, *, tally: Tally, new_stream: Callable[..., S], now: float) -> None:
        """`new_stream` is called with an id, and `send_window`, `receive_window` and `now` by name."""
        self.guard = Guard(limits, tally, now=now)
        """Whoever stands above tells it what only shows there."""
        self.last_heard_s = now
        self.is_ping_unanswered = False
        self._limits = limits
        self._tally = tally
        self._sender = Sender(self.guard, table_bytes=limits.header_table_bytes, now=now)
        self._receiver: Receiver[S] = Receiver(limits, self.guard, sender=self._sender, new_stream=new_stream)
        self.streams = self._receiver.streams.open
        """Those that are open, by id."""
        self._shutdown = _Shutdown.NO
        self._has_ended = False
        out = self._sender.out
        out.append(frames.settings(announced(limits)))
        if limits.connection_window_bytes > codes.DEFAULT_WINDOW_BYTES:
            out.append(frames.window_update(0, limits.connection_window_bytes - codes.DEFAULT_WINDOW_BYTES))

    @property
    def is_greeted(self) -> bool:
        """The peer's preface and its SETTINGS have come."""
        return self._receiver.is_greeted

    @property
    def is_over(self) -> bool:
        """Nothing more comes of it once what `take` gives has been written."""
        return self._has_ended or (self._shutdown is _Shutdown.FINAL and not self.streams)

    # --------------------------------------------------------------------------- from the peer

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What came from the peer, cut as it may be; gives what happened."""
        events: list[Event] = []
        if self._has_ended:
            return events
        self.last_heard_s = now
        self._sender.at(now)
        try:
            self.guard.reading()
            self._receiver.read(data, now, events)
        except ConnectionFault as fault:
            self._end(fault.code, fault.detail, events)
        else:
            if self._receiver.pongs:
                self._answered()
        return events

    def tick(self, now: float) -> list[Event]:
        """To be called every few seconds while streams are open: ends those that have waited too long for a window."""
        self._sender.at(now)
        stall_s = self._limits.stall_s
        if not stall_s:
            return []
        stalled = [
            stream
            for stream in self.streams.values()
            if stream.stalled_s is not None and now - stream.stalled_s >= stall_s
        ]
        for stream in stalled:
            self._tally.offended(Offence.STALLED)
            self.reset(stream, ErrorCode.ENHANCE_YOUR_CALM)
        return [StreamReset(stream, ErrorCode.ENHANCE_YOUR_CALM) for stream in stalled]

    # -------------------------------------------------------------------------------- commands

    def take(self) -> list[bytes | memoryview]:
        """What is to be written now, in order. It is the caller's."""
        sender = self._sender
        out, sender.out = sender.out, []
        return out

    def note_written(self) -> None:
        """Everything taken so far has left us: the peer reads."""
        self.guard.replies_written()

    def send_headers(self, stream: S, headers: Headers, *, end: bool = False) -> None:
        """The response's headers; with `end`, all there is."""
        if not stream.local_closed:
            self._sender.send_headers(stream, headers, ends=end)
            if end:
                self._receiver.close_if_done(stream)

    def send_data(self, stream: S, *parts: bytes) -> None:
        """A piece of the response. If `stream.pending` isn't None afterwards, some waits for the peer's windows."""
        if not stream.local_closed and stream.pending_end is None:
            self._sender.send_data(stream, parts, sum(map(len, parts)))

    def send_trailers(self, stream: S, headers: Headers) -> None:
        """End our side, once what waits has gone."""
        if not stream.local_closed and stream.pending_end is None:
            self._sender.send_trailers(stream, headers)
            self._receiver.close_if_done(stream)

    def reset(self, stream: S, code: ErrorCode) -> None:
        """End a stream. There is no event for it."""
        if self.streams.get(stream.id) is stream:
            self._receiver.forget(stream, End.RESET_BY_US)
            self._tally.resets_sent += 1
            self._sender.out.append(frames.rst_stream(stream.id, code))

    def withhold(self, stream: S) -> None:
        """Let the peer send no more on this stream than its window has left."""
        stream.withheld = True

    def release(self, stream: S) -> None:
        """Let it go on."""
        if stream.withheld:
            stream.withheld = False
            if stream.taken_bytes and not stream.remote_closed and stream.id in self.streams:
                self._receiver.give_back(stream)

    def ping(self) -> None:
        """Ask whether the peer is there. Its answer clears `is_ping_unanswered`."""
        if self.is_over:
            return
        self.is_ping_unanswered = True
        self._sender.out.append(frames.ping(_OUR_PING))

    def announce_shutdown(self) -> None:
        """Ask the peer to open no more streams here. Those that are already on their way are served."""
        if self._shutdown is _Shutdown.NO and not self.is_over:
            self._shutdown = _Shutdown.ANNOUNCED
            self._sender.out.append(frames.goaway(codes.LAST_STREAM_ID, ErrorCode.NO_ERROR, "shutting down"))
            self._sender.out.append(frames.ping(_SHUTDOWN_PING))

    def finish_shutdown(self) -> None:
        """Open no stream any more. Done by itself when the peer has answered the announcement."""
        if self._shutdown is not _Shutdown.FINAL and not self.is_over:
            self._shutdown = _Shutdown.FINAL
            self._receiver.ignores_new = True
            last_id = self._receiver.streams.last_id
            self._sender.out.append(frames.goaway(last_id, ErrorCode.NO_ERROR, "shutting down"))

    def close(self, code: ErrorCode, detail: str) -> list[Event]:
        """End the connection; gives the ends of its streams."""
        events: list[Event] = []
        if not self._has_ended:
            self._end(code, detail, events)
        return events

    # ---------------------------------------------------------------------------------- helpers

    def _answered(self) -> None:
        """PINGs of ours have come back."""
        pongs = self._receiver.pongs
        self.is_ping_unanswered = False
        if _SHUTDOWN_PING in pongs and self._shutdown is _Shutdown.ANNOUNCED:
            self.finish_shutdown()
        pongs.clear()

    def _end(self, code: ErrorCode, detail: str, events: list[Event]) -> None:
        """The end of the connection."""
        for stream in list(self.streams.values()):
            self._receiver.forget(stream, End.RESET_BY_US)
            events.append(StreamReset(stream, code))
        self._has_ended = True
        self._sender.out.append(frames.goaway(self._receiver.streams.last_id, code, detail))
        events.append(ConnectionEnded(code, detail))
