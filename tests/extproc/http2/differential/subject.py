"""Our own server, told and asked like the reference: whatever is cut, and wherever, goes to it as it is cut."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.connection import Connection
from epp.extproc.http2.events import (
    ConnectionEnded,
    DataReceived,
    Event,
    PendingSent,
    StreamOpened,
    StreamReset,
    TrailersReceived,
)
from epp.extproc.http2.guard import Tally
from epp.extproc.http2.limits import Limits
from epp.extproc.http2.stream import Stream
from tests.extproc.http2.differential.observed import Output, Standing, StreamState, Word
from tests.extproc.http2.differential.steps import Fields

_NOW_S = 100.0


class Subject:
    """A server on the engine under test."""

    def __init__(self, limits: Limits, pieces: Iterable[int] = ()) -> None:
        """It reads in pieces of these sizes, and then whatever there is."""
        self.connection: Connection[Stream] = Connection(limits, tally=Tally(), new_stream=Stream, now=_NOW_S)
        self._pieces = chain(pieces, repeat(1 << 30))
        self._piece = next(self._pieces)
        self._unread = b""
        self._streams: dict[int, Stream] = {}
        self.words: list[Word] = []
        self.output = Output()
        self._send()

    def receive(self, data: bytes) -> None:
        """More bytes, of which the last may stay unread until `catch_up`."""
        self._unread += data
        while len(self._unread) >= self._piece:
            piece, self._unread = self._unread[: self._piece], self._unread[self._piece :]
            self._piece = next(self._pieces)
            self._read(piece)

    def catch_up(self) -> None:
        """Read the rest."""
        if self._unread:
            piece, self._unread = self._unread, b""
            self._read(piece)

    def standing(self) -> Standing:
        """How the connection stands."""
        streams = tuple(
            StreamState(
                number,
                not stream.remote_closed,
                not stream.local_closed,
                None if stream.local_closed else stream.send_window,
            )
            for number, stream in sorted(self.connection.streams.items())
        )
        return Standing(streams, self.connection._sender.window)

    # --------------------------------------------------------------------------- what it is told

    def respond(self, stream: int, fields: Fields, *, ends: bool = False) -> None:
        """Send headers."""
        self.connection.send_headers(self._streams[stream], fields, end=ends)
        self._send()

    def send(self, stream: int, data: bytes) -> None:
        """Send a piece of the body."""
        self.connection.send_data(self._streams[stream], data)
        self._send()

    def finish(self, stream: int, fields: Fields) -> None:
        """Send trailers, after what waits."""
        self.connection.send_trailers(self._streams[stream], fields)
        self._send()

    def reset(self, stream: int, code: int) -> None:
        """Reset the stream."""
        self.connection.reset(self._streams[stream], ErrorCode(code))
        self._send()

    def withhold(self, stream: int) -> None:
        """Give nothing more back to the stream's window."""
        self.connection.withhold(self._streams[stream])

    # ---------------------------------------------------------------------------------- helpers

    def _read(self, piece: bytes) -> None:
        for event in self.connection.receive(piece, _NOW_S):
            self._note(event)
        self._send()

    def _note(self, event: Event) -> None:
        match event:
            case StreamOpened(stream, headers, ended):
                self._streams[stream.id] = stream
                self.words.append(("opened", stream.id, tuple(headers)))
                if ended:
                    self.words.append(("ended", stream.id))
            case DataReceived(stream, data, ended):
                self.words.append(("data", stream.id, bytes(data)))
                if ended:
                    self.words.append(("ended", stream.id))
            case TrailersReceived(stream, headers):
                self.words.append(("trailers", stream.id, tuple(headers)))
                self.words.append(("ended", stream.id))
            case StreamReset(stream, code):
                self.words.append(("reset", stream.id, int(code)))
            case ConnectionEnded(code):
                self._drop_farewells(int(code))
                self.words.append(("over", int(code)))
            case PendingSent():
                pass

    def _drop_farewells(self, code: int) -> None:
        """The ends of the streams that end with their connection, of which the reference says nothing."""
        self._send()
        assert not self.connection.streams
        while self.words and self.words[-1][0::2] == ("reset", code):
            if self.words[-1] in self.output.replies:
                return
            self._streams.pop(self.words.pop()[1])  # type: ignore[call-overload]  # a word's parts are objects

    def _send(self) -> None:
        self.output.read(b"".join(self.connection.take()))
        self.connection.note_written()
