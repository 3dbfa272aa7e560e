"""SETTINGS in both directions: legal and illegal values, acknowledgements, and changes on a live connection (6.5)."""

from __future__ import annotations

import struct

import pytest
from hpack import HeaderTuple

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import PendingSent, StreamOpened
from epp.extproc.http2.limits import Limits
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import (
    ACK,
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    REQUEST,
    RESPONSE,
    TRAILERS,
    Peer,
    assert_connection_fault,
    assert_well,
    settings,
)

ACKNOWLEDGED = by_hand.Frame(by_hand.SETTINGS, ACK, 0, b"")


def announced(frames: list[by_hand.Frame]) -> dict[int, int]:
    """What the engine's SETTINGS say."""
    found = frames[0]
    assert (found.kind, found.flags, found.stream) == (by_hand.SETTINGS, 0, 0)
    size = struct.calcsize(">HI")
    pairs = [struct.unpack_from(">HI", found.payload, at) for at in range(0, len(found.payload), size)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_ours_come_first() -> None:
    """Our SETTINGS are there before the peer has said anything, and say what the limits say (3.4)."""
    limits = Limits(
        announced_streams=77,
        stream_window_bytes=100_000,
        connection_window_bytes=300_000,
        max_frame_bytes=20_000,
        header_table_bytes=2_048,
        max_header_list_bytes=5_000,
    )
    frames = Peer(limits=limits, greets=False).read()
    said = announced(frames)
    assert said[MAX_CONCURRENT_STREAMS] == 77
    assert said[INITIAL_WINDOW_SIZE] == 100_000
    assert said[MAX_FRAME_SIZE] == 20_000
    assert said[HEADER_TABLE_SIZE] == 2_048
    assert said[MAX_HEADER_LIST_SIZE] == 5_000
    assert said.get(ENABLE_PUSH, 0) == 0
    assert by_hand.given_back(frames, 0) == 300_000 - 65_535
    assert {found.kind for found in frames[1:]} <= {by_hand.WINDOW_UPDATE}


def test_theirs_are_acknowledged() -> None:
    """Each SETTINGS is acknowledged once; an acknowledgement isn't (6.5.3)."""
    peer = Peer(greets=False)
    peer.read()
    assert peer.feed(by_hand.PREFACE, settings()) == []
    assert peer.read() == [ACKNOWLEDGED]
    assert peer.feed(by_hand.settings_ack()) == []
    assert peer.read() == []
    assert peer.feed(settings((MAX_CONCURRENT_STREAMS, 0)), settings()) == []
    assert peer.read() == [ACKNOWLEDGED, ACKNOWLEDGED]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (HEADER_TABLE_SIZE, 0),
        (HEADER_TABLE_SIZE, 2**32 - 1),
        (ENABLE_PUSH, 0),
        (ENABLE_PUSH, 1),
        (MAX_CONCURRENT_STREAMS, 0),
        (MAX_CONCURRENT_STREAMS, 2**32 - 1),
        (INITIAL_WINDOW_SIZE, 0),
        (INITIAL_WINDOW_SIZE, LARGEST_WINDOW),
        (MAX_FRAME_SIZE, 2**14),
        (MAX_FRAME_SIZE, 2**24 - 1),
        (MAX_HEADER_LIST_SIZE, 0),
        (MAX_HEADER_LIST_SIZE, 2**32 - 1),
        (8, 1),
        (0, 0),
        (0xFFFF, 2**32 - 1),
        (0x4242, 7),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_legal_value(setting: int, value: int, first: bool) -> None:
    """The edges of what is allowed, and settings that nobody knows, are taken: first of all, and later (6.5.2)."""
    peer = Peer((setting, value)) if first else Peer()
    if not first:
        assert peer.feed(settings((setting, value))) == []
        assert peer.read() == [ACKNOWLEDGED]
    assert_well(peer)


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        (ENABLE_PUSH, 2, ErrorCode.PROTOCOL_ERROR),
        (ENABLE_PUSH, 2**32 - 1, ErrorCode.PROTOCOL_ERROR),
        (INITIAL_WINDOW_SIZE, 2**31, ErrorCode.FLOW_CONTROL_ERROR),
        (INITIAL_WINDOW_SIZE, 2**32 - 1, ErrorCode.FLOW_CONTROL_ERROR),
        (MAX_FRAME_SIZE, 2**14 - 1, ErrorCode.PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 2**24, ErrorCode.PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 0, ErrorCode.PROTOCOL_ERROR),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_an_illegal_value(setting: int, value: int, code: ErrorCode, first: bool) -> None:
    """A value beyond its edges ends the connection with the code that its row names (6.5.2)."""
    peer = Peer(greets=not first)
    wrong = settings((MAX_CONCURRENT_STREAMS, 5), (setting, value))
    assert_connection_fault(peer, peer.feed(by_hand.PREFACE * first, wrong), code)


def test_the_last_value_of_a_frame_counts() -> None:
    """The values of one frame are taken in their order (6.5.3)."""
    peer = Peer((INITIAL_WINDOW_SIZE, 5), (INITIAL_WINDOW_SIZE, 70_000))
    assert peer.open().send_window == 70_000
    stream = peer.open()
    peer.feed(settings((INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 60_000)))
    assert stream.send_window == 60_000


def test_a_changed_window_changes_open_streams() -> None:
    """The difference of two initial windows is added to what each open stream has left (6.9.2)."""
    peer = Peer()
    first, second = peer.open(), peer.open(end=True)
    peer.connection.send_headers(first, RESPONSE)
    peer.connection.send_data(first, bytes(15_535))
    assert (first.send_window, second.send_window) == (50_000, 65_535)
    peer.feed(settings((INITIAL_WINDOW_SIZE, 65_535 + 1_000)))
    assert (first.send_window, second.send_window) == (51_000, 66_535)
    peer.feed(settings((INITIAL_WINDOW_SIZE, 10_000)))
    assert (first.send_window, second.send_window) == (-5_535, 10_000)
    assert peer.open().send_window == 10_000


def test_the_connections_window_has_no_setting() -> None:
    """INITIAL_WINDOW_SIZE says nothing of the connection's window: still 65,535 go out at first (6.9.2)."""
    peer = Peer((INITIAL_WINDOW_SIZE, 1_000_000))
    stream = peer.open()
    peer.connection.send_headers(stream, RESPONSE)
    peer.connection.send_data(stream, bytes(200_000))
    assert len(by_hand.body(peer.read(), 1)) == 65_535


def test_a_negative_window_is_paid_off_first() -> None:
    """After a window has become negative, nothing goes until updates have made it positive (6.9.2)."""
    peer = Peer((INITIAL_WINDOW_SIZE, 20_000))
    stream = peer.open()
    peer.connection.send_headers(stream, RESPONSE)
    peer.connection.send_data(stream, bytes(30_000))
    assert len(by_hand.body(peer.read(), 1)) == 20_000
    assert peer.feed(settings((INITIAL_WINDOW_SIZE, 3_000))) == []
    assert stream.send_window == -17_000
    assert peer.feed(by_hand.window_update(1, 17_000)) == []
    assert by_hand.body(peer.read(), 1) == b""
    assert peer.feed(by_hand.window_update(1, 1)) == []
    assert by_hand.body(peer.read(), 1) == b"\0"
    assert peer.feed(by_hand.window_update(1, 9_999)) == [PendingSent(stream)]
    assert len(by_hand.body(peer.read(), 1)) == 9_999
    assert stream.pending is None


def test_a_raised_initial_window_lets_go_what_waits() -> None:
    """A larger initial window is as good as an update for every stream."""
    peer = Peer((INITIAL_WINDOW_SIZE, 0))
    streams = [peer.open() for _ in range(3)]
    for stream in streams:
        peer.connection.send_headers(stream, RESPONSE)
        peer.connection.send_data(stream, b"%d" % stream.id)
        assert stream.pending is not None
    assert by_hand.of_kind(peer.read(), by_hand.DATA) == []
    events = peer.feed(settings((INITIAL_WINDOW_SIZE, 1)))
    assert len(events) == 3
    assert set(events) == {PendingSent(stream) for stream in streams}
    frames = peer.read()
    assert [by_hand.body(frames, number) for number in (1, 3, 5)] == [b"1", b"3", b"5"]


def test_a_difference_that_overflows_a_window() -> None:
    """A window that a new initial value would carry beyond 2^31-1 ends the connection (6.9.2)."""
    peer = Peer()
    peer.open()
    assert peer.feed(by_hand.window_update(1, 1_000)) == []
    events = peer.feed(settings((INITIAL_WINDOW_SIZE, LARGEST_WINDOW)))
    assert_connection_fault(peer, events, ErrorCode.FLOW_CONTROL_ERROR)


def test_settings_that_cannot_hold_are_not_acknowledged() -> None:
    """The farewell is all that the peer hears: an acknowledgement says that they have been applied (6.5.3)."""
    peer = Peer()
    peer.open()
    peer.feed(by_hand.window_update(1, 1_000))
    peer.feed(settings((INITIAL_WINDOW_SIZE, LARGEST_WINDOW)))
    assert [found.kind for found in peer.read()] == [by_hand.GOAWAY]


def test_what_new_settings_allow_follows_their_acknowledgement() -> None:
    """A window, a frame size and a table that are the peer's only once it has heard that we go by them (6.5.3)."""
    peer = Peer((INITIAL_WINDOW_SIZE, 0))
    stream = peer.open(end=True)
    peer.connection.send_headers(stream, RESPONSE)
    peer.connection.send_data(stream, bytes(20_000))
    peer.connection.send_trailers(stream, TRAILERS)
    assert [found.kind for found in peer.read()] == [by_hand.HEADERS]
    peer.feed(settings((INITIAL_WINDOW_SIZE, 20_000), (MAX_FRAME_SIZE, 20_000), (HEADER_TABLE_SIZE, 0)))
    first, *others = peer.read()
    assert first == ACKNOWLEDGED
    assert [(found.kind, len(found.payload)) for found in others[:-1]] == [(by_hand.DATA, 20_000)]
    assert others[-1].kind == by_hand.HEADERS


def test_frames_are_as_large_as_the_peer_takes() -> None:
    """DATA is cut to the peer's MAX_FRAME_SIZE, a new one from the acknowledgement on (4.2)."""
    peer = Peer((INITIAL_WINDOW_SIZE, 1_000_000), (MAX_FRAME_SIZE, 30_000))
    peer.feed(by_hand.window_update(0, 1_000_000))
    stream = peer.open()
    peer.connection.send_headers(stream, RESPONSE)
    peer.connection.send_data(stream, bytes(70_000))
    lengths = [len(found.payload) for found in by_hand.of_kind(peer.read(), by_hand.DATA)]
    assert sum(lengths) == 70_000
    assert max(lengths) <= 30_000
    assert len(lengths) == 3
    peer.feed(settings((MAX_FRAME_SIZE, 16_384)))
    assert peer.read() == [ACKNOWLEDGED]
    peer.connection.send_data(stream, bytes(40_000))
    lengths = [len(found.payload) for found in by_hand.of_kind(peer.read(), by_hand.DATA)]
    assert sum(lengths) == 40_000
    assert max(lengths) <= 16_384


def test_a_frame_size_that_shrinks_while_data_waits() -> None:
    """What waits is cut by the size that holds when it goes, not by the one of when it was queued."""
    peer = Peer((INITIAL_WINDOW_SIZE, 0), (MAX_FRAME_SIZE, 100_000))
    stream = peer.open()
    peer.connection.send_headers(stream, RESPONSE)
    peer.connection.send_data(stream, bytes(60_000))
    peer.feed(settings((MAX_FRAME_SIZE, 16_384)))
    peer.read()
    assert peer.feed(by_hand.window_update(1, 60_000)) == [PendingSent(stream)]
    lengths = [len(found.payload) for found in by_hand.of_kind(peer.read(), by_hand.DATA)]
    assert sum(lengths) == 60_000
    assert max(lengths) <= 16_384


def test_a_header_block_is_cut_too() -> None:
    """A block of ours beyond the peer's frame size goes as HEADERS and CONTINUATION with nothing between (4.3)."""
    peer = Peer()
    stream = peer.open(end=True)
    fields = (*RESPONSE, (b"x-long", bytes(range(97, 123)) * 2_000))
    peer.connection.send_headers(stream, fields)
    peer.connection.send_trailers(stream, TRAILERS)
    frames = peer.read()
    assert all(len(found.payload) <= 16_384 for found in frames)
    *block, last = frames
    assert len(block) > 1
    assert [found.flags & by_hand.END_HEADERS for found in block[:-1]] == [0] * (len(block) - 1)
    assert block[-1].flags & by_hand.END_HEADERS
    assert peer.fields(block) == list(fields)
    assert peer.fields([last]) == list(TRAILERS)


# ------------------------------------------------------------------------------------ HEADER_TABLE_SIZE


def response(peer: Peer, *fields: tuple[bytes, bytes]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Answer a new stream with these: what a peer decodes, and the block."""
    stream = peer.open(end=True)
    peer.connection.send_headers(stream, (*RESPONSE, *fields), end=True)
    frames = by_hand.of_kind(peer.read(), by_hand.HEADERS)
    return peer.fields(frames), frames[0].payload


@pytest.mark.parametrize("size", [0, 31, 64, 1_000, 4_096, 5_000, 2**20])
def test_our_blocks_keep_to_the_peers_table(size: int) -> None:
    """A peer that changes its table decodes every block afterwards, by a decoder that insists on the size."""
    peer = Peer()
    fields = [(b"x-%d" % number, b"value %d" % number) for number in range(20)]
    for field in fields:
        assert response(peer, field)[0] == [*RESPONSE, field]
    peer.feed(settings((HEADER_TABLE_SIZE, size)))
    peer.read()
    peer.decoder.max_allowed_table_size = size
    for field in [*fields, *fields]:
        assert response(peer, field)[0] == [*RESPONSE, field]


def test_a_smaller_table_is_said_first() -> None:
    """The first block after a smaller table begins with its size, the next doesn't (RFC 7541, 4.2)."""
    peer = Peer()
    response(peer, (b"x-a", b"1"))
    peer.feed(settings((HEADER_TABLE_SIZE, 0)))
    assert response(peer, (b"x-a", b"1"))[1][0] == 0x20
    assert response(peer, (b"x-a", b"1"))[1][0] & 0xE0 != 0x20


def test_the_smallest_size_between_two_blocks_is_said() -> None:
    """A table that was emptied and enlarged again is emptied on both sides (RFC 7541, 4.2)."""
    peer = Peer()
    field = (b"x-a", b"1")
    response(peer, field)
    response(peer, field)
    peer.feed(settings((HEADER_TABLE_SIZE, 0)), settings((HEADER_TABLE_SIZE, 4_096)))
    peer.read()
    decoded, block = response(peer, field)
    assert decoded == [*RESPONSE, field]
    assert block[0] == 0x20, "size 0, before the size that holds now"
    assert response(peer, field)[0] == [*RESPONSE, field]


def test_the_same_size_twice_is_said_once_and_not_forgotten() -> None:
    """A second SETTINGS with the same size, before any block, doesn't lose the first's update."""
    peer = Peer()
    field = (b"x-a", b"1")
    response(peer, field)
    peer.feed(settings((HEADER_TABLE_SIZE, 100)), settings((HEADER_TABLE_SIZE, 100)))
    peer.read()
    peer.decoder.max_allowed_table_size = 100
    assert response(peer, field)[0] == [*RESPONSE, field]


def test_our_smaller_table_holds_once_acknowledged() -> None:
    """A peer may use 4,096 bytes until it has acknowledged less; then its next block must say so (6.5.3)."""
    limits = Limits(header_table_bytes=0)
    peer = Peer(limits=limits, acknowledges=False)
    peer.open((b"x-a", b"1"))
    peer.open((b"x-a", b"1"))
    peer.feed(by_hand.settings_ack())
    peer.encoder.header_table_size = 0
    peer.open((b"x-a", b"1"))
    peer.open((b"x-a", b"1"))

    late = Peer(limits=limits, acknowledges=False)
    # By indexes alone from the second time on: what was right before isn't any more.
    for _ in range(3):
        late.open((b"x-a", b"1"))
    late.feed(by_hand.settings_ack())
    events = late.feed(by_hand.headers(7, late.block((*REQUEST, (b"x-a", b"1")))))
    assert_connection_fault(late, events, ErrorCode.COMPRESSION_ERROR)


def test_our_larger_table_may_be_used() -> None:
    """A peer that has taken a larger table of ours may fill it, and says so by an update."""
    peer = Peer(limits=Limits(header_table_bytes=10_000))
    peer.encoder.header_table_size = 10_000
    fields = [(b"x-%d" % number, bytes([97 + number]) * 1_000) for number in range(8)]
    for _ in range(2):
        for field in fields:
            peer.open(field)
    block = peer.block((*REQUEST, fields[0]))
    assert len(block) < 50, "the table holds it"
    (opened,) = peer.feed(by_hand.headers(peer.next_id, block))
    assert isinstance(opened, StreamOpened)
    assert opened.headers[-1] == HeaderTuple(*fields[0])
