"""The states of a stream, and their identifiers: open, half-closed either way, closed, idle (5.1 to 5.1.2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import DataReceived, Event, StreamOpened, StreamReset, TrailersReceived
from epp.extproc.http2.guard import Offence
from epp.extproc.http2.limits import Limits
from epp.extproc.http2.stream import Stream
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import (
    END_HEADERS,
    END_STREAM,
    RESPONSE,
    TRAILERS,
    Peer,
    assert_connection_fault,
    assert_stream_fault,
    assert_well,
    data,
    headers,
    resets,
)

CLOSED = ErrorCode.STREAM_CLOSED
PROTOCOL = ErrorCode.PROTOCOL_ERROR


def answer(peer: Peer, stream: Stream, *pieces: bytes) -> None:
    """Headers, these pieces and trailers."""
    peer.connection.send_headers(stream, RESPONSE)
    for piece in pieces:
        peer.connection.send_data(stream, piece)
    peer.connection.send_trailers(stream, TRAILERS)


# --------------------------------------------------------------------------------------------- a whole life


def test_a_whole_exchange() -> None:
    """Request and response, each with its end, and the stream is gone without a reset."""
    peer = Peer()
    stream = peer.open()
    assert peer.feed(data(1, b"ask"), data(1, b"", end=True)) == [
        DataReceived(stream, b"ask", ended=False),
        DataReceived(stream, b"", ended=True),
    ]
    assert stream.remote_closed
    assert not stream.local_closed
    answer(peer, stream, b"answer")
    assert stream.local_closed
    assert peer.connection.streams == {}
    first, body, last = peer.read()
    assert peer.fields([first]) == list(RESPONSE)
    assert first.flags == END_HEADERS
    assert (body.kind, body.flags, body.payload) == (by_hand.DATA, 0, b"answer")
    assert peer.fields([last]) == list(TRAILERS)
    assert last.flags == END_HEADERS | END_STREAM
    assert_well(peer)


def test_the_response_may_end_first() -> None:
    """Our side may end before the peer's; what it still sends is given, and its end is the stream's."""
    peer = Peer()
    stream = peer.open()
    answer(peer, stream)
    assert stream.local_closed
    assert peer.connection.streams == {1: stream}
    assert peer.feed(data(1, b"late")) == [DataReceived(stream, b"late", ended=False)]
    assert peer.feed(headers(1, peer.block(TRAILERS), end=True)) == [TrailersReceived(stream, TRAILERS)]
    assert peer.connection.streams == {}
    assert resets(peer.read()) == []
    assert_well(peer)


def test_headers_alone_are_a_response() -> None:
    """One HEADERS that ends the stream is all a trailers-only answer takes."""
    peer = Peer()
    stream = peer.open(end=True)
    peer.connection.send_headers(stream, RESPONSE, end=True)
    (frame,) = peer.read()
    assert (frame.kind, frame.flags) == (by_hand.HEADERS, END_HEADERS | END_STREAM)
    assert peer.connection.streams == {}


def test_nothing_is_sent_after_our_end() -> None:
    """What is said after our side has ended, or after a reset, goes nowhere."""
    peer = Peer()
    ended, reset = peer.open(), peer.open()
    answer(peer, ended)
    peer.connection.reset(reset, ErrorCode.CANCEL)
    peer.read()
    for stream in (ended, reset):
        peer.connection.send_headers(stream, RESPONSE)
        peer.connection.send_data(stream, b"more")
        peer.connection.send_trailers(stream, TRAILERS)
    peer.connection.reset(reset, ErrorCode.CANCEL)
    assert peer.read() == []


def test_the_peer_resets() -> None:
    """RST_STREAM ends a stream in any state, with the peer's code, and isn't answered."""
    peer = Peer()
    both, half = peer.open(), peer.open(end=True)
    answered = peer.open()
    answer(peer, answered)
    peer.read()
    assert peer.feed(
        *(by_hand.rst_stream(number, code) for number, code in ((1, 8), (3, 0), (5, 0x123456)))
    ) == [
        StreamReset(both, ErrorCode.CANCEL),
        StreamReset(half, ErrorCode.NO_ERROR),
        StreamReset(answered, 0x123456),
    ]
    assert peer.connection.streams == {}
    assert peer.read() == []
    assert peer.tally.resets_received == 3
    assert_well(peer)


def test_we_reset() -> None:
    """`reset` says RST_STREAM once and gives no event."""
    peer = Peer()
    stream = peer.open()
    peer.connection.reset(stream, ErrorCode.INTERNAL_ERROR)
    peer.connection.reset(stream, ErrorCode.CANCEL)
    assert resets(peer.read()) == [(1, ErrorCode.INTERNAL_ERROR)]
    assert peer.connection.streams == {}
    assert peer.feed() == []


# ------------------------------------------------------------------------------- after the end of a stream


def test_after_the_peers_end() -> None:
    """DATA and HEADERS on a stream that the peer has half-closed end it with STREAM_CLOSED (5.1)."""
    peer = Peer()
    stream = peer.open(end=True)
    assert_stream_fault(peer, peer.feed(data(1, b"x")), stream, CLOSED)
    stream = peer.open(end=True)
    events = peer.feed(headers(stream.id, peer.block(TRAILERS), end=True))
    assert_stream_fault(peer, events, stream, CLOSED)


def test_what_may_come_after_the_peers_end() -> None:
    """WINDOW_UPDATE, PRIORITY and RST_STREAM are fine on a half-closed stream (5.1)."""
    peer = Peer()
    stream = peer.open(end=True)
    assert peer.feed(by_hand.window_update(1, 7), by_hand.frame(by_hand.PRIORITY, bytes(5), stream=1)) == []
    assert stream.send_window == 65_542
    assert peer.feed(by_hand.rst_stream(1)) == [StreamReset(stream, ErrorCode.CANCEL)]


def end_both(peer: Peer, stream: Stream) -> None:
    """Both sides say their end."""
    peer.feed(data(stream.id, end=True))
    answer(peer, stream)


def end_by_us(peer: Peer, stream: Stream) -> None:
    """We reset it."""
    peer.connection.reset(stream, ErrorCode.CANCEL)


def end_by_peer(peer: Peer, stream: Stream) -> None:
    """The peer resets it."""
    peer.feed(by_hand.rst_stream(stream.id))


def end_by_fault(peer: Peer, stream: Stream) -> None:
    """A stream error ends it."""
    peer.feed(by_hand.window_update(stream.id, 0))


ENDS = [end_both, end_by_us, end_by_peer, end_by_fault]


@pytest.mark.parametrize("ends", ENDS)
def test_late_frames_of_the_peer_are_ignored(ends: Callable[[Peer, Stream], None]) -> None:
    """WINDOW_UPDATE, RST_STREAM and PRIORITY may cross with the end of a stream, however it came (5.1, "closed")."""
    peer = Peer()
    ends(peer, peer.open())
    peer.read()
    late = (
        by_hand.window_update(1, 100),
        by_hand.rst_stream(1),
        by_hand.frame(by_hand.PRIORITY, bytes(5), stream=1),
    )
    assert peer.feed(*late, *late) == []
    assert peer.read() == []
    assert_well(peer)


@pytest.mark.parametrize("ends", [end_by_us, end_by_fault])
def test_anything_may_cross_with_our_reset(ends: Callable[[Peer, Stream], None]) -> None:
    """What the peer sent before it saw our RST_STREAM is dropped, and its header blocks are still decoded (5.1)."""
    peer = Peer()
    ends(peer, peer.open())
    peer.read()
    assert (
        peer.feed(data(1, b"x" * 1_000), headers(1, peer.block([(b"x-late", b"1"), *TRAILERS]), end=True))
        == []
    )
    assert resets(peer.read()) in ([], [(1, CLOSED)])
    stream = peer.open((b"x-late", b"1"))
    assert stream.id == 3


@pytest.mark.parametrize("ends", [end_both, end_by_peer])
def test_a_peer_that_goes_on_after_the_end(ends: Callable[[Peer, Stream], None]) -> None:
    """DATA on a stream that the peer itself has ended is STREAM_CLOSED: the stream's, or the connection's (5.1)."""
    peer = Peer()
    ends(peer, peer.open())
    peer.read()
    events = peer.feed(data(1, b"x"))
    if peer.connection.is_over:
        assert_connection_fault(peer, events, CLOSED)
    else:
        assert events == []
        assert resets(peer.read()) == [(1, CLOSED)]
        assert_well(peer)


@pytest.mark.parametrize("ends", [end_both, end_by_peer])
def test_a_stream_cant_be_opened_twice(ends: Callable[[Peer, Stream], None]) -> None:
    """HEADERS on a stream that both sides, or the peer, have ended end the connection (5.1, 5.1.1)."""
    peer = Peer()
    ends(peer, peer.open())
    peer.read()
    assert_connection_fault(peer, peer.feed(headers(1, peer.block())), CLOSED, PROTOCOL)


def test_a_reset_stream_isnt_opened_again() -> None:
    """HEADERS on a stream that we have reset never open it again."""
    peer = Peer()
    stream = peer.open()
    peer.connection.reset(stream, ErrorCode.CANCEL)
    events = peer.feed(headers(1, peer.block()))
    assert not any(isinstance(event, StreamOpened) for event in events)
    assert peer.connection.streams == {}


def test_our_resets_are_remembered_for_long() -> None:
    """With hundreds of streams reset since, late frames are still taken for what they are."""
    peer = Peer()
    for _ in range(500):
        peer.connection.reset(peer.open(), ErrorCode.CANCEL)
    peer.read()
    late = [
        piece for number in range(1, 1_000, 2) for piece in (data(number, b"x"), by_hand.rst_stream(number))
    ]
    assert peer.feed(*late) == []
    peer.read()
    assert_well(peer)


# --------------------------------------------------------------------------------------------- identifiers


def test_ids_grow() -> None:
    """An id below the highest seen can't open a stream: PROTOCOL_ERROR of the connection (5.1.1)."""
    peer = Peer()
    (opened,) = peer.feed(headers(5, peer.block()))
    assert isinstance(opened, StreamOpened)
    events = peer.feed(headers(3, peer.block()))
    assert_connection_fault(peer, events, PROTOCOL)


def test_ids_may_be_passed_over() -> None:
    """Gaps are fine, and the ids in between are closed from then on, not idle (5.1.1)."""
    peer = Peer()
    peer.feed(headers(5, peer.block()))
    peer.feed(headers(101, peer.block()))
    assert set(peer.connection.streams) == {5, 101}
    assert peer.feed(by_hand.window_update(7, 5), by_hand.rst_stream(99)) == []
    peer.next_id = 103
    assert_well(peer)
    assert_connection_fault(peer, peer.feed(by_hand.window_update(107, 5)), PROTOCOL)


def test_the_last_id_of_all() -> None:
    """2^31-1 can be opened, and nothing after it."""
    peer = Peer()
    (opened,) = peer.feed(headers(2**31 - 1, peer.block(), end=True))
    assert isinstance(opened, StreamOpened)
    answer(peer, opened.stream)
    assert peer.read()[-1].stream == 2**31 - 1
    assert peer.feed(by_hand.ping()) == []


@pytest.mark.parametrize(
    "wrong", [data(2, b"x"), headers(2, b"\x82"), by_hand.rst_stream(2), by_hand.window_update(2, 1)]
)
def test_streams_of_ours_there_are_none(wrong: bytes) -> None:
    """Even ids are a server's, and we open none (5.1.1)."""
    peer = Peer()
    peer.open()
    peer.open()
    assert_connection_fault(peer, peer.feed(wrong), PROTOCOL)


# ---------------------------------------------------------------------------------------------- how many


def test_a_stream_too_many_is_refused() -> None:
    """One more than we have announced gets REFUSED_STREAM, and the header table follows its block (5.1.2)."""
    peer = Peer(limits=Limits(max_streams=2))
    first, second = peer.open(), peer.open(end=True)
    extra = (b"x-extra", b"of the refused")
    assert peer.feed(headers(5, peer.block((*by_hand.REQUEST, extra)))) == []
    assert resets(peer.read()) == [(5, ErrorCode.REFUSED_STREAM)]
    assert set(peer.connection.streams) == {1, 3}
    assert peer.tally.streams_refused == 1
    assert peer.tally.offences[Offence.STREAMS] == 1
    assert peer.feed(data(5, b"sent before it knew", end=True)) == []
    assert peer.feed(by_hand.rst_stream(5)) == []

    answer(peer, second)
    peer.read()
    peer.next_id = 7
    third = peer.open(extra)
    assert set(peer.connection.streams.values()) == {first, third}


@pytest.mark.parametrize("ends", ENDS)
def test_an_ended_stream_makes_room(ends: Callable[[Peer, Stream], None]) -> None:
    """However a stream ends, the next may be opened; a half-closed one still counts."""
    peer = Peer(limits=Limits(max_streams=1))
    for _ in range(5):
        stream = peer.open()
        ends(peer, stream)
    half = peer.open()
    answer(peer, half)
    peer.read()
    peer.feed(headers(peer.next_id, peer.block(), end=True))
    assert resets(peer.read()) == [(peer.next_id, ErrorCode.REFUSED_STREAM)]


def test_a_refused_stream_costs_no_other_event() -> None:
    """Refusals in the midst of a read leave the other streams of the read alone."""
    peer = Peer(limits=Limits(max_streams=1))
    pieces = [headers(1, peer.block())]
    pieces += [headers(number, peer.block(), end=True) for number in range(3, 101, 2)]
    pieces.append(data(1, b"abc"))
    events: list[Event] = peer.feed(*pieces)
    assert [type(event) for event in events] == [StreamOpened, DataReceived]
    assert len(resets(peer.read())) == 49
