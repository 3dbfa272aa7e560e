"""A peer that writes its frames by hand, from RFC 9113's pictures of them and nothing of the engine's own.

`Peer` feeds a `Connection` and reads what it answers: frames, header blocks, and the windows as a peer keeps them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hpack import Decoder, Encoder

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.connection import Connection
from epp.extproc.http2.events import ConnectionEnded, Event, StreamOpened, StreamReset
from epp.extproc.http2.guard import Tally
from epp.extproc.http2.limits import Limits
from epp.extproc.http2.stream import Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

LARGEST_WINDOW = 2**31 - 1

REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/some.Service/Method"),
    (b":authority", b"epp"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)
RESPONSE = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS = ((b"grpc-status", b"0"),)


class Frame(NamedTuple):
    """One frame that was read."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def numbers(self) -> tuple[int, ...]:
        """The payload as 32-bit numbers."""
        return struct.unpack(f">{len(self.payload) // 4}I", self.payload[: len(self.payload) // 4 * 4])


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Any frame at all."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def split(data: bytes) -> list[Frame]:
    """Every frame of what was written, which must be whole."""
    found = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 3], "big")
        stream = int.from_bytes(data[at + 5 : at + 9], "big")
        assert len(data) >= at + 9 + length, "a frame that isn't whole"
        found.append(Frame(data[at + 3], data[at + 4], stream, data[at + 9 : at + 9 + length]))
        at += 9 + length
    return found


def settings(*pairs: tuple[int, int]) -> bytes:
    """SETTINGS with these."""
    return frame(SETTINGS, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def settings_ack() -> bytes:
    """The peer has taken our SETTINGS."""
    return frame(SETTINGS, flags=ACK)


def padded(payload: bytes, padding: int | None) -> bytes:
    """A payload with its padding, if any."""
    return payload if padding is None else bytes((padding,)) + payload + bytes(padding)


def headers(
    stream: int,
    block: bytes,
    *,
    end: bool = False,
    whole: bool = True,
    padding: int | None = None,
    priority: bool = False,
) -> bytes:
    """HEADERS; `whole` is END_HEADERS."""
    flags = END_STREAM * end | END_HEADERS * whole | PADDED * (padding is not None) | PRIORITIZED * priority
    return frame(
        HEADERS, padded(priority * struct.pack(">IB", 0, 15) + block, padding), flags=flags, stream=stream
    )


def continuation(stream: int, block: bytes, *, whole: bool = True) -> bytes:
    """The next piece of a header block."""
    return frame(CONTINUATION, block, flags=END_HEADERS * whole, stream=stream)


def data(stream: int, body: bytes = b"", *, end: bool = False, padding: int | None = None) -> bytes:
    """DATA."""
    flags = END_STREAM * end | PADDED * (padding is not None)
    return frame(DATA, padded(body, padding), flags=flags, stream=stream)


def rst_stream(stream: int, code: int = ErrorCode.CANCEL) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, struct.pack(">I", code), stream=stream)


def window_update(stream: int, more: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, struct.pack(">I", more), stream=stream)


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    """PING."""
    return frame(PING, payload, flags=ACK * ack)


def goaway(last: int = 0, code: int = 0, detail: bytes = b"") -> bytes:
    """GOAWAY."""
    return frame(GOAWAY, struct.pack(">II", last, code) + detail)


class Peer:
    """A client at one end of a connection of the engine's."""

    def __init__(
        self,
        *announced: tuple[int, int],
        limits: Limits | None = None,
        greets: bool = True,
        acknowledges: bool = True,
    ) -> None:
        self.now = 100.0
        self.tally = Tally()
        self.limits = limits or Limits()
        self.connection: Connection[Stream] = Connection(
            self.limits, tally=self.tally, new_stream=Stream, now=self.now
        )
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.next_id = 1
        self.greeting: list[Frame] = []
        """What it said before and in answer to our own greeting."""
        if greets:
            events = self.feed(PREFACE, settings(*announced), settings_ack() * acknowledges)
            assert events == []
            self.greeting = self.read()

    def feed(self, *pieces: bytes) -> list[Event]:
        """Send these in one read."""
        return self.connection.receive(b"".join(pieces), self.now)

    def written(self) -> bytes:
        """What the engine wants written, as one piece."""
        taken = b"".join(self.connection.take())
        self.connection.note_written()
        return taken

    def read(self) -> list[Frame]:
        """What the engine wants written, as frames."""
        return split(self.written())

    def block(self, fields: Iterable[tuple[bytes, bytes]] = REQUEST) -> bytes:
        """A header block, as an ordinary client would encode it."""
        return self.encoder.encode(list(fields))

    def open(self, *extra: tuple[bytes, bytes], end: bool = False) -> Stream:
        """Open the next stream."""
        number = self.next_id
        self.next_id += 2
        events = self.feed(headers(number, self.block((*REQUEST, *extra)), end=end))
        (opened,) = events
        assert isinstance(opened, StreamOpened)
        assert opened.stream.id == number
        assert opened.ended is end
        assert self.connection.streams[number] is opened.stream
        return opened.stream

    def open_raw(self, block: bytes) -> Stream:
        """Open the next stream with this block."""
        number = self.next_id
        self.next_id += 2
        (opened,) = self.feed(headers(number, block))
        assert isinstance(opened, StreamOpened)
        return opened.stream

    def fields(self, frames: Sequence[Frame]) -> list[tuple[bytes, bytes]]:
        """The header block that these frames carry, decoded."""
        assert frames[0].kind == HEADERS
        assert all(found.kind == CONTINUATION for found in frames[1:])
        block = b"".join(found.payload for found in frames)
        return [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)]


def of_kind(frames: Iterable[Frame], kind: int) -> list[Frame]:
    """Those of one type."""
    return [found for found in frames if found.kind == kind]


def resets(frames: Iterable[Frame]) -> list[tuple[int, int]]:
    """The streams that were reset, with the codes."""
    return [(found.stream, found.numbers[0]) for found in of_kind(frames, RST_STREAM)]


def given_back(frames: Iterable[Frame], stream: int) -> int:
    """How much a window grew."""
    return sum(found.numbers[0] for found in of_kind(frames, WINDOW_UPDATE) if found.stream == stream)


def body(frames: Iterable[Frame], stream: int) -> bytes:
    """The DATA of one stream."""
    return b"".join(found.payload for found in of_kind(frames, DATA) if found.stream == stream)


def assert_connection_fault(peer: Peer, events: list[Event], *codes: ErrorCode) -> None:
    """The connection has ended with one of the codes: said to the peer and to us, and for good."""
    assert events, "nothing happened"
    ended = events[-1]
    assert isinstance(ended, ConnectionEnded), events
    assert ended.code in codes
    assert ended.detail
    assert peer.connection.is_over
    assert peer.connection.streams == {}
    farewells = of_kind(peer.read(), GOAWAY)
    assert farewells, "no GOAWAY"
    assert farewells[-1].numbers[1] == ended.code
    assert peer.feed(ping(), headers(1001, Encoder().encode(list(REQUEST)))) == []
    assert peer.written() == b""


def assert_stream_fault(
    peer: Peer, events: list[Event], stream: Stream, *codes: ErrorCode, before: Sequence[Any] = ()
) -> None:
    """This stream has ended with one of the codes, and the connection is well."""
    (*earlier, reset) = events
    assert isinstance(reset, StreamReset), events
    assert reset.stream is stream
    assert reset.code in codes
    assert earlier == list(before)
    assert stream.id not in peer.connection.streams
    frames = peer.read()
    assert resets(frames) == [(stream.id, reset.code)]
    assert_well(peer)


def assert_well(peer: Peer) -> None:
    """The connection still works: it answers a ping and takes a new stream, header compression included."""
    assert not peer.connection.is_over
    assert peer.feed(ping(b"are-you?")) == []
    answers = of_kind(peer.read(), PING)
    assert [(found.flags, found.payload) for found in answers] == [(ACK, b"are-you?")]
    number = peer.next_id
    peer.next_id += 2
    fields = (*REQUEST, (b"x-number", b"%d" % number))
    (opened,) = peer.feed(headers(number, peer.block(fields)))
    assert isinstance(opened, StreamOpened)
    assert opened.headers == fields
    peer.feed(rst_stream(number))
    peer.read()
