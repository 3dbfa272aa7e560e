"""How a connection begins, and how it ends: the preface, the first SETTINGS, and `close` (3.4)."""

from __future__ import annotations

import pytest

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import ConnectionEnded, StreamOpened, StreamReset
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import PREFACE, REQUEST, Peer, assert_connection_fault, settings


def test_the_preface_and_the_settings() -> None:
    """A preface and SETTINGS, in one read or byte by byte, give no event and one acknowledgement."""
    for size in (1, 5, 1_000):
        peer = Peer(greets=False)
        peer.read()
        whole = PREFACE + settings((by_hand.MAX_CONCURRENT_STREAMS, 100))
        for at in range(0, len(whole), size):
            assert peer.read() == []
            assert peer.feed(whole[at : at + size]) == []
        assert peer.read() == [by_hand.Frame(by_hand.SETTINGS, by_hand.ACK, 0, b"")]


def test_all_in_one_read() -> None:
    """A client needn't wait for our SETTINGS: the preface, its own and a whole request may come at once (3.4)."""
    peer = Peer(greets=False)
    events = peer.feed(PREFACE, settings(), by_hand.headers(1, peer.block(), end=True))
    assert [type(event) for event in events] == [StreamOpened]


@pytest.mark.parametrize("wrong_at", range(len(PREFACE)))
def test_a_wrong_preface(wrong_at: int) -> None:
    """One wrong byte of the preface ends the connection, as soon as it has come (3.4)."""
    peer = Peer(greets=False)
    wrong = bytearray(PREFACE)
    wrong[wrong_at] ^= 0x20
    events = [event for at in range(wrong_at + 1) for event in peer.feed(bytes(wrong[at : at + 1]))]
    assert_connection_fault(peer, events, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "words",
    [b"GET / HTTP/1.1\r\nHost: epp\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\0" * 24, b"PRI * HTTP/1.1\r\n"],
)
def test_another_protocol(words: bytes) -> None:
    """HTTP/1.1, TLS and noise are told apart at once and answered with GOAWAY."""
    peer = Peer(greets=False)
    assert_connection_fault(peer, peer.feed(words), ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "first",
    [
        by_hand.ping(),
        by_hand.headers(1, b"\x83\x86\x44\x01\x2f"),
        by_hand.window_update(0, 1),
        by_hand.frame(0x77),
        by_hand.goaway(),
        by_hand.settings_ack(),
    ],
)
def test_anything_before_settings(first: bytes) -> None:
    """The first frame must be SETTINGS, and no acknowledgement (3.4)."""
    peer = Peer(greets=False)
    assert_connection_fault(peer, peer.feed(PREFACE, first), ErrorCode.PROTOCOL_ERROR)


def test_nothing_is_nothing() -> None:
    """A read of no bytes changes nothing, before the preface and after."""
    peer = Peer(greets=False)
    assert peer.feed() == []
    peer.feed(PREFACE, settings())
    peer.read()
    assert peer.feed() == []
    assert peer.read() == []


def test_close() -> None:
    """`close` resets every stream, says GOAWAY with the code and the last stream, and is the end."""
    peer = Peer()
    first, second = peer.open(), peer.open(end=True)
    events = peer.connection.close(ErrorCode.INTERNAL_ERROR, "we broke")
    assert set(events[:-1]) == {
        StreamReset(first, ErrorCode.INTERNAL_ERROR),
        StreamReset(second, ErrorCode.INTERNAL_ERROR),
    }
    assert events[-1] == ConnectionEnded(ErrorCode.INTERNAL_ERROR, "we broke")
    assert peer.connection.is_over
    assert peer.connection.streams == {}
    farewell = peer.read()[-1]
    assert (farewell.kind, farewell.numbers[:2]) == (by_hand.GOAWAY, (3, ErrorCode.INTERNAL_ERROR))
    assert b"we broke" in farewell.payload
    assert peer.feed(by_hand.ping(), by_hand.headers(5, peer.block())) == []
    assert peer.read() == []
    assert peer.connection.tick(peer.now + 10_000) == []


def test_close_twice() -> None:
    """A second `close` has nothing left to end."""
    peer = Peer()
    peer.open()
    peer.connection.close(ErrorCode.NO_ERROR, "bye")
    peer.read()
    assert peer.connection.close(ErrorCode.INTERNAL_ERROR, "again") == []
    assert peer.read() == []


def test_close_before_anything_came() -> None:
    """A connection that has said nothing can be closed as well: SETTINGS, then GOAWAY."""
    peer = Peer(greets=False)
    assert peer.connection.close(ErrorCode.NO_ERROR, "no time") == [
        ConnectionEnded(ErrorCode.NO_ERROR, "no time")
    ]
    frames = peer.read()
    assert frames[0].kind == by_hand.SETTINGS
    assert (frames[-1].kind, frames[-1].numbers[:2]) == (by_hand.GOAWAY, (0, ErrorCode.NO_ERROR))


def test_commands_after_the_end_are_harmless() -> None:
    """Whoever hasn't heard of the end yet may still answer; nothing goes out, and nothing raises."""
    peer = Peer()
    stream = peer.open()
    connection = peer.connection
    connection.close(ErrorCode.NO_ERROR, "bye")
    peer.read()
    connection.send_headers(stream, by_hand.RESPONSE)
    connection.send_data(stream, b"abc")
    connection.send_trailers(stream, by_hand.TRAILERS)
    connection.reset(stream, ErrorCode.CANCEL)
    connection.withhold(stream)
    connection.release(stream)
    connection.ping()
    connection.announce_shutdown()
    assert peer.read() == []


def test_when_the_peer_was_heard() -> None:
    """`last_heard_s` is the time of the last read."""
    peer = Peer()
    assert peer.connection.last_heard_s == peer.now
    peer.now += 7.5
    peer.feed(by_hand.headers(1, peer.block(REQUEST))[:5])
    assert peer.connection.last_heard_s == peer.now
