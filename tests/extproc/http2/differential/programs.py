"""What clients and servers may do to each other, at random: most of it legal, so that it goes on for a while."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.extproc.http2.differential.steps import (
    FIRST,
    FRAME_BYTES,
    NEW,
    REQUEST,
    TRAILERS,
    Act,
    Block,
    Continuation,
    Data,
    Deed,
    Fields,
    Flaw,
    Goaway,
    Headers,
    Interrupted,
    Ping,
    Priority,
    PushPromise,
    Raw,
    Reset,
    Settings,
    Step,
    Target,
    Where,
    WindowUpdate,
)
from tests.extproc.http2.differential.verdicts import MOST_STREAMS
from tests.extproc.http2.frames_by_hand import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

_PSEUDO, _PLAIN = REQUEST[:4], REQUEST[4:]
_MALFORMED_REQUESTS: tuple[Fields, ...] = (
    (*REQUEST, (b"Upper", b"1")),
    (*REQUEST, (b"", b"1")),
    (*REQUEST, (b"a b", b"1")),
    (*REQUEST, (b"a:b", b"1")),
    (*REQUEST, (b"caf\xc3\xa9", b"1")),
    (*REQUEST, (b"del\x7f", b"1")),
    (*REQUEST, (b"a", b"nul\0")),
    (*REQUEST, (b"a", b"line\r\nbreak")),
    (*REQUEST, (b"a", b"\n")),
    (*REQUEST, (b"a", b" b")),
    (*REQUEST, (b"a", b"b\t")),
    (*REQUEST, (b"a", b" ")),
    (*REQUEST, (b"connection", b"close")),
    (*REQUEST, (b"proxy-connection", b"close")),
    (*REQUEST, (b"keep-alive", b"5")),
    (*REQUEST, (b"transfer-encoding", b"chunked")),
    (*REQUEST, (b"upgrade", b"h2c")),
    (*REQUEST, (b"te", b"gzip")),
    (*REQUEST, (b":path", b"/")),
    (*REQUEST, (b":method", b"POST")),
    (*_PSEUDO, (b":path", b"/"), *_PLAIN),
    (*_PSEUDO, (b":status", b"200"), *_PLAIN),
    (*_PSEUDO, (b":odd", b"1"), *_PLAIN),
    (*_PSEUDO, (b":", b"1"), *_PLAIN),
    (*_PSEUDO, (b":protocol", b"websocket"), *_PLAIN),
    *(tuple(field for field in REQUEST if field[0] != name) for name in (b":method", b":scheme", b":path")),
    tuple((name, b"" if name == b":path" else value) for name, value in REQUEST),
    ((b":method", b"CONNECT"), *REQUEST[1:]),
    TRAILERS,
    (),
)
_MALFORMED_TRAILERS: tuple[Fields, ...] = (
    REQUEST,
    ((b":status", b"200"),),
    ((b"Upper", b"1"),),
    ((b"a", b"b\r"),),
    ((b"connection", b"close"),),
    ((b"te", b"deflate"),),
)
_UNDECODABLE = (
    b"\x80",  # index 0
    b"\xff\xff\xff\x0f",  # an index beyond the table
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # an endless integer
    b"\x40\x0aabc",  # a name that is cut off
    b"\x40\x01a\x83\xff\xff\xff\xff",  # a value that isn't Huffman's
    b"\x3f\xe2\x1f",  # a table size update after fields
    b"\x00",
)
_FIELDS = st.lists(
    st.tuples(
        st.sampled_from((b"content-type", b"x-a", b"x-b", b"user-agent", b"host-of", b"cookie")),
        st.sampled_from((b"", b"application/grpc", b"1", b"a b", b"v" * 90, b"\xe9\xff", b"x\ty")),
    ),
    max_size=3,
).map(tuple)
_LENGTHS = st.sampled_from((0, 1, 2, 100)).map(lambda size: ((b"content-length", b"%d" % size),))


def _made(kind: type, *parts: st.SearchStrategy) -> st.SearchStrategy:
    """Values of a kind; what isn't given has its default."""

    def make(*values: object) -> object:
        return kind(*values)

    return st.builds(make, *parts)


def _block(fields: Fields, flaw: Flaw = Flaw.NONE, raw: bytes = b"") -> st.SearchStrategy[Block]:
    return st.just(Block(fields, flaw, raw))


def _one_in(
    times: int, rare: st.SearchStrategy[object], common: st.SearchStrategy[object]
) -> st.SearchStrategy:
    return st.integers(1, times).flatmap(lambda number: rare if number == times else common)


_GOOD_REQUEST = st.one_of(
    _FIELDS.map(lambda fields: Block((*REQUEST, *fields))),
    _FIELDS.map(lambda fields: Block((*REQUEST, *fields))),
    _LENGTHS.map(lambda fields: Block((*REQUEST, *fields))),
    _LENGTHS.map(lambda fields: Block((*REQUEST, *fields, *fields))),
    _block((*REQUEST, (b"te", b"Trailers"))),
    _block((*_PSEUDO, (b"host", b"epp"))),
    _block((_PSEUDO[3], _PSEUDO[1], _PSEUDO[2], _PSEUDO[0])),
    _block(((b":method", b"CONNECT"), (b":authority", b"epp"))),
)
_BAD_REQUEST = st.one_of(
    st.sampled_from(_MALFORMED_REQUESTS).map(lambda fields: Block(fields, Flaw.MALFORMED)),
    st.sampled_from(_UNDECODABLE).map(lambda raw: Block(REQUEST, Flaw.UNDECODABLE, raw)),
    _block((*REQUEST[:3], *REQUEST[4:]), Flaw.NO_AUTHORITY),
    _block((*REQUEST, (b"host", b"other")), Flaw.OTHER_HOST),
    _block((*REQUEST, (b"host", b"epp"), (b"host", b"epp")), Flaw.OTHER_HOST),
    st.sampled_from((b"ten", b"-1", b"+1", b"1 1", b"")).map(
        lambda value: Block((*REQUEST, (b"content-length", value)), Flaw.LENGTH)
    ),
    _block((*REQUEST, (b"content-length", b"1"), (b"content-length", b"2")), Flaw.LENGTH),
    _block(
        (
            (b":method", b"CONNECT"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"epp"),
            (b":protocol", b"websocket"),
        ),
        Flaw.EXTENDED_CONNECT,
    ),
)
_GOOD_TRAILERS = st.one_of(_FIELDS.map(lambda fields: Block((*TRAILERS, *fields))), _block(()))
_BAD_TRAILERS = st.sampled_from(_MALFORMED_TRAILERS).map(lambda fields: Block(fields, Flaw.MALFORMED))

_CUTS = st.lists(st.sampled_from((0, 1, 30, 50, 99, 100)), max_size=3).map(tuple)
_PADDING = st.one_of(st.none(), st.sampled_from((0, 1, 5, 255)))
_PICKS = st.integers(0, MOST_STREAMS + 2)
_KNOWN = _made(Target, st.just(Where.KNOWN), _PICKS)
_NEW = _made(Target, st.just(Where.NEW), st.sampled_from((0, 0, 0, 0, 1, 2)))
_ODD_TARGETS = _made(
    Target, st.sampled_from((Where.SKIPPED, Where.IDLE, Where.EVEN, Where.CONNECTION)), st.integers(0, 3)
)
_TARGETS = st.one_of(_KNOWN, _KNOWN, _KNOWN, _KNOWN, _ODD_TARGETS)
_DEPENDS = st.sampled_from((None, None, None, None, 2**31 - 1, 2**32 - 1))

_SIZES = st.sampled_from((0, 1, 2, 98, 100, 5_000, FRAME_BYTES))

_OPENS = _made(Headers, _NEW, _GOOD_REQUEST, st.booleans(), _CUTS, _PADDING, _DEPENDS)
_BODIES = _made(Data, _KNOWN, _SIZES, st.sampled_from((False, False, True)), st.none())
_PADDED_BODIES = _made(Data, _KNOWN, st.sampled_from((0, 1, 100)), st.booleans(), _PADDING)
_ENDS = _made(Headers, _KNOWN, _GOOD_TRAILERS, st.just(True), _CUTS, _PADDING, _DEPENDS)
_UPDATES = _made(
    WindowUpdate, st.one_of(_KNOWN, st.just(Target(Where.CONNECTION))), st.sampled_from((1, 100, 70_000))
)
_RESETS = _made(Reset, _KNOWN, st.sampled_from((0, 8, 13, 99, 2**32 - 1)))
_PINGS = _made(Ping, st.binary(min_size=8, max_size=8), st.booleans())
_GOOD_SETTINGS = st.lists(
    st.sampled_from(
        (
            *((1, size) for size in (0, 100, 4_096, 65_536)),
            *((2, value) for value in (0, 1)),
            *((3, number) for number in (0, 1, 2**32 - 1)),
            *((4, size) for size in (0, 1, 1_000, 65_535, 200_000)),
            *((5, size) for size in (16_384, 16_385, 2**24 - 1)),
            *((6, size) for size in (0, 10_000)),
            (8, 1),
            (9, 7),
            (0xFFFF, 2**32 - 1),
        )
    ),
    max_size=4,
).map(lambda values: Settings(tuple(values)))

_LEGAL = st.one_of(
    _OPENS,
    _OPENS,
    _OPENS,
    _BODIES,
    _BODIES,
    _PADDED_BODIES,
    _ENDS,
    _UPDATES,
    _RESETS,
    _PINGS,
    _GOOD_SETTINGS,
    st.just(Settings(ack=True)),
    _made(Priority, _TARGETS.filter(lambda target: target.where is not Where.CONNECTION), st.just(2**32 - 1)),
    _made(Raw, st.sampled_from((11, 0x20, 0xFF)), _TARGETS, st.binary(max_size=20), st.integers(0, 255)),
)

_TOO_LARGE = bytes(FRAME_BYTES + 1)
_BROKEN_FRAMES = st.one_of(
    # A length that its type doesn't have (section 6).
    _made(
        Raw,
        st.just(PING),
        st.just(Target(Where.CONNECTION)),
        st.sampled_from((b"", b"1234567", b"123456789")),
    ),
    _made(Raw, st.just(RST_STREAM), _KNOWN, st.sampled_from((b"", b"123", b"12345"))),
    _made(Raw, st.just(WINDOW_UPDATE), _TARGETS, st.sampled_from((b"", b"123", b"12345"))),
    _made(
        Raw,
        st.just(SETTINGS),
        st.just(Target(Where.CONNECTION)),
        st.sampled_from((b"1", b"12345", b"1234567")),
    ),
    _made(Raw, st.just(GOAWAY), st.just(Target(Where.CONNECTION)), st.sampled_from((b"", b"1234567"))),
    _made(Raw, st.just(PRIORITY), _KNOWN, st.sampled_from((b"", b"1234", b"123456"))),
    # Padding that isn't there, or more of it than there is (6.1, 6.2).
    _made(
        Raw,
        st.sampled_from((DATA, HEADERS)),
        st.just(FIRST),
        st.sampled_from((b"", b"\x09", b"\x09" + bytes(8), b"\xff123")),
        st.sampled_from((PADDED, PADDED | END_STREAM)).map(lambda flags: flags | END_HEADERS),
    ),
    _made(
        Raw,
        st.just(HEADERS),
        st.just(NEW),
        st.sampled_from((b"", b"1234")),
        st.just(PRIORITIZED | END_HEADERS),
    ),
    # Longer than we allow (4.2).
    _made(
        Raw,
        st.sampled_from((DATA, HEADERS, CONTINUATION, RST_STREAM, 0x20)),
        st.just(FIRST),
        st.just(_TOO_LARGE),
        st.just(END_HEADERS),
    ),
    _made(Raw, st.just(SETTINGS), st.just(Target(Where.CONNECTION)), st.just(_TOO_LARGE)),
    # On a stream instead of the connection, or the other way round.
    _made(
        Raw, st.sampled_from((SETTINGS, PING, GOAWAY)), _KNOWN, st.just(bytes(8)), st.sampled_from((0, ACK))
    ),
    _made(
        Raw,
        st.sampled_from((DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION)),
        st.just(Target(Where.CONNECTION)),
        st.just(bytes(4)),
        st.just(END_HEADERS),
    ),
)
_BAD_SETTINGS = st.sampled_from(
    (
        ((2, 2),),
        ((4, 2**31),),
        ((4, 2**32 - 1),),
        ((4, 2**31 - 1),),
        ((5, 16_383),),
        ((5, 2**24),),
        ((3, 5), (5, 0), (4, 2**31)),
        ((4, 2**31), (4, 100)),
        ((8, 7),),
    )
).map(Settings)

_ILLEGAL = st.one_of(
    _made(Headers, _NEW, _BAD_REQUEST, st.booleans(), _CUTS, _PADDING),
    _made(Headers, _NEW, _BAD_REQUEST, st.booleans(), _CUTS, _PADDING),
    _made(Headers, _KNOWN, _BAD_TRAILERS, st.just(True), _CUTS, _PADDING),
    _made(Headers, _KNOWN, _GOOD_TRAILERS, st.booleans(), _CUTS, _PADDING),
    _made(Headers, _ODD_TARGETS, _GOOD_REQUEST, st.booleans(), _CUTS, _PADDING),
    _made(Headers, _NEW, _GOOD_REQUEST, st.booleans(), _CUTS, _PADDING, st.just(0)),
    _made(Data, _ODD_TARGETS, _SIZES, st.booleans(), st.none()),
    _made(Data, _KNOWN, _SIZES, st.booleans(), st.none()),
    _made(Reset, _ODD_TARGETS),
    _made(WindowUpdate, _TARGETS, st.sampled_from((0, 1, 2**31 - 1))),
    _made(WindowUpdate, _KNOWN, st.just(2**31 - 1)),
    _made(Priority, _TARGETS, st.just(0)),
    _made(Continuation, _TARGETS),
    _made(PushPromise, _KNOWN),
    _made(Goaway, st.sampled_from((0, 1))),
    _made(Settings, st.just(((4, 1),)), st.just(True)),
    _made(
        Interrupted,
        st.one_of(
            st.just(Ping()),
            st.just(Settings()),
            st.just(Headers()),
            _made(Data, _KNOWN),
            _made(WindowUpdate, _KNOWN),
            _made(Raw, st.just(0x20), _KNOWN, st.just(b"x")),
            _made(
                Raw, st.just(CONTINUATION), st.just(Target(Where.IDLE, 1)), st.just(b""), st.just(END_HEADERS)
            ),
        ),
    ),
    _BAD_SETTINGS,
    _BROKEN_FRAMES,
    _BROKEN_FRAMES,
)

_ACTS = _made(
    Act,
    st.sampled_from((*Deed, Deed.SEND, Deed.SEND, Deed.FINISH)),
    st.integers(0, MOST_STREAMS),
    st.sampled_from((1, 100, 3_000, 17_000)),
)

_GOING_WELL = st.one_of(_LEGAL, _LEGAL, _LEGAL, _ACTS)
_ANYTHING = _one_in(3, _ILLEGAL, _GOING_WELL)


def _in_a_row(*parts: list[Step | Act]) -> list[Step | Act]:
    return [step for part in parts for step in part]


PROGRAMS: st.SearchStrategy[list[Step | Act]] = st.builds(
    _in_a_row,
    st.lists(_OPENS, max_size=3),
    st.lists(_GOING_WELL, min_size=4, max_size=16),
    st.lists(_ANYTHING, min_size=1, max_size=8),
)
"""Streams, what becomes of them, and what ends it all, most likely."""
PIECES = st.lists(st.sampled_from((1, 1, 2, 3, 5, 8, 9, 10, 17, 40, 200, 5_000)), max_size=60)
"""Sizes of reads."""
