"""Header blocks read and written, against a plain `hpack` coder that keeps no cache (RFC 7541)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hpack import Decoder, Encoder, HeaderTuple, HPACKError, NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import StreamOpened, StreamReset, TrailersReceived
from epp.extproc.http2.limits import Limits
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    Peer,
    assert_connection_fault,
    assert_well,
    headers,
)

Fields = list[tuple[bytes, bytes]]

# RFC 7541, appendix C.3: three requests on one connection, without Huffman coding; C.4: with it.
PLAIN = (
    "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "8286 84be 5808 6e6f 2d63 6163 6865",
    "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
)
HUFFMAN = (
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
)
MEANT: tuple[Fields, ...] = (
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
)


def read_block(peer: Peer, block: bytes) -> Fields:
    """Open the next stream with this block: what the engine read."""
    number = peer.next_id
    peer.next_id += 2
    (event,) = peer.feed(headers(number, block))
    assert isinstance(event, StreamOpened)
    for name, value in event.headers:
        assert type(name) is bytes
        assert type(value) is bytes
    peer.connection.reset(event.stream, ErrorCode.CANCEL)
    peer.connection.take()
    return list(event.headers)


@pytest.mark.parametrize("blocks", [PLAIN, HUFFMAN])
def test_the_rfcs_own_examples(blocks: tuple[str, ...]) -> None:
    """The three requests of appendix C give the headers that stand beside them."""
    peer = Peer()
    for block, meant in zip(blocks, MEANT, strict=True):
        assert read_block(peer, bytes.fromhex(block)) == meant


@pytest.mark.parametrize("blocks", [PLAIN, HUFFMAN])
def test_the_same_again_from_the_table(blocks: tuple[str, ...]) -> None:
    """The first request again, as indexes alone, again and again, before and after others have moved the table."""
    peer = Peer()
    first, second, third = map(bytes.fromhex, blocks)
    assert read_block(peer, first) == MEANT[0]
    for _ in range(3):
        assert read_block(peer, b"\x82\x86\x84\xbe") == MEANT[0]
    assert read_block(peer, second) == MEANT[1]
    for _ in range(3):
        assert read_block(peer, b"\x82\x86\x84\xbf") == MEANT[0], "one further now"
        assert read_block(peer, b"\x82\x86\x84\xbf\xbe") == MEANT[1]
    assert read_block(peer, third) == MEANT[2]
    assert read_block(peer, b"\x82\x86\x84\xc0\xbf\xbe") == [*MEANT[1], MEANT[2][-1]]


def test_an_emptied_table_forgets() -> None:
    """A block that was good is an error once an update has emptied the table it points into (4.4)."""
    peer = Peer()
    assert read_block(peer, bytes.fromhex(PLAIN[0])) == MEANT[0]
    assert read_block(peer, b"\x82\x86\x84\xbe") == MEANT[0]
    assert read_block(peer, b"\x20\x82\x86\x84") == MEANT[0][:3]
    assert_connection_fault(peer, peer.feed(headers(7, b"\x82\x86\x84\xbe")), ErrorCode.COMPRESSION_ERROR)


def test_trailers_move_the_table_as_well() -> None:
    """An entry that came with trailers shifts what the next block's indexes mean."""
    peer = Peer()
    assert read_block(peer, bytes.fromhex(PLAIN[0])) == MEANT[0]
    stream = peer.next_id
    peer.next_id += 2
    peer.feed(headers(stream, b"\x82\x86\x84\xbe"))
    peer.feed(headers(stream, b"\x40\x01a\x01b", end=True))
    assert read_block(peer, b"\x82\x86\x84\xbf") == MEANT[0]
    assert read_block(peer, b"\x82\x86\x84\xbe") == [*MEANT[0][:3], (b"a", b"b")]


def test_a_malformed_block_moves_the_table_as_well() -> None:
    """A request that is refused for its headers has still changed the table."""
    peer = Peer()
    assert read_block(peer, bytes.fromhex(PLAIN[0])) == MEANT[0]
    assert read_block(peer, b"\x82\x86\x84\xbe") == MEANT[0]
    number = peer.next_id
    peer.next_id += 2
    assert peer.feed(headers(number, b"\x82\x86\x84\xbe\x40\x01A\x01b")) == []
    assert by_hand.resets(peer.read()) == [(number, ErrorCode.PROTOCOL_ERROR)]
    assert read_block(peer, b"\x82\x86\x84\xbf") == MEANT[0]
    number = peer.next_id
    assert peer.feed(headers(number, b"\x82\x86\x84\xbe")) == [], "the upper-case name, now by index"
    assert by_hand.resets(peer.read()) == [(number, ErrorCode.PROTOCOL_ERROR)]


def test_the_same_indexes_as_request_and_as_trailers() -> None:
    """Whether a block may be depends on where it stands, however often it was read before."""
    peer = Peer()
    request, trailers = b"\x82\x86\x84\xbe", b"\xbf"
    assert read_block(peer, b"\x82\x86\x84\x40\x01a\x01b") == [*MEANT[0][:3], (b"a", b"b")]
    assert read_block(peer, b"\x82\x86\x84\x40\x01c\x01d") == [*MEANT[0][:3], (b"c", b"d")]
    for _ in range(3):
        assert read_block(peer, request) == [*MEANT[0][:3], (b"c", b"d")]
        stream = peer.open_raw(request)
        (ended,) = peer.feed(headers(stream.id, trailers, end=True))
        assert ended == TrailersReceived(stream, ((b"a", b"b"),))
        stream = peer.open_raw(request)
        (reset,) = peer.feed(headers(stream.id, request, end=True))
        assert reset == StreamReset(stream, ErrorCode.PROTOCOL_ERROR)
        number = peer.next_id
        peer.next_id += 2
        assert peer.feed(headers(number, trailers)) == []
        assert by_hand.resets(peer.read())[-1] == (number, ErrorCode.PROTOCOL_ERROR)


NAMES = [b"x-a", b"x-b", b"cookie", b"accept", b"x-" + b"long" * 40]
VALUES = [b"", b"1", b"2", b"gzip, deflate", b"v" * 300, bytes(range(0x80, 0x100))]

field = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))
request = st.tuples(
    st.sampled_from([b"/", b"/index.html", b"/a.B/C", b"/d.E/F"]), st.lists(field, max_size=6)
).map(lambda drawn: [(b":method", b"POST"), (b":scheme", b"http"), (b":path", drawn[0]), *drawn[1]])
requests = st.lists(
    st.tuples(
        request,
        st.integers(1, 4),
        st.sampled_from([None, None, None, 0, 40, 200, 1_000, 4_096]),
        st.booleans(),
    ),
    max_size=20,
)


@given(requests)
@settings(max_examples=60)
def test_what_is_read_is_what_was_written(steps: list[tuple[Fields, int, int | None, bool]]) -> None:
    """Any requests, each several times, through a table of any size that changes: the fields come as they were sent."""
    peer = Peer()
    for fields, times, table, never in steps:
        if table is not None:
            peer.encoder.header_table_size = table
        for _ in range(times):
            kind = NeverIndexedHeaderTuple if never else HeaderTuple
            block = peer.encoder.encode([kind(*each) for each in fields])
            assert read_block(peer, block) == fields


@given(st.data())
@settings(max_examples=100)
def test_indexes_mean_what_a_plain_decoder_says(drawn: st.DataObject) -> None:
    """Blocks of random instructions are read as a decoder without a cache reads them, and are errors where it errs."""
    peer = Peer()
    plain = Decoder()
    start = b"\x83\x86\x84"
    grow = st.builds(
        lambda name, value: b"\x40" + bytes((len(name),)) + name + bytes((len(value),)) + value,
        st.sampled_from([b"x-a", b"x-b"]),
        st.sampled_from([b"", b"1", b"2" * 100]),
    )
    keep = st.just(b"\x00\x03x-c\x011")
    index = st.integers(62, 75).map(lambda number: bytes((0x80 | number,)))
    shrink = st.sampled_from([b"\x20", b"\x3f\x45", b"\x3f\xe1\x1f"])
    few = st.lists(index, max_size=3).map(b"".join)
    repeats = drawn.draw(st.lists(few, min_size=1, max_size=3))
    block = st.one_of(
        st.sampled_from(repeats).map(lambda indexes: start + indexes),
        st.sampled_from(repeats).map(lambda indexes: start + indexes),
        grow.map(lambda literal: start + literal),
        keep.map(lambda literal: start + literal),
        st.tuples(shrink, few).map(lambda pair: pair[0] + start + pair[1]),
    )
    # With a table that is filled at first, few indexes point at nothing.
    filled = start + b"".join(b"\x40\x01%c\x011" % letter for letter in b"abcdefghijklmn")
    for data in [filled, *drawn.draw(st.lists(block, max_size=40))]:
        try:
            meant = [(bytes(name), bytes(value)) for name, value in plain.decode(data, raw=True)]
        except HPACKError:
            assert_connection_fault(peer, peer.feed(headers(peer.next_id, data)), ErrorCode.COMPRESSION_ERROR)
            return
        assert read_block(peer, data) == meant


RESPONSES: list[Fields] = [
    list(RESPONSE),
    [*RESPONSE, (b"x-a", b"1")],
    [*RESPONSE, (b"x-a", b"2")],
    [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", b"12")],
    [(b":status", b"415")],
    [*RESPONSE, (b"grpc-message", b"m" * 900)],
    [*RESPONSE, *((b"x-%d" % number, b"v" * 200) for number in range(12))],
]


@given(
    st.lists(
        st.one_of(
            st.integers(0, len(RESPONSES) - 1),
            st.integers(0, len(RESPONSES) - 1),
            st.sampled_from([0, 50, 100, 1_000, 4_096, 10_000]).map(lambda size: -size - 1),
        ),
        max_size=60,
    )
)
@settings(max_examples=100)
def test_what_we_write_is_what_a_plain_decoder_reads(steps: list[int]) -> None:
    """Any responses, again and again, while the peer changes its table: a strict decoder reads what we meant."""
    peer = Peer()
    for step in steps:
        if step < 0:
            size = -step - 1
            peer.feed(by_hand.settings((by_hand.HEADER_TABLE_SIZE, size)))
            assert by_hand.of_kind(peer.read(), by_hand.SETTINGS)
            peer.decoder.max_allowed_table_size = size
            continue
        fields = RESPONSES[step]
        stream = peer.open(end=True)
        peer.connection.send_headers(stream, tuple(fields))
        peer.connection.send_trailers(stream, TRAILERS)
        first, last = peer.read()
        assert peer.fields([first]) == fields
        assert peer.fields([last]) == list(TRAILERS)


def test_trailers_that_wait_are_encoded_in_their_turn() -> None:
    """A block that waits behind data, while others are sent, can be decoded in the order of the wire (4.1)."""
    peer = Peer((by_hand.INITIAL_WINDOW_SIZE, 10))
    slow, fast = peer.open(end=True), peer.open(end=True)
    peer.connection.send_headers(slow, RESPONSE)
    peer.connection.send_data(slow, b"x" * 11)
    peer.connection.send_trailers(slow, (*TRAILERS, (b"x-slow", b"1")))
    peer.connection.send_headers(fast, (*RESPONSE, (b"x-fast", b"2")))
    peer.connection.send_trailers(fast, TRAILERS)
    peer.feed(by_hand.window_update(1, 1))
    blocks = by_hand.of_kind(peer.read(), by_hand.HEADERS)
    assert [(found.stream, peer.fields([found])) for found in blocks] == [
        (1, list(RESPONSE)),
        (3, [*RESPONSE, (b"x-fast", b"2")]),
        (3, list(TRAILERS)),
        (1, [*TRAILERS, (b"x-slow", b"1")]),
    ]


def test_repeated_responses_are_indexes() -> None:
    """What is sent for every stream costs a few bytes from the second time on."""
    peer = Peer()
    sizes = []
    for _ in range(3):
        stream = peer.open(end=True)
        peer.connection.send_headers(stream, RESPONSE)
        peer.connection.send_trailers(stream, TRAILERS)
        sizes.append([len(found.payload) for found in peer.read()])
    assert sizes[1] == sizes[2] == [2, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x82\x86\x84\x80",
        b"\x82\x86\x84\xff\x01",
        b"\x82\x86\x84\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x82\x86\x84\x40",
        b"\x82\x86\x84\x40\x03x-",
        b"\x82\x86\x84\x00\x01a\x7f\x00",
        b"\x82\x86\x84\x00\x01a\x81\x00",
        b"\x82\x86\x84\x00\x01a\x84\xff\xff\xff\xff",
        b"\x82\x86\x84\x7f\x01",
        b"\x82\x20\x86\x84",
        b"\x82\x86\x84\x3f\xe1\x1f",
        b"\x3f\xe2\x1f\x82\x86\x84",
        b"\x3f\xff\xff\xff\xff\xff\x0f",
        b"\x3f",
        b"\xff",
    ],
)
@pytest.mark.parametrize("where", ["request", "trailers", "gone"])
def test_what_cant_be_decoded(wrong: bytes, where: str) -> None:
    """A broken block ends the connection with COMPRESSION_ERROR wherever it stands, even on a stream that is gone."""
    peer = Peer()
    stream = peer.open()
    if where == "gone":
        peer.connection.reset(stream, ErrorCode.CANCEL)
        peer.read()
    number = 3 if where == "request" else 1
    assert_connection_fault(peer, peer.feed(headers(number, wrong, end=True)), ErrorCode.COMPRESSION_ERROR)


def test_a_list_that_is_too_large() -> None:
    """A header list beyond the limit costs its stream, and the table follows it (10.5.1)."""
    peer = Peer(limits=Limits(max_header_list_bytes=2_000))
    peer.open((b"x-a", b"1"))
    fields = [*REQUEST, *((b"x-%d" % number, b"v" * 100) for number in range(20))]
    assert peer.feed(headers(3, peer.block(fields))) == []
    assert [number for number, _ in by_hand.resets(peer.read())] == [3]
    peer.next_id = 5
    stream = peer.open((b"x-19", b"v" * 100))
    assert stream.id == 5
    assert_well(peer)


def test_a_list_that_just_fits() -> None:
    """The limit counts names, values and 32 bytes for each field, and is itself allowed (6.5.2)."""
    base = sum(len(name) + len(value) + 32 for name, value in REQUEST)
    for over in (0, 1):
        peer = Peer(limits=Limits(max_header_list_bytes=base + 32 + 1_000))
        events = peer.feed(headers(1, peer.block([*REQUEST, (b"x" * 500, b"y" * (500 + over))])))
        assert len(events) == 1 - over


def bomb_by_index() -> bytes:
    """A large entry, and then one byte for each time it is meant."""
    encoder = Encoder()
    return encoder.encode([*REQUEST, (b"x", b"y" * 3_900)]) + b"\xbe" * 4_000


def bomb_by_empty_fields() -> bytes:
    """Thousands of fields that cost two bytes each."""
    return Encoder().encode(list(REQUEST)) + b"\x0f\x04\x00" * 5_000


@pytest.mark.parametrize("bomb", [bomb_by_index, bomb_by_empty_fields])
def test_a_bomb(bomb: Callable[[], bytes]) -> None:
    """A block that is small and means megabytes ends the connection before it is all unpacked."""
    peer = Peer()
    assert_connection_fault(peer, peer.feed(headers(1, bomb())), ErrorCode.ENHANCE_YOUR_CALM)
