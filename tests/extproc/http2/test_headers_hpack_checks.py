"""What a request's headers must be, and what is malformed: a stream error, and no request (8.1.1, 8.2, 8.3)."""

from __future__ import annotations

import tracemalloc

import pytest

from epp.extproc.http2.codes import ErrorCode
from epp.extproc.http2.events import DataReceived, Event, StreamOpened, StreamReset, TrailersReceived
from epp.extproc.http2.limits import Allowance, Limits
from tests.extproc.http2 import frames_by_hand as by_hand
from tests.extproc.http2.frames_by_hand import (
    REQUEST,
    Peer,
    assert_connection_fault,
    assert_well,
    data,
    headers,
    resets,
)

METHOD, SCHEME, PATH, AUTHORITY, TE, TYPE = REQUEST

Fields = list[tuple[bytes, bytes]]


def plus(*extra: tuple[bytes, bytes]) -> Fields:
    """The ordinary request and these."""
    return [*REQUEST, *extra]


MALFORMED: dict[str, Fields] = {
    "8.2 an upper-case name": plus((b"X-Name", b"1")),
    "8.2 one upper-case letter": plus((b"x-namE", b"1")),
    "8.2 an empty name": plus((b"", b"1")),
    "8.2.1 a space in a name": plus((b"x name", b"1")),
    "8.2.1 a space after a name": plus((b"x-name ", b"1")),
    "8.2.1 NUL in a name": plus((b"x\0name", b"1")),
    "8.2.1 a line feed in a name": plus((b"x-name\n", b"1")),
    "8.2.1 a tab in a name": plus((b"\tx", b"1")),
    "8.2.1 DEL in a name": plus((b"x\x7f", b"1")),
    "8.2.1 a byte beyond ASCII in a name": plus((b"x\x80", b"1")),
    "8.2.1 the last byte in a name": plus((b"x\xff", b"1")),
    "8.2.1 a colon in a name": plus((b"x:name", b"1")),
    "8.2.1 a colon after a name": plus((b"x-name:", b"1")),
    "8.2.1 NUL in a value": plus((b"x-name", b"1\x002")),
    "8.2.1 a line feed in a value": plus((b"x-name", b"1\n2")),
    "8.2.1 a line feed at the end of a value": plus((b"x-name", b"1\n")),
    "8.2.1 a carriage return in a value": plus((b"x-name", b"1\r2")),
    "8.2.1 a space before a value": plus((b"x-name", b" 1")),
    "8.2.1 a space after a value": plus((b"x-name", b"1 ")),
    "8.2.1 a tab before a value": plus((b"x-name", b"\t1")),
    "8.2.1 a tab after a value": plus((b"x-name", b"1\t")),
    "8.2.1 a value that is one space": plus((b"x-name", b" ")),
    "8.2.1 a line feed in a path": [METHOD, SCHEME, (b":path", b"/a\nb")],
    "8.2.2 connection": plus((b"connection", b"close")),
    "8.2.2 connection, empty": plus((b"connection", b"")),
    "8.2.2 keep-alive": plus((b"keep-alive", b"timeout=5")),
    "8.2.2 proxy-connection": plus((b"proxy-connection", b"keep-alive")),
    "8.2.2 transfer-encoding": plus((b"transfer-encoding", b"chunked")),
    "8.2.2 upgrade": plus((b"upgrade", b"h2c")),
    "8.2.2 te of something else": [METHOD, SCHEME, PATH, (b"te", b"gzip")],
    "8.2.2 te of trailers and more": [METHOD, SCHEME, PATH, (b"te", b"trailers, deflate")],
    "8.3 a pseudo-header that nobody knows": [METHOD, SCHEME, PATH, (b":made-up", b"1"), TE],
    "8.3 a response's pseudo-header": [METHOD, SCHEME, PATH, (b":status", b"200"), TE],
    "8.3 :protocol, which we don't offer": [METHOD, SCHEME, PATH, (b":protocol", b"websocket"), TE],
    "8.3 a pseudo-header with nothing behind the colon": [METHOD, SCHEME, PATH, (b":", b"1")],
    "8.3 a pseudo-header in upper case": [METHOD, SCHEME, (b":Path", b"/")],
    "8.3 a pseudo-header after another": [METHOD, SCHEME, TE, PATH],
    "8.3 a pseudo-header after all": [METHOD, SCHEME, PATH, TE, AUTHORITY],
    "8.3.1 no :method": [SCHEME, PATH, AUTHORITY],
    "8.3.1 no :scheme": [METHOD, PATH, AUTHORITY],
    "8.3.1 no :path": [METHOD, SCHEME, AUTHORITY],
    "8.3.1 nothing at all": [],
    "8.3.1 no pseudo-header at all": [TE, TYPE],
    "8.3.1 :method twice": [METHOD, METHOD, SCHEME, PATH],
    "8.3.1 :scheme twice": [METHOD, SCHEME, PATH, (b":scheme", b"https")],
    "8.3.1 :path twice": [METHOD, SCHEME, PATH, PATH],
    "8.3.1 :authority twice": [METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY],
    "8.3.1 an empty :path": [METHOD, SCHEME, (b":path", b""), AUTHORITY],
    "8.5 CONNECT with a path": [(b":method", b"CONNECT"), SCHEME, PATH, AUTHORITY],
    "8.5 CONNECT without an authority": [(b":method", b"CONNECT")],
    "8.1.1 a content-length of more digits than Python reads": plus((b"content-length", b"1" * 5_000)),
    "8.1.1 a content-length that isn't a number": plus((b"content-length", b"many")),
    "8.1.1 a negative content-length": plus((b"content-length", b"-1")),
    "8.1.1 an empty content-length": plus((b"content-length", b"")),
    "8.1.1 a content-length of two minds": plus((b"content-length", b"5"), (b"content-length", b"6")),
}

FINE: dict[str, Fields] = {
    "no :authority": [METHOD, SCHEME, PATH],
    "pseudo-headers in another order": [AUTHORITY, PATH, SCHEME, METHOD, TE],
    "CONNECT": [(b":method", b"CONNECT"), AUTHORITY],
    "the same content-length twice": plus((b"content-length", b"5"), (b"content-length", b"5")),
    "an asterisk for a path": [(b":method", b"OPTIONS"), SCHEME, (b":path", b"*")],
    "another scheme": [METHOD, (b":scheme", b"https"), PATH],
    "all the characters of a token": plus((b"!#$%&'*+-.^_`|~0123456789abcxyz", b"1")),
    "an empty value": plus((b"x-name", b"")),
    "a space within a value": plus((b"x-name", b"a b\tc")),
    "bytes beyond ASCII in a value": plus((b"x-name", bytes(range(0x80, 0x100)))),
    "a name twice": plus((b"x-name", b"1"), (b"x-name", b"2"), (b"cookie", b"a=1"), (b"cookie", b"b=2")),
    "a binary header": plus((b"x-name-bin", b"AAEC")),
    "no te": [METHOD, SCHEME, PATH, TYPE],
    "a colon in a value": plus((b"x-name", b":1")),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("ends", [True, False])
def test_a_malformed_request(name: str, ends: bool) -> None:
    """It is never a request: its stream ends with PROTOCOL_ERROR, nobody hears of it, and the connection goes on."""
    peer = Peer()
    assert peer.feed(headers(1, peer.block(MALFORMED[name]), end=ends)) == []
    assert resets(peer.read()) == [(1, ErrorCode.PROTOCOL_ERROR)]
    assert peer.connection.streams == {}
    assert peer.feed(data(1, b"on its way")) == []
    peer.next_id = 3
    assert_well(peer)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_again(name: str) -> None:
    """The second and third time, when all of it comes from the table, it is as malformed as the first."""
    peer = Peer()
    for number in (1, 3, 5, 7):
        assert peer.feed(headers(number, peer.block(MALFORMED[name]))) == []
        assert resets(peer.read()) == [(number, ErrorCode.PROTOCOL_ERROR)]


@pytest.mark.parametrize("name", FINE)
def test_an_unusual_request(name: str) -> None:
    """What looks odd and is allowed is passed on as it came, each time."""
    peer = Peer()
    for number in (1, 3, 5):
        (opened,) = peer.feed(headers(number, peer.block(FINE[name])))
        assert isinstance(opened, StreamOpened)
        assert opened.headers == tuple(FINE[name])


@pytest.mark.parametrize(
    "fields",
    [
        [(b":path", b"/")],
        [(b":status", b"200")],
        [(b"x-ok", b"1"), (b":method", b"POST")],
        [(b"X-Upper", b"1")],
        [(b"x-name", b"a\nb")],
        [(b"connection", b"close")],
        [(b"", b"")],
    ],
)
def test_malformed_trailers(fields: Fields) -> None:
    """Trailers are held to the same rules, and have no pseudo-headers (8.1): the stream ends with PROTOCOL_ERROR."""
    peer = Peer()
    stream = peer.open()
    events = peer.feed(headers(1, peer.block(fields), end=True))
    by_hand.assert_stream_fault(peer, events, stream, ErrorCode.PROTOCOL_ERROR)


# ------------------------------------------------------------------------------------- content-length


def sized(peer: Peer, length: bytes, *pieces: bytes) -> list[Event]:
    """A request that announces a length, and these."""
    number = peer.next_id
    peer.next_id += 2
    return peer.feed(headers(number, peer.block(plus((b"content-length", length)))), *pieces)


def kinds(events: list[Event]) -> list[type]:
    """What happened, in short."""
    return [type(event) for event in events]


def test_a_length_that_is_kept() -> None:
    """As much as was announced, in any number of pieces, padded or not, with trailers or without."""
    peer = Peer()
    assert kinds(sized(peer, b"5", data(1, b"12345", end=True))) == [StreamOpened, DataReceived]
    events = sized(
        peer, b"5", data(3, b"12"), data(3, b"", padding=9), data(3, b"345", padding=1), data(3, end=True)
    )
    assert kinds(events) == [StreamOpened, *[DataReceived] * 4]
    assert kinds(sized(peer, b"2", data(5, b"12"))) == [StreamOpened, DataReceived]
    assert kinds(peer.feed(headers(5, peer.block([(b"x-t", b"1")]), end=True))) == [TrailersReceived]
    assert kinds(sized(peer, b"0", data(7, end=True))) == [StreamOpened, DataReceived]
    assert kinds(peer.feed(headers(9, peer.block(plus((b"content-length", b"0"))), end=True))) == [
        StreamOpened
    ]
    assert resets(peer.read()) == []
    peer.next_id = 11
    assert_well(peer)


def test_a_length_that_is_passed() -> None:
    """One byte more than was announced ends the stream when it comes."""
    peer = Peer()
    events = sized(peer, b"5", data(1, b"123"), data(1, b"456"))
    assert kinds(events) == [StreamOpened, DataReceived, StreamReset]
    assert resets(peer.read()) == [(1, ErrorCode.PROTOCOL_ERROR)]
    assert_well(peer)


@pytest.mark.parametrize("end", ["data", "trailers"])
def test_a_length_that_isnt_reached(end: str) -> None:
    """Less than was announced by the end, whichever frame it is in, ends the stream as malformed."""
    peer = Peer()
    last = data(1, b"4", end=True)
    if end == "trailers":
        sized(peer, b"5", data(1, b"1234"))
        last = headers(1, peer.block([(b"x-t", b"1")]), end=True)
    else:
        sized(peer, b"5", data(1, b"123"))
    (event,) = peer.feed(last)
    assert isinstance(event, StreamReset)
    assert resets(peer.read()) == [(1, ErrorCode.PROTOCOL_ERROR)]
    assert_well(peer)


def test_a_length_without_a_body() -> None:
    """Headers that end the stream and announce a body are no request at all."""
    peer = Peer()
    assert peer.feed(headers(1, peer.block(plus((b"content-length", b"5"))), end=True)) == []
    assert resets(peer.read()) == [(1, ErrorCode.PROTOCOL_ERROR)]
    peer.next_id = 3
    assert_well(peer)


def test_a_length_is_of_its_stream_alone() -> None:
    """Streams with and without a length don't share it, also after one of them has ended."""
    peer = Peer()
    sized(peer, b"5")
    peer.open()
    assert kinds(peer.feed(data(3, b"0123456789"), data(1, b"12345", end=True))) == [
        DataReceived,
        DataReceived,
    ]
    assert kinds(peer.feed(data(3, b"0123456789", end=True))) == [DataReceived]
    assert resets(peer.read()) == []


def test_lengths_of_streams_that_are_gone_are_forgotten() -> None:
    """A connection that has carried thousands of announced bodies keeps nothing of them."""
    peer = Peer(limits=Limits(rapid_resets=Allowance(1_000_000, 1.0)))

    def carry(count: int) -> None:
        for _ in range(count):
            number = peer.next_id
            sized(peer, b"5", by_hand.rst_stream(number))

    tracemalloc.start()
    # More than how streams ended is remembered for.
    carry(1_500)
    before, _ = tracemalloc.get_traced_memory()
    carry(1_500)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 40_000


def test_malformed_requests_without_end_are_too_many() -> None:
    """A request that is refused for its headers counts like one that its peer opened and reset."""
    peer = Peer(limits=Limits(rapid_resets=Allowance(50, 1.0)))
    events = peer.feed(
        *(headers(stream, peer.block([*REQUEST, (b"Upper", b"case")])) for stream in range(1, 200, 2))
    )
    assert_connection_fault(peer, events, ErrorCode.ENHANCE_YOUR_CALM)
