"""What we send: never beyond the peer's windows, in order, in turns, and with nothing left behind (5.2, 6.9)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import Event, PendingSent, StreamReset
from epp.extproc.http2.guard import Offence
from epp.extproc.http2.limits import Allowance, Limits
from epp.extproc.http2.stream import Stream
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import (
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    RESPONSE,
    TRAILERS,
    Peer,
    assert_connection_fault,
    assert_well,
    body,
    of_kind,
    resets,
    window_update,
)


def answering(peer: Peer, *, end: bool = True) -> Stream:
    """A stream whose response has begun."""
    stream = peer.open(end=end)
    peer.connection.send_headers(stream, RESPONSE)
    return stream


def test_what_fits_goes_at_once() -> None:
    """With windows open, the parts go as one after the other, and nothing is pending."""
    peer = Peer()
    stream = answering(peer)
    peer.connection.send_data(stream, b"\0\0\0\0\x06", b"abc", b"", b"def")
    assert stream.pending is None
    frames = peer.read()
    assert body(frames, 1) == b"\0\0\0\0\x06abcdef"
    assert len(of_kind(frames, by_hand.DATA)) == 1
    assert stream.send_window == 65_535 - 11


def test_a_large_message_in_frames() -> None:
    """A message of many frames and several parts comes out whole."""
    peer = Peer((INITIAL_WINDOW_SIZE, 2_000_000))
    peer.feed(window_update(0, 2_000_000))
    stream = answering(peer)
    parts = [bytes([number]) * 50_000 for number in range(20)]
    peer.connection.send_data(stream, *parts)
    assert stream.pending is None
    assert body(peer.read(), 1) == b"".join(parts)


@pytest.mark.parametrize("short", ["stream", "connection", "both"])
def test_what_doesnt_fit_waits(short: str) -> None:
    """Beyond the window it waits, goes on byte for byte as the window grows, and is announced once it is all gone."""
    peer = Peer((INITIAL_WINDOW_SIZE, 1_000_000 if short == "connection" else 10))
    sizes = {"stream": 10, "connection": 65_535, "both": 10}
    whole = bytes(range(256)) * 300
    if short == "stream":
        peer.feed(window_update(0, 1_000_000))
    stream = answering(peer)
    peer.connection.send_data(stream, whole)
    got = body(peer.read(), 1)
    assert len(got) == sizes[short]
    assert stream.pending is not None
    while len(got) < len(whole):
        assert stream.pending is not None
        step = min(3_333, len(whole) - len(got))
        pieces = []
        if short != "connection":
            pieces.append(window_update(1, step))
        if short != "stream":
            pieces.append(window_update(0, step))
        events = peer.feed(*pieces)
        got += body(peer.read(), 1)
        assert events == ([PendingSent(stream)] if len(got) == len(whole) else [])
    assert got == whole
    assert stream.pending is None


def test_later_data_waits_behind_earlier() -> None:
    """While something waits on a stream, what comes after it waits too, even if it would fit."""
    peer = Peer((INITIAL_WINDOW_SIZE, 10))
    stream = answering(peer)
    peer.connection.send_data(stream, b"0123456789abc")
    peer.connection.send_data(stream, b"d")
    peer.connection.send_data(stream, b"e", b"f")
    assert body(peer.read(), 1) == b"0123456789"
    assert peer.feed(window_update(1, 5)) == []
    assert peer.feed(window_update(1, 1)) == [PendingSent(stream)]
    assert body(peer.read(), 1) == b"abcdef"


def test_trailers_wait_behind_data() -> None:
    """Trailers follow what is pending, in the same turn as the last of it, and the stream is over then."""
    peer = Peer((INITIAL_WINDOW_SIZE, 10))
    stream = answering(peer)
    peer.connection.send_data(stream, b"0123456789abc")
    peer.connection.send_trailers(stream, TRAILERS)
    frames = peer.read()
    assert frames[-1].kind == by_hand.DATA
    assert not stream.local_closed
    assert peer.connection.streams == {1: stream}
    assert peer.feed(window_update(1, 2)) == []
    assert [found.kind for found in peer.read()] == [by_hand.DATA]
    assert peer.feed(window_update(1, 1)) == [PendingSent(stream)]
    last, trailers = peer.read()
    assert (last.payload, last.flags) == (b"c", 0)
    assert trailers.flags & END_STREAM
    assert peer.decoder.decode(b"", raw=True) == []
    assert stream.local_closed
    assert peer.connection.streams == {}
    assert_well(peer)


def test_nothing_follows_trailers_that_wait() -> None:
    """Once trailers have been said, more data or a second end are dropped."""
    peer = Peer((INITIAL_WINDOW_SIZE, 1))
    stream = answering(peer)
    peer.connection.send_data(stream, b"ab")
    peer.connection.send_trailers(stream, TRAILERS)
    peer.connection.send_data(stream, b"cd")
    peer.connection.send_trailers(stream, ((b"grpc-status", b"13"),))
    peer.feed(window_update(1, 100))
    frames = peer.read()
    assert body(frames, 1) == b"ab"
    blocks = of_kind(frames, by_hand.HEADERS)
    assert len(blocks) == 2
    peer.fields(blocks[:1])
    assert peer.fields(blocks[1:]) == list(TRAILERS)


def test_no_data_isnt_a_frame_too_many() -> None:
    """Empty data neither waits for a window nor leaves anything pending, also with both windows shut."""
    peer = Peer((INITIAL_WINDOW_SIZE, 0))
    stream = answering(peer)
    peer.connection.send_data(stream, b"")
    peer.connection.send_data(stream)
    assert stream.pending is None
    peer.connection.send_trailers(stream, TRAILERS)
    assert of_kind(peer.read(), by_hand.HEADERS)[-1].flags & END_STREAM


@pytest.mark.parametrize("who", ["us", "peer", "fault", "end"])
def test_a_reset_drops_what_waits(who: str) -> None:
    """Nothing of a stream that is gone is sent, whoever ended it, and the others get the window."""
    peer = Peer((INITIAL_WINDOW_SIZE, 100_000))
    gone, other = answering(peer), answering(peer)
    peer.connection.send_data(gone, b"g" * 90_000)
    peer.connection.send_trailers(gone, TRAILERS)
    peer.connection.send_data(other, b"o" * 1_000)
    assert len(body(peer.read(), 1)) == 65_535
    if who == "us":
        peer.connection.reset(gone, ErrorCode.CANCEL)
    elif who == "peer":
        assert peer.feed(by_hand.rst_stream(1)) == [StreamReset(gone, ErrorCode.CANCEL)]
    elif who == "fault":
        assert len(peer.feed(window_update(1, 0))) == 1
    else:
        peer.connection.close(ErrorCode.NO_ERROR, "bye")
    assert gone.pending is None
    assert gone.pending_end is None
    assert peer.feed(window_update(0, 500_000)) == ([] if who == "end" else [PendingSent(other)])
    frames = peer.read()
    assert body(frames, 1) == b""
    assert len(body(frames, 3)) == (0 if who == "end" else 1_000)
    assert all(found.stream != 1 or found.kind == by_hand.RST_STREAM for found in frames)


def test_streams_take_turns() -> None:
    """A short connection window is shared frame by frame, not given to whoever was first (5.2.2 leaves it to us)."""
    peer = Peer((INITIAL_WINDOW_SIZE, 10_000_000))
    peer.connection.send_data(answering(peer), bytes(65_535))
    streams = [answering(peer) for _ in range(5)]
    peer.read()
    for stream in streams:
        peer.connection.send_data(stream, bytes(200_000))
    sent = dict.fromkeys((stream.id for stream in streams), 0)
    for _ in range(40):
        peer.feed(window_update(0, 16_384))
        for found in of_kind(peer.read(), by_hand.DATA):
            sent[found.stream] += len(found.payload)
        assert max(sent.values()) - min(sent.values()) <= 2 * 16_384
    assert sum(sent.values()) == 40 * 16_384


def test_small_windows_are_shared_too() -> None:
    """However small the updates are, everybody who waits gets something within a round."""
    peer = Peer((INITIAL_WINDOW_SIZE, 1_000_000))
    streams = [answering(peer) for _ in range(10)]
    for stream in streams:
        peer.connection.send_data(stream, bytes(70_000))
    peer.read()
    heard = set()
    for _ in range(10):
        peer.feed(window_update(0, 7))
        heard |= {found.stream for found in of_kind(peer.read(), by_hand.DATA)}
    assert heard == {stream.id for stream in streams}


def test_a_closed_stream_window_holds_up_nobody_else() -> None:
    """A stream that waits for its own window leaves the connection's to the others."""
    peer = Peer((INITIAL_WINDOW_SIZE, 10))
    stuck, free = answering(peer), answering(peer)
    peer.connection.send_data(stuck, bytes(1_000))
    peer.feed(window_update(3, 50_000))
    peer.connection.send_data(free, bytes(40_000))
    assert free.pending is None
    assert len(body(peer.read(), 3)) == 40_000


def test_an_update_is_for_its_stream_alone() -> None:
    """A stream's update doesn't let others go beyond their own windows."""
    peer = Peer((INITIAL_WINDOW_SIZE, 5))
    first, second = answering(peer), answering(peer)
    peer.connection.send_data(first, b"0123456789")
    peer.connection.send_data(second, b"0123456789")
    peer.read()
    assert peer.feed(window_update(3, 100)) == [PendingSent(second)]
    frames = peer.read()
    assert (body(frames, 1), body(frames, 3)) == (b"", b"56789")
    assert (first.send_window, second.send_window) == (0, 95)


def test_stalled_streams_end() -> None:
    """A stream with something to send and no window for `stall_s` is reset by `tick`; others aren't."""
    limits = Limits(stall_s=30.0)
    peer = Peer((INITIAL_WINDOW_SIZE, 10), limits=limits)
    stalled, moving, idle = answering(peer), answering(peer), answering(peer)
    peer.connection.send_data(stalled, bytes(20))
    peer.connection.send_data(moving, bytes(1_000))
    peer.read()
    start = peer.now
    for second in range(29):
        peer.now = start + second
        peer.feed(window_update(3, 1))
        assert peer.connection.tick(peer.now) == []
    peer.read()
    (event,) = peer.connection.tick(start + 30.0)
    assert isinstance(event, StreamReset)
    assert event.stream is stalled
    assert resets(peer.read()) == [(1, event.code)]
    assert set(peer.connection.streams.values()) == {moving, idle}
    assert peer.tally.offences[Offence.STALLED] == 1
    assert peer.connection.tick(start + 57.0) == []
    (event,) = peer.connection.tick(start + 58.0 + 1)
    assert isinstance(event, StreamReset)
    assert event.stream is moving
    assert peer.connection.tick(start + 10_000) == []
    assert_well(peer)


def test_a_connection_that_stalls_stalls_its_streams() -> None:
    """Waiting for the connection's window is waiting as well."""
    peer = Peer((INITIAL_WINDOW_SIZE, 100_000), limits=Limits(stall_s=30.0))
    stream = answering(peer)
    peer.connection.send_data(stream, bytes(90_000))
    assert peer.connection.tick(peer.now + 29.0) == []
    (event,) = peer.connection.tick(peer.now + 31.0)
    assert isinstance(event, StreamReset)
    assert event.stream is stream


def test_waiting_begins_when_it_begins() -> None:
    """What is sent long after the peer was last heard has waited for no time yet: only `tick` told the time since."""
    peer = Peer((INITIAL_WINDOW_SIZE, 0), limits=Limits(stall_s=30.0))
    stream = answering(peer)
    assert peer.connection.tick(peer.now + 1_000.0) == []
    peer.connection.send_data(stream, b"x")
    assert peer.connection.tick(peer.now + 1_005.0) == []
    assert len(peer.connection.tick(peer.now + 1_035.0)) == 1


def test_stalls_can_be_switched_off() -> None:
    """With 0 for `stall_s` a stream may wait for ever."""
    peer = Peer((INITIAL_WINDOW_SIZE, 0), limits=Limits(stall_s=0.0))
    stream = answering(peer)
    peer.connection.send_data(stream, b"x")
    assert peer.connection.tick(peer.now + 1e9) == []
    assert peer.connection.streams == {1: stream}


class Books:
    """The windows as the peer keeps them, and what was asked to be sent."""

    def __init__(self) -> None:
        self.peer = Peer((INITIAL_WINDOW_SIZE, 1_000))
        self.initial = 1_000
        self.largest = 16_384
        self.connection = 65_535
        self.windows: dict[int, int] = {}
        self.streams: dict[int, Stream] = {}
        self.said: dict[int, bytes] = {}
        self.heard: dict[int, bytes] = {}
        self.ended: dict[int, bool] = {}
        self.dropped: set[int] = set()

    def check(self, events: list[Event]) -> None:
        """Read what came: within every window, in order, and announced exactly when it has all gone."""
        waiting = {number for number in self.streams if self.said[number] != self.heard[number]}
        for frame in self.peer.read():
            if frame.kind == by_hand.DATA:
                assert len(frame.payload) <= self.largest
                assert frame.payload or not frame.flags & END_STREAM
                self.windows[frame.stream] -= len(frame.payload)
                self.connection -= len(frame.payload)
                if frame.payload:
                    assert self.windows[frame.stream] >= 0
                    assert self.connection >= 0
                self.heard[frame.stream] += frame.payload
                assert frame.stream not in self.dropped
                assert self.said[frame.stream].startswith(self.heard[frame.stream])
            elif frame.kind == by_hand.HEADERS and frame.flags & END_STREAM:
                assert self.heard[frame.stream] == self.said[frame.stream]
                self.ended[frame.stream] = False
        sent = [event.stream.id for event in events if isinstance(event, PendingSent)]
        assert len(sent) == len(set(sent))
        for number, stream in self.streams.items():
            is_waiting = number not in self.dropped and self.said[number] != self.heard[number]
            assert (stream.pending is not None) is is_waiting
            if number in sent:
                assert not is_waiting
            elif number in waiting and number not in self.dropped and events:
                assert is_waiting
            if is_waiting:
                assert self.windows[number] <= 0 or self.connection <= 0, "it could have been sent"
            elif number not in self.dropped:
                assert not self.ended[number], "trailers stay behind"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "open",
                    "send",
                    "send",
                    "send",
                    "grow",
                    "grow",
                    "connection",
                    "connection",
                    "initial",
                    "frame",
                    "end",
                    "reset",
                ]
            ),
            st.integers(0, 7),
            st.one_of(st.integers(0, 40), st.integers(0, 60_000)),
        ),
        max_size=80,
    )
)
@settings(max_examples=200)
def test_nothing_beyond_the_windows_and_nothing_left_behind(steps: list[tuple[str, int, int]]) -> None:
    """Against books that the peer keeps: all that windows allow is sent, no byte more, in order, and told of."""
    books = Books()
    peer = books.peer
    fill = 0
    for step, which, size in steps:
        events: list[Event] = []
        ids = [number for number in books.streams if number not in books.dropped]
        number = ids[which % len(ids)] if ids else 0
        if step == "open" or not ids:
            stream = answering(peer)
            number = stream.id
            books.streams[number] = stream
            books.windows[number] = books.initial
            books.said[number] = books.heard[number] = b""
            books.ended[number] = False
        elif step == "send" and not books.streams[number].local_closed and not books.ended[number]:
            fill = (fill + 1) % 251
            piece = bytes([fill]) * size
            books.said[number] += piece
            peer.connection.send_data(books.streams[number], piece[: size // 3], piece[size // 3 :])
        elif step == "grow" and size:
            books.windows[number] += size
            events = peer.feed(window_update(number, size))
        elif step == "connection" and size:
            books.connection += size
            events = peer.feed(window_update(0, size))
        elif step == "initial":
            for each in books.windows:
                books.windows[each] += size - books.initial
            books.initial = size
            events = peer.feed(by_hand.settings((INITIAL_WINDOW_SIZE, size)))
        elif step == "frame":
            books.largest = 16_384 + size
            events = peer.feed(by_hand.settings((by_hand.MAX_FRAME_SIZE, books.largest)))
        elif step == "end" and not books.streams[number].local_closed and not books.ended[number]:
            books.ended[number] = books.said[number] != books.heard[number]
            peer.connection.send_trailers(books.streams[number], TRAILERS)
        elif step == "reset" and number in peer.connection.streams:
            books.dropped.add(number)
            peer.connection.reset(books.streams[number], ErrorCode.CANCEL)
        books.check(events)


def test_windows_opened_by_the_byte_earn_no_updates() -> None:
    """WINDOW_UPDATEs that let a few bytes go each are counted as if nothing had been sent for them."""
    peer = Peer((INITIAL_WINDOW_SIZE, 0), limits=Limits(window_updates=Allowance(200, 1.0)))
    stream = answering(peer)
    peer.connection.send_data(stream, bytes(100_000))
    events = peer.feed(*(window_update(stream.id, 1) for _ in range(1_000)))
    assert_connection_fault(peer, events, ErrorCode.ENHANCE_YOUR_CALM)
