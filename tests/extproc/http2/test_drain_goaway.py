"""Going away in two steps: nobody who didn't know yet is turned away, and what is open is served to its end (6.8)."""

from __future__ import annotations

import pytest

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import DataReceived, StreamOpened, TrailersReceived
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    Frame,
    Peer,
    assert_connection_fault,
    data,
    headers,
    of_kind,
    resets,
)


def announced(peer: Peer) -> Frame:
    """Begin to go away: the ping by which we learn that the peer has heard."""
    peer.connection.announce_shutdown()
    farewell, ping = peer.read()
    assert (farewell.kind, farewell.stream, farewell.numbers[:2]) == (by_hand.GOAWAY, 0, (2**31 - 1, 0))
    assert (ping.kind, ping.flags) == (by_hand.PING, 0)
    return ping


def farewell(frames: list[Frame]) -> tuple[int, ...]:
    """The last stream and the code of the only GOAWAY there is."""
    (found,) = of_kind(frames, by_hand.GOAWAY)
    return found.numbers[:2]


def test_the_two_steps() -> None:
    """First a GOAWAY that turns nobody away, and a PING; its answer brings the one that names the last stream."""
    peer = Peer()
    stream = peer.open(end=True)
    ping = announced(peer)
    between = peer.open(end=True)
    assert peer.read() == []
    assert peer.feed(by_hand.ping(ping.payload, ack=True)) == []
    assert farewell(peer.read()) == (between.id, ErrorCode.NO_ERROR)
    assert not peer.connection.is_over
    for each in (stream, between):
        peer.connection.send_headers(each, RESPONSE)
        peer.connection.send_data(each, b"answer")
        peer.connection.send_trailers(each, TRAILERS)
    frames = peer.read()
    assert by_hand.body(frames, stream.id) == by_hand.body(frames, between.id) == b"answer"
    assert peer.connection.is_over


def test_streams_after_the_last_step_are_ignored() -> None:
    """They get no event and no answer; their header blocks still count, and those that are open go on."""
    peer = Peer()
    stream = peer.open()
    ping = announced(peer)
    peer.feed(by_hand.ping(ping.payload, ack=True))
    peer.read()
    late = (
        headers(3, peer.block((*REQUEST, (b"x-late", b"1")))),
        data(3, b"abc", end=True),
        headers(5, peer.block()),
        by_hand.window_update(5, 10),
        data(5, b"x"),
        by_hand.rst_stream(5),
    )
    assert peer.feed(*late) == []
    assert resets(peer.read()) == []
    assert set(peer.connection.streams) == {1}
    assert peer.feed(data(1, b"more"), headers(1, peer.block([(b"x-late", b"1")]), end=True)) == [
        DataReceived(stream, b"more", ended=False),
        TrailersReceived(stream, ((b"x-late", b"1"),)),
    ]
    peer.connection.send_headers(stream, RESPONSE, end=True)
    assert peer.connection.is_over


def test_data_of_ignored_streams_counts() -> None:
    """What comes on them is given back to the connection's window, so that the others aren't starved."""
    peer = Peer(limits=by_hand.Limits(stream_window_bytes=65_535, connection_window_bytes=65_535))
    peer.open()
    ping = announced(peer)
    peer.feed(by_hand.ping(ping.payload, ack=True))
    peer.feed(headers(3, peer.block()))
    peer.read()
    back = 0
    for _ in range(20):
        assert peer.feed(data(3, bytes(10_000))) == []
        back += by_hand.given_back(peer.read(), 0)
    assert back >= 200_000 - 65_535


def test_another_ping_isnt_the_answer() -> None:
    """Only the acknowledgement of that very PING is the peer's word that it has heard; keepalives aren't."""
    peer = Peer()
    peer.open()
    peer.connection.ping()
    (keepalive,) = peer.read()
    announced(peer)
    assert peer.feed(by_hand.ping(keepalive.payload, ack=True), by_hand.ping(b"whatever", ack=True)) == []
    assert of_kind(peer.read(), by_hand.GOAWAY) == []
    assert isinstance(peer.feed(headers(3, peer.block()))[0], StreamOpened)


def test_a_peer_that_doesnt_answer() -> None:
    """The second step can be taken without the answer, and comes once only."""
    peer = Peer()
    stream = peer.open(end=True)
    ping = announced(peer)
    peer.connection.finish_shutdown()
    assert farewell(peer.read()) == (1, ErrorCode.NO_ERROR)
    peer.connection.finish_shutdown()
    assert peer.feed(by_hand.ping(ping.payload, ack=True)) == []
    peer.connection.announce_shutdown()
    assert peer.read() == []
    peer.connection.send_headers(stream, RESPONSE, end=True)
    assert peer.connection.is_over


def test_announcing_twice_is_announcing_once() -> None:
    """A second announcement says nothing."""
    peer = Peer()
    peer.open()
    announced(peer)
    peer.connection.announce_shutdown()
    assert peer.read() == []


def test_an_idle_connection_is_over_at_the_last_step() -> None:
    """Without streams there is nothing to wait for but the peer's answer."""
    peer = Peer()
    ping = announced(peer)
    assert not peer.connection.is_over
    assert peer.feed(by_hand.ping(ping.payload, ack=True)) == []
    assert farewell(peer.read()) == (0, ErrorCode.NO_ERROR)
    assert peer.connection.is_over


def test_the_last_stream_may_end_by_reset() -> None:
    """However the last stream ends, the connection is over then."""
    for ends in ("peer", "us"):
        peer = Peer()
        stream = peer.open()
        ping = announced(peer)
        peer.feed(by_hand.ping(ping.payload, ack=True))
        assert not peer.connection.is_over
        if ends == "peer":
            assert len(peer.feed(by_hand.rst_stream(1))) == 1
        else:
            peer.connection.reset(stream, ErrorCode.CANCEL)
        assert peer.connection.is_over


def test_what_waits_goes_before_the_end() -> None:
    """A connection whose last answer waits for a window isn't over before it has gone."""
    peer = Peer((by_hand.INITIAL_WINDOW_SIZE, 3))
    stream = peer.open(end=True)
    ping = announced(peer)
    peer.feed(by_hand.ping(ping.payload, ack=True))
    peer.connection.send_headers(stream, RESPONSE)
    peer.connection.send_data(stream, b"answer")
    peer.connection.send_trailers(stream, TRAILERS)
    assert not peer.connection.is_over
    peer.feed(by_hand.window_update(1, 3))
    assert peer.connection.is_over
    frames = peer.read()
    assert by_hand.body(frames, 1) == b"answer"
    assert frames[-1].flags & by_hand.END_STREAM


def test_wrong_frames_while_going_away() -> None:
    """A peer that breaks the rules while we go away is told so: a last GOAWAY with the code."""
    peer = Peer()
    peer.open()
    announced(peer)
    assert_connection_fault(peer, peer.feed(by_hand.ping(b"short")), ErrorCode.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("kind", ["headers", "data", "reset", "update"])
def test_even_ids_arent_ignored(kind: str) -> None:
    """After the last step, ids that no client has are still wrong."""
    peer = Peer()
    peer.open()
    peer.connection.finish_shutdown()
    peer.read()
    wrong = {
        "headers": headers(4, peer.block()),
        "data": data(4, b"x"),
        "reset": by_hand.rst_stream(4),
        "update": by_hand.window_update(4, 1),
    }
    assert_connection_fault(peer, peer.feed(wrong[kind]), ErrorCode.PROTOCOL_ERROR)
