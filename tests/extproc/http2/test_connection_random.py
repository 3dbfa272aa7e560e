"""Whatever comes, however it is cut: nothing raises, and the same bytes mean the same."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import (
    ConnectionEnded,
    DataReceived,
    Event,
    PendingSent,
    StreamOpened,
    StreamReset,
    TrailersReceived,
)
from epp.extproc.http2.limits import Limits
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import REQUEST, RESPONSE, TRAILERS, Peer

LIMITS = Limits(
    max_streams=3,
    stream_window_bytes=65_535,
    connection_window_bytes=70_000,
    max_frame_bytes=16_384,
    max_header_list_bytes=1_024,
    max_unsent_replies=1_000_000,
)

GOOD = Encoder().encode([*REQUEST, (b"x-a", b"1")])
AGAIN = b"\x83\x86\x84\xbe"

numbers = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7, 9, 2, 2**31 - 1])
blocks = st.sampled_from([GOOD, GOOD, AGAIN, b"", b"\xff", b"\x88", b"\x20" + GOOD, b"\x40\x01A\x01b"])
four = st.sampled_from([0, 1, 100, 65_535, 2**31 - 1, 2**32 - 1]).map(
    lambda number: number.to_bytes(4, "big")
)
well_formed = st.one_of(
    st.builds(
        by_hand.headers,
        numbers,
        blocks,
        end=st.booleans(),
        whole=st.sampled_from([True, True, True, False]),
        padding=st.sampled_from([None, None, 0, 5]),
        priority=st.booleans(),
    ),
    st.builds(by_hand.continuation, numbers, blocks, whole=st.booleans()),
    st.builds(
        by_hand.data,
        numbers,
        st.sampled_from([b"", b"abc", bytes(16_000)]),
        end=st.booleans(),
        padding=st.sampled_from([None, None, 0, 200]),
    ),
    st.builds(by_hand.rst_stream, numbers, st.sampled_from([0, 8, 77])),
    st.builds(by_hand.window_update, numbers, st.sampled_from([0, 1, 1_000, 2**31 - 1])),
    st.builds(by_hand.ping, ack=st.booleans()),
    st.builds(by_hand.goaway),
    st.builds(
        lambda pairs: by_hand.settings(*pairs),
        st.lists(
            st.tuples(st.integers(0, 8), st.sampled_from([0, 1, 100, 16_384, 65_535, 2**31 - 1, 2**32 - 1])),
            max_size=3,
        ),
    ),
)
odd = st.builds(
    by_hand.frame,
    st.integers(0, 12),
    st.one_of(st.binary(max_size=20), four),
    flags=st.integers(0, 255),
    stream=numbers,
)
frames = st.lists(st.one_of(well_formed, well_formed, well_formed, odd, st.binary(max_size=12)), max_size=30)


def described(event: Event) -> tuple[object, ...]:
    """An event without its stream object, which differs from one connection to the next."""
    match event:
        case StreamOpened(stream, headers, ended):
            return ("opened", stream.id, headers, ended)
        case DataReceived(stream, data, ended):
            return ("data", stream.id, data, ended)
        case TrailersReceived(stream, headers):
            return ("trailers", stream.id, headers)
        case StreamReset(stream, code):
            return ("reset", stream.id, code)
        case PendingSent(stream):
            return ("sent", stream.id)
        case ConnectionEnded(code, detail):
            return ("ended", code, detail)


def respond(peer: Peer, events: Sequence[Event]) -> None:
    """Answer as a server would: each request by headers, some data, and trailers."""
    for event in events:
        match event:
            case StreamOpened(stream):
                peer.connection.send_headers(stream, RESPONSE)
                peer.connection.send_data(stream, bytes(1_000 * stream.id % 70_000))
            case DataReceived(stream, data):
                peer.connection.send_data(stream, data)
            case PendingSent(stream):
                peer.connection.send_trailers(stream, TRAILERS)
            case _:
                pass


def fed(peer: Peer, pieces: Sequence[bytes], *, answers: bool) -> tuple[list[tuple[object, ...]], bytes]:
    """What happens, and what is written, over these reads."""
    happened = []
    written = b""
    for piece in pieces:
        over = peer.connection.is_over
        events = peer.connection.receive(piece, peer.now)
        assert not (over and events)
        happened += [described(event) for event in events]
        if answers:
            respond(peer, events)
        written += peer.written()
    return happened, written


def obeyed(peer: Peer, happened: Sequence[tuple[object, ...]], written: bytes) -> None:
    """The order of events that everybody above relies on."""
    by_hand.split(written)
    opened: set[object] = set()
    ended: set[object] = set()
    gone: set[object] = set()
    for at, (kind, *rest) in enumerate(happened):
        if kind == "ended":
            assert at == len(happened) - 1
            assert opened == gone | (opened & ended), "a stream that nobody was told the end of"
            continue
        number = rest[0]
        if kind == "opened":
            assert number not in opened
            opened.add(number)
            if rest[2]:
                ended.add(number)
            continue
        assert number in opened
        assert number not in gone
        if kind in ("data", "trailers"):
            assert number not in ended
            if kind == "trailers" or rest[2]:
                ended.add(number)
        elif kind == "reset":
            gone.add(number)
    assert peer.connection.is_over is bool(happened and happened[-1][0] == "ended")
    assert set(peer.connection.streams) <= opened - gone


@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans())
@settings(max_examples=150)
def test_noise_never_raises(pieces: list[bytes], is_greeted: bool) -> None:
    """Random bytes, before the preface or after the greeting, end the connection or don't; nothing raises."""
    peer = Peer(limits=LIMITS, greets=is_greeted)
    happened, written = fed(peer, pieces, answers=True)
    obeyed(peer, happened, written)


@given(frames)
@settings(max_examples=300)
def test_frames_of_all_kinds_never_raise(pieces: list[bytes]) -> None:
    """Legal and illegal frames in any order: nothing raises, and events come in an order that makes sense."""
    peer = Peer(limits=LIMITS)
    happened, written = fed(peer, pieces, answers=True)
    obeyed(peer, happened, written)
    peer.connection.tick(peer.now + 1_000)
    peer.connection.close(ErrorCode.NO_ERROR, "bye")
    assert peer.connection.streams == {}


@given(frames, st.lists(st.integers(0, 400), max_size=20), st.booleans())
@settings(max_examples=150)
def test_how_it_is_cut_makes_no_difference(pieces: list[bytes], cuts: list[int], byte_by_byte: bool) -> None:
    """The same bytes in one read, cut anywhere, or byte by byte: the same events and the same bytes back."""
    whole = by_hand.PREFACE + by_hand.settings() + by_hand.settings_ack() + b"".join(pieces)
    if byte_by_byte and len(whole) < 3_000:
        parts = [whole[at : at + 1] for at in range(len(whole))]
    else:
        edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
        parts = [whole[start:stop] for start, stop in itertools.pairwise(edges)]
    results = []
    for reads in ([whole], parts):
        peer = Peer(limits=LIMITS, greets=False)
        results.append(fed(peer, reads, answers=False))
        obeyed(peer, *results[-1])
    assert results[0] == results[1]
