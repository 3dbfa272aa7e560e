"""What two servers can be compared by: what they say has happened, and what they send, in words of our own."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from hpack import Decoder

from tests.extproc.http2.frames_by_hand import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    split,
)

Word = tuple[object, ...]
"""What has happened: its name, the stream and the rest."""


class StreamState(NamedTuple):
    """How a stream stands that isn't closed."""

    id: int
    is_open_to_peer: bool
    is_open_to_us: bool
    send_window: int | None
    """None where it no longer matters."""


class Standing(NamedTuple):
    """How a connection stands."""

    streams: tuple[StreamState, ...] = ()
    send_window: int = 0


class Output:
    """Reads what a server sends."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._decoder.max_allowed_table_size = 1 << 16
        self._block: tuple[int, bytes, bool] | None = None
        self.replies: list[Word] = []
        """Acknowledgements, resets and the farewell, in order."""
        self.responses: defaultdict[int, list[Word]] = defaultdict(list)
        """Of each stream: headers, the body in one piece, trailers."""
        self.grants: list[tuple[int, int]] = []
        """Window updates."""

    def read(self, data: bytes) -> None:
        """Take what was sent, in whole frames."""
        for kind, flags, stream, payload in split(data):
            ends = bool(flags & END_STREAM)
            if self._block is not None:
                assert (kind, stream) == (CONTINUATION, self._block[0]), "something inside a header block"
                self._collect(
                    stream, self._block[1] + payload, self._block[2], whole=bool(flags & END_HEADERS)
                )
            elif kind == HEADERS:
                self._collect(stream, payload, ends, whole=bool(flags & END_HEADERS))
            elif kind == DATA:
                self._body(stream, payload, ends)
            elif kind == SETTINGS:
                if flags & ACK:
                    self.replies.append(("settings acknowledged",))
            elif kind == PING:
                self.replies.append(("ping answered" if flags & ACK else "ping", payload))
            elif kind == RST_STREAM:
                self.replies.append(("reset", stream, int.from_bytes(payload, "big")))
            elif kind == GOAWAY:
                self.replies.append(("farewell", int.from_bytes(payload[4:8], "big")))
            elif kind == WINDOW_UPDATE:
                self.grants.append((stream, int.from_bytes(payload, "big")))
            else:
                raise AssertionError(f"a server sent a frame of type {kind}")

    def _collect(self, stream: int, data: bytes, ends: bool, *, whole: bool) -> None:
        self._block = None if whole else (stream, data, ends)
        if whole:
            fields = tuple(
                (bytes(name), bytes(value)) for name, value in self._decoder.decode(data, raw=True)
            )
            self.responses[stream].append(("headers", fields, ends))

    def _body(self, stream: int, payload: bytes, ends: bool) -> None:
        words = self.responses[stream]
        if words and words[-1][0] == "body":
            payload = bytes(words.pop()[1]) + payload  # type: ignore[call-overload]  # a word's parts are objects
        words.append(("body", payload, ends))


def joined(words: list[Word]) -> list[Word]:
    """The same, with the pieces of a body that came one after the other in one piece, and without empty ones."""
    result: list[Word] = []
    for word in words:
        if word[0] == "data":
            _, stream, data = word
            assert isinstance(data, bytes)
            if result and result[-1][:2] == ("data", stream):
                data = result.pop()[2] + data  # type: ignore[operator]  # as above
            if data:
                result.append(("data", stream, data))
        else:
            result.append(word)
    return result
