"""The windows that we give: counted for every byte, given back, withheld, and held against who passes them (6.9)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import DataReceived
from epp.extproc.http2.guard import Offence
from epp.extproc.http2.limits import Limits
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import (
    Peer,
    assert_connection_fault,
    assert_stream_fault,
    assert_well,
    data,
    given_back,
    headers,
)

FLOW = ErrorCode.FLOW_CONTROL_ERROR
SMALL = Limits(stream_window_bytes=100_000, connection_window_bytes=200_000, max_frame_bytes=100_000)


def test_padding_counts() -> None:
    """A padded frame takes its whole payload from both windows: the length of the padding, and the padding (6.9.1)."""
    peer = Peer(limits=SMALL)
    stream = peer.open()
    connection = 0
    back = 0
    for _ in range(1_000):
        peer.feed(data(1, b"x", padding=255))
        frames = peer.read()
        connection += given_back(frames, 0)
        back += given_back(frames, 1)
    assert stream.receive_window == 100_000 - 257_000 + back
    assert 257_000 - 100_000 <= back <= 257_000
    assert 257_000 - 200_000 <= connection <= 257_000
    assert connection > 0


def test_a_stream_beyond_its_window() -> None:
    """More than a stream's window ends the stream with FLOW_CONTROL_ERROR; the last byte that fits doesn't (6.9.1)."""
    peer = Peer(limits=SMALL)
    stream = peer.open()
    peer.connection.withhold(stream)
    assert peer.feed(data(1, bytes(99_990))) == [DataReceived(stream, bytes(99_990), ended=False)]
    assert peer.feed(data(1, bytes(8), padding=1)) == [DataReceived(stream, bytes(8), ended=False)]
    assert_stream_fault(peer, peer.feed(data(1, b"!")), stream, FLOW)
    assert peer.tally.offences[Offence.WINDOW_OVERFLOW] == 1


def test_padding_can_pass_a_window_too() -> None:
    """Padding alone that doesn't fit is as wrong as data."""
    peer = Peer(limits=SMALL)
    stream = peer.open()
    peer.connection.withhold(stream)
    peer.feed(data(1, bytes(99_990)))
    assert_stream_fault(peer, peer.feed(data(1, b"", padding=10)), stream, FLOW)


def test_a_connection_beyond_its_window() -> None:
    """More than the connection's window ends the connection (6.9.1)."""
    # The stream's window is larger, so that the connection's is what is passed; both are given back only by half.
    limits = Limits(stream_window_bytes=2**20, connection_window_bytes=65_535, max_frame_bytes=2**17)
    peer = Peer(limits=limits)
    peer.open()
    assert_connection_fault(peer, peer.feed(data(1, bytes(65_536))), FLOW)
    assert peer.tally.offences[Offence.WINDOW_OVERFLOW] == 1


def test_the_connections_window_is_given_back_as_data_comes() -> None:
    """A peer that keeps to its windows can send for ever, on one stream and on many."""
    peer = Peer(limits=SMALL)
    for _ in range(3):
        peer.open()
    windows = {0: 200_000, 1: 100_000, 3: 100_000, 5: 100_000}
    for turn in range(300):
        number = (1, 3, 5)[turn % 3]
        size = min(30_000, windows[number], windows[0])
        assert size > 0, "no window left: the peer would wait for ever"
        windows[number] -= size
        windows[0] -= size
        (event,) = peer.feed(data(number, bytes(size)))
        assert isinstance(event, DataReceived)
        for each in by_hand.of_kind(peer.read(), by_hand.WINDOW_UPDATE):
            windows[each.stream] += each.numbers[0]
            assert windows[each.stream] <= (100_000 if each.stream else 200_000)


def test_withholding() -> None:
    """A stream that is withheld gets no window back until it is released; others and the connection do."""
    peer = Peer(limits=SMALL)
    held, other = peer.open(), peer.open()
    peer.connection.withhold(held)
    peer.feed(data(1, bytes(60_000)), data(1, bytes(40_000)))
    peer.feed(data(3, bytes(60_000)))
    frames = peer.read()
    assert given_back(frames, 1) == 0
    assert given_back(frames, 3) > 0
    assert given_back(frames, 0) > 0
    assert held.receive_window == 0
    peer.connection.release(held)
    assert given_back(peer.read(), 1) == 100_000
    assert held.receive_window == 100_000
    assert other.receive_window >= 40_000
    peer.feed(data(1, bytes(60_000)))
    assert given_back(peer.read(), 1) == 60_000


def test_release_alone_gives_nothing() -> None:
    """Releasing what wasn't withheld, or twice, or with nothing to give back, says nothing."""
    peer = Peer(limits=SMALL)
    stream = peer.open()
    peer.connection.release(stream)
    peer.connection.withhold(stream)
    peer.connection.withhold(stream)
    peer.connection.release(stream)
    peer.connection.release(stream)
    assert peer.read() == []


def test_nothing_is_given_back_to_who_has_ended() -> None:
    """A stream whose peer has said its end, or that is gone, gets no WINDOW_UPDATE any more."""
    peer = Peer(limits=SMALL)
    ended, gone = peer.open(), peer.open()
    for stream in (ended, gone):
        peer.connection.withhold(stream)
        peer.feed(data(stream.id, bytes(60_000)))
    peer.feed(data(1, b"x", end=True), by_hand.rst_stream(3))
    peer.read()
    for stream in (ended, gone):
        peer.connection.release(stream)
    assert peer.read() == []
    third = peer.open()
    peer.feed(data(third.id, bytes(90_000), end=True))
    assert given_back(peer.read(), third.id) == 0


@pytest.mark.parametrize("who", ["us", "peer", "refused", "malformed"])
def test_data_for_a_stream_that_is_gone_counts_for_the_connection(who: str) -> None:
    """DATA that crosses with a reset is dropped, and the connection's window doesn't leak by it (5.1, 6.9)."""
    peer = Peer(limits=Limits(max_streams=1, stream_window_bytes=100_000, connection_window_bytes=200_000))
    stream = peer.open()
    number = 1
    if who == "us":
        peer.connection.reset(stream, ErrorCode.CANCEL)
    elif who == "peer":
        peer.feed(by_hand.rst_stream(1))
    elif who == "refused":
        number = 3
        assert peer.feed(headers(3, peer.block())) == []
    else:
        peer.connection.reset(stream, ErrorCode.CANCEL)
        number = 3
        assert peer.feed(headers(3, peer.block([(b":method", b"POST")]))) == []
    peer.read()
    window = 200_000
    for _ in range(100):
        size = min(20_000, window)
        assert size > 0, "the window has leaked away"
        window -= size
        assert peer.feed(data(number, bytes(size - 10), padding=9)) == []
        window += given_back(peer.read(), 0)
    assert not peer.connection.is_over


def test_data_for_a_stream_that_is_gone_may_overflow_the_connection() -> None:
    """A stream's reset is no licence: beyond the connection's window it ends the connection."""
    peer = Peer(
        limits=Limits(stream_window_bytes=65_535, connection_window_bytes=65_535, max_frame_bytes=2**17)
    )
    peer.connection.reset(peer.open(), ErrorCode.CANCEL)
    assert_connection_fault(peer, peer.feed(data(1, bytes(65_536))), FLOW)


def test_a_stream_fault_by_data_counts_too() -> None:
    """DATA that itself is the fault has used the connection's window, and it is given back."""
    peer = Peer(limits=SMALL)
    for _ in range(30):
        stream = peer.open(end=True)
        size = 50_000
        peer.feed(data(stream.id, bytes(size)))
    frames = peer.read()
    assert given_back(frames, 0) >= 30 * 50_000 - 200_000
    assert_well(peer)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["data", "padded", "withhold", "release", "reset", "open"]),
            st.integers(0, 5),
            st.integers(0, 40_000),
        ),
        max_size=60,
    )
)
@settings(max_examples=60)
def test_windows_never_leak(steps: list[tuple[str, int, int]]) -> None:
    """Whatever happens, an honest peer's account of its windows and ours agree, and the connection's never dries up."""
    peer = Peer(limits=SMALL)
    windows = {0: 200_000}
    for step, which, size in steps:
        ids = [number for number in windows if number]
        if step == "open" or not ids:
            stream = peer.open()
            windows[stream.id] = 100_000
            continue
        number = ids[which % len(ids)]
        stream = peer.connection.streams[number]
        if step == "withhold":
            peer.connection.withhold(stream)
        elif step == "release":
            peer.connection.release(stream)
        elif step == "reset":
            peer.connection.reset(stream, ErrorCode.CANCEL)
            # It was on its way already: it counts for the connection alone.
            late = min(size, windows[0])
            windows[0] -= late
            assert peer.feed(data(number, bytes(late))) == []
            del windows[number]
        else:
            padding = 17 if step == "padded" else None
            fits = min(size, windows[0], windows[number]) - (18 if padding is not None else 0)
            if fits < 0:
                continue
            taken = fits + (18 if padding is not None else 0)
            windows[0] -= taken
            windows[number] -= taken
            (event,) = peer.feed(data(number, bytes(fits), padding=padding))
            assert event == DataReceived(stream, bytes(fits), ended=False)
        for each in by_hand.of_kind(peer.read(), by_hand.WINDOW_UPDATE):
            if each.stream in windows:
                windows[each.stream] += each.numbers[0]
        assert 0 < windows[0] <= 200_000
        for number, stream in peer.connection.streams.items():
            assert stream.receive_window == windows[number] <= 100_000
            assert stream.withheld or windows[number] > 0
