"""The sending side of a connection: what we say, in order, and never more than the peer's windows allow.

Rules of this file (RFC 9113, sections 5.2 and 6.9):

- What fits goes out at once. What doesn't waits on its stream, and nothing of that stream overtakes it.
- A stream whose own window is closed waits for its own window alone. Those that wait for the connection's take turns, a
  frame each.
- A window may be negative, after the peer has lowered its initial one; it has to come back above zero first.
- Header blocks are encoded in the order in which they go out, because each may change the table for those that follow.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from epp.extproc.http2.codes import (
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW_BYTES,
    MAX_FRAME_SIZE,
    ConnectionFault,
    ErrorCode,
    StreamFault,
)
from epp.extproc.http2.frames import SETTINGS_ACK, frame_head
from epp.extproc.http2.headers import HeaderWriter
from epp.extproc.http2.limits import FRAGMENT_BYTES
from epp.extproc.http2.settings import PeerSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from epp.extproc.http2.events import Headers
    from epp.extproc.http2.guard import Guard
    from epp.extproc.http2.stream import Stream

_COPIED_BYTES: Final = 4096
"""Up to this, joining parts is cheaper than handing them on one by one."""


class Sender:
    """Of one connection. `out` is what is to be written."""

    __slots__ = ("_guard", "_now", "_waiting", "_writer", "out", "peer", "window")

    def __init__(self, guard: Guard, *, table_bytes: int, now: float) -> None:
        self._guard = guard
        self._writer = HeaderWriter(table_bytes)
        self._waiting: OrderedDict[Stream, None] = OrderedDict()
        """Streams with an open window that wait for the connection's."""
        self._now = now
        self.peer = PeerSettings()
        self.window = DEFAULT_WINDOW_BYTES
        """Of the connection."""
        self.out: list[bytes | memoryview] = []

    def at(self, now: float) -> None:
        """It is `now`."""
        self._now = now

    # ------------------------------------------------------------------------------ what we say

    def send_headers(self, stream: Stream, headers: Headers, *, ends: bool) -> None:
        """A header block. Nothing may wait on the stream."""
        stream.answered = True
        block = self._writer.write(headers)
        flags = END_STREAM if ends else 0
        largest = self.peer.max_frame_bytes
        if len(block) <= largest:
            self.out.append(frame_head(HEADERS, flags | END_HEADERS, stream.id, size=len(block)) + block)
        else:
            kind = HEADERS
            for start in range(0, len(block), largest):
                part = block[start : start + largest]
                if start + largest >= len(block):
                    flags |= END_HEADERS
                self.out.append(frame_head(kind, flags, stream.id, size=len(part)) + part)
                kind, flags = CONTINUATION, 0
        if ends:
            stream.local_closed = True

    def send_data(self, stream: Stream, parts: tuple[bytes, ...], size: int) -> None:
        """The parts, `size` bytes in all, as one after the other."""
        if (
            stream.pending is None
            and size <= stream.send_window
            and size <= self.window
            and size <= self.peer.max_frame_bytes
        ):
            stream.send_window -= size
            self.window -= size
            head = frame_head(DATA, 0, stream.id, size=size)
            if size <= _COPIED_BYTES:
                self.out.append(head + b"".join(parts))
            else:
                self.out.append(head)
                self.out.extend(parts)
            self._guard.data_sent()
            return
        if not size:
            return
        if stream.pending is None:
            stream.pending = deque()
            stream.stalled_s = self._now
        stream.pending.extend(memoryview(part) for part in parts if part)
        # While the connection's window is open nobody else waits for it.
        while stream.send_window > 0 and self.window > 0:
            if self._send_frame(stream):
                return
        self._line_up(stream)

    def send_trailers(self, stream: Stream, headers: Headers) -> None:
        """The end of our side, after what waits."""
        if stream.pending is None:
            self.send_headers(stream, headers, ends=True)
        else:
            stream.pending_end = headers

    def forget(self, stream: Stream) -> None:
        """Nothing more is sent on the stream."""
        stream.pending = stream.pending_end = stream.stalled_s = None
        self._waiting.pop(stream, None)

    # ------------------------------------------------------------------------- what the peer says

    # Each gives the streams of which everything that waited has gone.

    def settings(self, settings: Iterable[tuple[int, int]], streams: Collection[Stream]) -> Sequence[Stream]:
        """The peer's SETTINGS, in their order. Raises ConnectionFault where a window gets too large.

        They are acknowledged once they hold, and before anything that only they allow: until then the peer may go by
        the old ones (section 6.5.3).
        """
        windows = []
        for setting, value in settings:
            if setting == INITIAL_WINDOW_SIZE:
                windows.append(value)
            elif setting == MAX_FRAME_SIZE:
                self.peer.max_frame_bytes = value
            elif setting == HEADER_TABLE_SIZE:
                self._writer.resize(value)
        if windows:
            self._resize_windows(windows, streams)
        self._guard.reply_queued()
        self.out.append(SETTINGS_ACK)
        return self._take_turns()

    def widen(self, increment: int) -> Sequence[Stream]:
        """WINDOW_UPDATE of the connection. Raises ConnectionFault."""
        self.window += increment
        if self.window > LARGEST_WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is over 2^31-1")
        return self._take_turns()

    def widen_stream(self, stream: Stream, increment: int) -> Sequence[Stream]:
        """WINDOW_UPDATE of a stream. Raises StreamFault."""
        stream.send_window += increment
        if stream.send_window > LARGEST_WINDOW_BYTES:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window is over 2^31-1")
        if stream.pending is None:
            return ()
        self._line_up(stream)
        return self._take_turns()

    # ---------------------------------------------------------------------------------- helpers

    def _resize_windows(self, initial: Sequence[int], streams: Iterable[Stream]) -> None:
        """Section 6.9.2: the difference holds for every open stream. One pass, however often a frame changes it."""
        before = self.peer.initial_window_bytes
        widest, delta = max(initial) - before, initial[-1] - before
        for stream in streams:
            if stream.send_window + widest > LARGEST_WINDOW_BYTES:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR,
                    f"INITIAL_WINDOW_SIZE of {max(initial)} is too much for a stream",
                )
            stream.send_window += delta
            if stream.pending is not None:
                self._line_up(stream)
        self.peer.initial_window_bytes = initial[-1]

    def _line_up(self, stream: Stream) -> None:
        """Let a stream with something to send wait for its turn, if it has a window of its own."""
        if stream.send_window > 0:
            self._waiting[stream] = None
        else:
            self._waiting.pop(stream, None)

    def _take_turns(self) -> Sequence[Stream]:
        waiting = self._waiting
        if not waiting:
            return ()
        done = []
        while waiting and self.window > 0:
            stream, _ = waiting.popitem(last=False)
            if self._send_frame(stream):
                done.append(stream)
            elif stream.send_window > 0:
                waiting[stream] = None
        return done

    def _send_frame(self, stream: Stream) -> bool:
        """Send as much of what waits as one frame takes. Whether that was all."""
        pending = stream.pending
        assert pending is not None
        room = size = min(stream.send_window, self.window, self.peer.max_frame_bytes)
        parts: list[bytes | memoryview] = []
        while pending and room:
            part = pending.popleft()
            if len(part) > room:
                pending.appendleft(part[room:])
                part = part[:room]
            room -= len(part)
            parts.append(part)
        size -= room
        stream.send_window -= size
        self.window -= size
        stream.stalled_s = self._now
        self.out.append(frame_head(DATA, 0, stream.id, size=size))
        self.out.extend(parts)
        if pending:
            # Whoever opens windows by the byte earns nothing by it.
            if size >= FRAGMENT_BYTES:
                self._guard.data_sent()
            return False
        self._guard.data_sent()
        stream.pending = stream.stalled_s = None
        if stream.pending_end is not None:
            trailers, stream.pending_end = stream.pending_end, None
            self.send_headers(stream, trailers, ends=True)
        return True
