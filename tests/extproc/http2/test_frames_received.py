"""Each frame's rules: length, stream, flags, and the error code that the RFC names (RFC 9113, sections 4 and 6)."""

from __future__ import annotations

import itertools
import struct

import pytest

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import DataReceived, StreamOpened, StreamReset, TrailersReceived
from epp.extproc.http2.limits import Limits
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITIZED,
    REQUEST,
    Peer,
    assert_connection_fault,
    assert_stream_fault,
    assert_well,
    frame,
    headers,
)

PROTOCOL = ErrorCode.PROTOCOL_ERROR
SIZE = ErrorCode.FRAME_SIZE_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR

# Stream 1 is open, with a side of each that can still speak; 99 is idle.
ENDS_THE_CONNECTION = {
    "6.1 DATA on the connection": (frame(by_hand.DATA, b"x"), PROTOCOL),
    "6.1 DATA on an idle stream": (frame(by_hand.DATA, b"x", stream=99), PROTOCOL),
    "6.1 DATA padded beyond its length": (
        frame(by_hand.DATA, b"\x06aaaaa", flags=PADDED, stream=1),
        PROTOCOL,
    ),
    "6.1 DATA padded far beyond its length": (
        frame(by_hand.DATA, b"\xff", flags=PADDED, stream=1),
        PROTOCOL,
    ),
    "6.2 HEADERS on the connection": (frame(by_hand.HEADERS, b"", flags=END_HEADERS), PROTOCOL),
    "6.2 HEADERS padded beyond its length": (
        frame(by_hand.HEADERS, b"\x05\x82\x86\x84", flags=END_HEADERS | PADDED, stream=99),
        PROTOCOL,
    ),
    "6.2 HEADERS padded into its priority": (
        frame(by_hand.HEADERS, b"\x03" + bytes(5), flags=END_HEADERS | PADDED | PRIORITIZED, stream=99),
        PROTOCOL,
    ),
    "5.1.1 HEADERS on an even stream": (
        headers(98, b"\x83\x86\x84"),
        PROTOCOL,
    ),
    "6.3 PRIORITY on the connection": (frame(by_hand.PRIORITY, bytes(5)), PROTOCOL),
    "6.4 RST_STREAM on the connection": (frame(by_hand.RST_STREAM, bytes(4)), PROTOCOL),
    "6.4 RST_STREAM on an idle stream": (frame(by_hand.RST_STREAM, bytes(4), stream=99), PROTOCOL),
    "6.4 RST_STREAM too short": (frame(by_hand.RST_STREAM, bytes(3), stream=1), SIZE),
    "6.4 RST_STREAM too long": (frame(by_hand.RST_STREAM, bytes(5), stream=1), SIZE),
    "6.4 RST_STREAM empty": (frame(by_hand.RST_STREAM, stream=1), SIZE),
    "6.5 SETTINGS on a stream": (frame(by_hand.SETTINGS, stream=1), PROTOCOL),
    "6.5 SETTINGS of five bytes": (frame(by_hand.SETTINGS, bytes(5)), SIZE),
    "6.5 SETTINGS of seven bytes": (frame(by_hand.SETTINGS, b"\x00\x03\x00\x00\x00\x01\x00"), SIZE),
    "6.5 SETTINGS acknowledged with a payload": (frame(by_hand.SETTINGS, bytes(6), flags=ACK), SIZE),
    "6.6 PUSH_PROMISE": (frame(by_hand.PUSH_PROMISE, bytes(4), flags=END_HEADERS, stream=1), PROTOCOL),
    "6.6 PUSH_PROMISE on the connection": (
        frame(by_hand.PUSH_PROMISE, bytes(4), flags=END_HEADERS),
        PROTOCOL,
    ),
    "6.7 PING on a stream": (frame(by_hand.PING, bytes(8), stream=1), PROTOCOL),
    "6.7 PING too short": (frame(by_hand.PING, bytes(7)), SIZE),
    "6.7 PING too long": (frame(by_hand.PING, bytes(9)), SIZE),
    "6.7 PING acknowledged too short": (frame(by_hand.PING, bytes(6), flags=ACK), SIZE),
    "6.8 GOAWAY on a stream": (frame(by_hand.GOAWAY, bytes(8), stream=1), PROTOCOL),
    "4.2 GOAWAY too short": (frame(by_hand.GOAWAY, bytes(7)), SIZE),
    "6.9 WINDOW_UPDATE of nothing on the connection": (by_hand.window_update(0, 0), PROTOCOL),
    "6.9 WINDOW_UPDATE too short": (frame(by_hand.WINDOW_UPDATE, bytes(3), stream=1), SIZE),
    "6.9 WINDOW_UPDATE too long": (frame(by_hand.WINDOW_UPDATE, bytes(5)), SIZE),
    "6.9 WINDOW_UPDATE on an idle stream": (by_hand.window_update(99, 1), PROTOCOL),
    "6.9.1 WINDOW_UPDATE beyond the largest window": (by_hand.window_update(0, 2**31 - 1), FLOW),
    "6.10 CONTINUATION of nothing": (by_hand.continuation(1, b"\x82"), PROTOCOL),
    "6.10 CONTINUATION on the connection": (by_hand.continuation(0, b"\x82"), PROTOCOL),
    "6.10 CONTINUATION after a whole block": (
        headers(3, b"\x83\x86\x44\x01\x2f") + by_hand.continuation(3, b"\x82"),
        PROTOCOL,
    ),
    "4.3 a block that points at nothing": (headers(99, b"\xff\x7f"), ErrorCode.COMPRESSION_ERROR),
    "4.3 a block with index 0": (headers(99, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    "4.3 a block that is cut": (headers(99, b"\x40\x05ab"), ErrorCode.COMPRESSION_ERROR),
    "4.3 a broken block of trailers": (headers(1, b"\xff\x7f", end=True), ErrorCode.COMPRESSION_ERROR),
    "4.3 a table beyond what was offered": (headers(99, b"\x3f\xe2\x1f\x83"), ErrorCode.COMPRESSION_ERROR),
}


@pytest.mark.parametrize("name", ENDS_THE_CONNECTION)
def test_a_frame_that_ends_the_connection(name: str) -> None:
    """What breaks a rule of the connection ends it, with the code of the RFC."""
    wrong, code = ENDS_THE_CONNECTION[name]
    peer = Peer()
    peer.open()
    assert_connection_fault(peer, peer.feed(wrong), code)


@pytest.mark.parametrize("name", ENDS_THE_CONNECTION)
def test_a_frame_that_ends_the_connection_in_pieces(name: str) -> None:
    """A wrong frame is as wrong when its bytes come one by one."""
    wrong, code = ENDS_THE_CONNECTION[name]
    peer = Peer()
    peer.open()
    events = []
    for at in range(len(wrong)):
        events += peer.feed(wrong[at : at + 1])
    assert_connection_fault(peer, [event for event in events if not isinstance(event, StreamOpened)], code)


def test_the_streams_end_before_the_connection() -> None:
    """Whoever works on a stream hears of its end first, with the connection's code."""
    peer = Peer()
    first, second = peer.open(), peer.open(end=True)
    events = peer.feed(frame(by_hand.PING, bytes(7)))
    assert set(events[:-1]) == {
        StreamReset(first, ErrorCode.FRAME_SIZE_ERROR),
        StreamReset(second, ErrorCode.FRAME_SIZE_ERROR),
    }
    assert_connection_fault(peer, events, SIZE)


def test_goaway_names_the_last_stream() -> None:
    """The last stream that we may have worked on is in the GOAWAY of an error (6.8)."""
    peer = Peer()
    for _ in range(3):
        peer.open()
    peer.feed(frame(by_hand.PING, bytes(7)))
    farewell = by_hand.of_kind(peer.read(), by_hand.GOAWAY)[-1]
    assert farewell.numbers[:2] == (5, ErrorCode.FRAME_SIZE_ERROR)


def test_what_came_before_the_wrong_frame_counts() -> None:
    """Events of earlier frames of the same read come first."""
    peer = Peer()
    stream = peer.open()
    events = peer.feed(by_hand.data(1, b"abc"), frame(by_hand.PING, bytes(7)), by_hand.data(1, b"def"))
    assert events[0] == DataReceived(stream, b"abc", ended=False)
    assert DataReceived(stream, b"def", ended=False) not in events
    assert_connection_fault(peer, events, SIZE)


@pytest.mark.parametrize("kind", [by_hand.DATA, by_hand.HEADERS, by_hand.SETTINGS, by_hand.PING, 0x77])
def test_a_frame_larger_than_offered(kind: int) -> None:
    """A frame beyond MAX_FRAME_SIZE is refused when its header is seen, not when it has all come (4.2)."""
    peer = Peer(limits=Limits(max_frame_bytes=20_000))
    peer.open()
    header = (20_001).to_bytes(3, "big") + bytes((kind, 0)) + struct.pack(">I", 1 if kind < 2 else 0)
    assert_connection_fault(peer, peer.feed(header), SIZE)


def test_a_frame_as_large_as_offered() -> None:
    """The largest frame that was offered is taken, in two reads."""
    peer = Peer(limits=Limits(max_frame_bytes=20_000))
    stream = peer.open()
    whole = by_hand.data(1, bytes(20_000))
    events = peer.feed(whole[:15_000]) + peer.feed(whole[15_000:])
    assert b"".join(event.data for event in events if isinstance(event, DataReceived)) == bytes(20_000)
    assert stream.id in peer.connection.streams
    assert_well(peer)


def test_a_window_update_of_nothing_on_a_stream() -> None:
    """An increment of 0 ends the stream only (6.9)."""
    peer = Peer()
    stream = peer.open()
    assert_stream_fault(peer, peer.feed(by_hand.window_update(1, 0)), stream, PROTOCOL)


def test_a_window_update_beyond_the_largest_on_a_stream() -> None:
    """A window beyond 2^31-1 ends the stream with FLOW_CONTROL_ERROR (6.9.1)."""
    peer = Peer()
    stream = peer.open()
    fits = 2**31 - 1 - 65_535
    assert peer.feed(by_hand.window_update(1, fits)) == []
    assert_stream_fault(peer, peer.feed(by_hand.window_update(1, 1)), stream, FLOW)


def test_the_connections_window_to_the_brim() -> None:
    """The connection's window may be 2^31-1, and not one more."""
    peer = Peer()
    assert peer.feed(by_hand.window_update(0, 2**31 - 1 - 65_535)) == []
    assert_connection_fault(peer, peer.feed(by_hand.window_update(0, 1)), FLOW)


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_priority_of_the_wrong_length(length: int) -> None:
    """PRIORITY that isn't five bytes is an error of its stream (6.3), and of the connection where there is none."""
    peer = Peer()
    stream = peer.open()
    events = peer.feed(frame(by_hand.PRIORITY, bytes(length), stream=1))
    assert_stream_fault(peer, events, stream, SIZE)
    # A stream that was never opened can't be reset: RST_STREAM there would be our own fault (6.4).
    assert_connection_fault(peer, peer.feed(frame(by_hand.PRIORITY, bytes(length), stream=99)), SIZE)


def test_priority_is_ignored() -> None:
    """PRIORITY may come for any stream in any state, and even ask for nonsense; nothing happens (5.3.2, 6.3)."""
    peer = Peer()
    peer.open()
    peer.open()
    peer.feed(by_hand.rst_stream(3))
    on_itself = struct.pack(">IB", 1, 7)
    assert peer.feed(*(frame(by_hand.PRIORITY, on_itself, stream=number) for number in (1, 3, 99, 2))) == []
    assert peer.read() == []
    peer.next_id = 5
    assert_well(peer)


def test_padding_and_priority_are_taken_off() -> None:
    """A padded HEADERS with a priority gives the same headers as a plain one, and DATA its bare body."""
    peer = Peer()
    for number, (padding, priority) in enumerate([(None, True), (0, False), (255, True), (7, False)]):
        stream = 2 * number + 1
        (opened,) = peer.feed(headers(stream, peer.block(), padding=padding, priority=priority))
        assert isinstance(opened, StreamOpened)
        assert opened.headers == REQUEST
        (received,) = peer.feed(by_hand.data(stream, b"body", padding=9, end=True))
        assert received == DataReceived(opened.stream, b"body", ended=True)


def test_data_that_is_all_padding() -> None:
    """Padding that fills the whole frame but its length is legal, and carries an empty body."""
    peer = Peer()
    stream = peer.open()
    wrong_at_first_sight = frame(by_hand.DATA, b"\x04\x00\x00\x00\x00", flags=PADDED | END_STREAM, stream=1)
    assert peer.feed(wrong_at_first_sight) == [DataReceived(stream, b"", ended=True)]


def test_a_padded_frame_without_a_length_of_padding() -> None:
    """PADDED on an empty frame ends the connection by its size: not even the padding's length is there (4.2)."""
    for kind in (by_hand.DATA, by_hand.HEADERS):
        peer = Peer()
        peer.open()
        stream = 1 if kind == by_hand.DATA else 3
        events = peer.feed(frame(kind, flags=PADDED | END_HEADERS, stream=stream))
        assert_connection_fault(peer, events, SIZE)


def test_headers_too_short_for_their_priority() -> None:
    """HEADERS with PRIORITY and four bytes ends the connection (4.2: it alters compression's state)."""
    peer = Peer()
    events = peer.feed(frame(by_hand.HEADERS, bytes(4), flags=END_HEADERS | PRIORITIZED, stream=1))
    assert_connection_fault(peer, events, SIZE, PROTOCOL)


def test_a_ping_is_echoed() -> None:
    """The answer carries the same eight bytes and ACK; an answer isn't answered (6.7)."""
    peer = Peer()
    assert peer.feed(by_hand.ping(b"abcdefgh"), by_hand.ping(b"ijklmnop"), by_hand.ping(ack=True)) == []
    assert peer.read() == [
        by_hand.Frame(by_hand.PING, ACK, 0, b"abcdefgh"),
        by_hand.Frame(by_hand.PING, ACK, 0, b"ijklmnop"),
    ]


def test_a_ping_of_ours() -> None:
    """Our own ping is unanswered until the peer's acknowledgement of that ping comes."""
    peer = Peer()
    assert not peer.connection.is_ping_unanswered
    peer.connection.ping()
    (sent,) = peer.read()
    assert (sent.kind, sent.flags, sent.stream, len(sent.payload)) == (by_hand.PING, 0, 0, 8)
    assert peer.connection.is_ping_unanswered
    peer.now += 3.0
    assert peer.feed(by_hand.ping(sent.payload, ack=True)) == []
    assert not peer.connection.is_ping_unanswered
    assert peer.connection.last_heard_s == peer.now
    assert peer.read() == []


def test_unknown_frames_are_ignored() -> None:
    """Types and flags that nobody knows are skipped, on any stream (4.1, 5.5)."""
    peer = Peer()
    stream = peer.open()
    events = peer.feed(
        frame(0x0B, b"whatever", flags=0xFF),
        frame(0x77, b"x" * 100, flags=0x55, stream=1),
        frame(0xFF, stream=99),
        frame(by_hand.DATA, b"ok", flags=0xF6, stream=1),
        frame(by_hand.PING, b"12345678", flags=0xFE),
    )
    assert events == [DataReceived(stream, b"ok", ended=False)]
    assert peer.read()[-1] == by_hand.Frame(by_hand.PING, ACK, 0, b"12345678")
    peer.next_id = 3
    assert_well(peer)


def test_the_reserved_bit_is_ignored() -> None:
    """The highest bit of a stream's number and of an increment says nothing (4.1, 6.9)."""
    peer = Peer()
    stream = peer.open()
    high = 1 << 31
    assert peer.feed(by_hand.data(high | 1, b"a")) == [DataReceived(stream, b"a", ended=False)]
    assert peer.feed(frame(by_hand.WINDOW_UPDATE, struct.pack(">I", high | 5), stream=1)) == []
    assert stream.send_window == 65_540
    assert peer.feed(by_hand.ping()) == []


def test_a_block_in_many_pieces() -> None:
    """HEADERS and CONTINUATION give what one HEADERS gives, however the block is cut, empty pieces included."""
    peer = Peer()
    block = peer.block()
    for number, cuts in enumerate([[0], [1], [len(block)], [3, 3, 5], list(range(1, 12))]):
        stream = 2 * number + 1
        edges = [0, *cuts, len(block)]
        pieces = [block[start:stop] for start, stop in itertools.pairwise(edges)]
        frames = [headers(stream, pieces[0], end=True, whole=False, padding=3, priority=True)]
        frames += [by_hand.continuation(stream, piece, whole=False) for piece in pieces[1:-1]]
        frames.append(by_hand.continuation(stream, pieces[-1]))
        (opened,) = [event for piece in frames for event in peer.feed(piece)]
        assert isinstance(opened, StreamOpened)
        assert opened.headers == REQUEST
        assert opened.ended, "END_STREAM is HEADERS' own flag"
        block = peer.block()


@pytest.mark.parametrize(
    "between",
    [
        by_hand.ping(),
        by_hand.settings(),
        by_hand.data(1, b"x"),
        by_hand.window_update(0, 1),
        by_hand.rst_stream(3),
        by_hand.headers(3, b"\x82"),
        by_hand.headers(5, b"\x82"),
        by_hand.continuation(1, b"\x82"),
        by_hand.continuation(0, b"\x82"),
        frame(by_hand.PRIORITY, bytes(5), stream=3),
        frame(0x77, b"unknown", stream=3),
        by_hand.goaway(),
    ],
)
def test_nothing_comes_between(between: bytes) -> None:
    """Inside a header block only its own CONTINUATION may come, not even an unknown frame (5.5, 6.2, 6.10)."""
    peer = Peer()
    peer.open()
    assert peer.feed(headers(3, peer.block()[:4], whole=False)) == []
    assert_connection_fault(peer, peer.feed(between), PROTOCOL)


def test_trailers() -> None:
    """A second HEADERS that ends the stream is its trailers, whole or in pieces (8.1)."""
    peer = Peer()
    fields = ((b"x-checksum", b"17"), (b"grpc-status", b"0"))
    first, second = peer.open(), peer.open()
    assert peer.feed(by_hand.data(1, b"abc"), headers(1, peer.block(fields), end=True)) == [
        DataReceived(first, b"abc", ended=False),
        TrailersReceived(first, fields),
    ]
    block = peer.block(fields)
    events = peer.feed(headers(3, block[:1], end=True, whole=False), by_hand.continuation(3, block[1:]))
    assert events == [TrailersReceived(second, fields)]


def test_trailers_that_end_nothing() -> None:
    """A second HEADERS without END_STREAM is malformed (8.1)."""
    peer = Peer()
    stream = peer.open()
    events = peer.feed(headers(1, peer.block([(b"x-more", b"1")])))
    assert_stream_fault(peer, events, stream, PROTOCOL)


def test_empty_trailers() -> None:
    """A block of nothing is a block of trailers all the same."""
    peer = Peer()
    stream = peer.open()
    assert peer.feed(headers(1, b"", end=True)) == [TrailersReceived(stream, ())]


def test_the_peers_goaway_ends_nothing() -> None:
    """A client that says GOAWAY opens no more streams; those that are open go on (6.8)."""
    peer = Peer()
    stream = peer.open()
    assert peer.feed(by_hand.goaway(0, ErrorCode.NO_ERROR, b"bye")) == []
    assert peer.feed(by_hand.data(1, b"abc", end=True)) == [DataReceived(stream, b"abc", ended=True)]
    peer.connection.send_headers(stream, by_hand.RESPONSE)
    peer.connection.send_trailers(stream, by_hand.TRAILERS)
    frames = by_hand.of_kind(peer.read(), by_hand.HEADERS)
    assert [found.flags & END_STREAM for found in frames] == [0, END_STREAM]
