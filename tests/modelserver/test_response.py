"""The reader of HTTP/1.1 responses, fed by hand."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.modelserver.failures import FailureKind, ScrapeFailure
from epp.modelserver.response import MAX_HEAD_BYTES, Connection, Response, ResponseReader

unhurried = settings(deadline=None)  # the machine may be busy

LIMIT = 100_000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(*pieces: bytes, ends: bool = False) -> Response | None:
    """What a reader makes of these pieces, and then maybe of the end of the stream."""
    reader = ResponseReader(max_bytes=LIMIT)
    response = None
    for piece in pieces:
        assert response is None
        response = reader.feed(piece)
    if ends:
        assert response is None
        response = reader.end()
    return response


def kept(body: bytes, *, status: int = 200) -> Response:
    """A response after which the connection can be used again."""
    return Response(status, body, "", Connection.KEPT)


def closed(body: bytes, *, status: int = 200) -> Response:
    """A response after which it can't."""
    return Response(status, body, "", Connection.CLOSED)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", kept(b"abc")),
        (OK + b"content-length:3\r\nCONNECTION: Close\r\n\r\nabc", closed(b"abc")),
        (OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", kept(b"abc")),
        (OK + b"Content-Length: 0\r\n\r\n", kept(b"")),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", kept(b"a")),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", closed(b"a")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", kept(b"", status=204)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", kept(b"a")),
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", kept(b"no", status=503)),
        (CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", kept(b"abc0123456789")),
        (CHUNKED + b"1\r\na\r\n0\r\nTrailer: x\r\n\r\n", kept(b"a")),
        (OK + b"Transfer-Encoding: Chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n", kept(b"a")),
    ],
)
def test_every_framing_is_read_in_whatever_pieces_it_comes(raw: bytes, expected: Response) -> None:
    """At once, byte by byte, and cut at every place, the response is the same, and not there a byte too early."""
    assert read(raw) == expected
    for cut in range(1, len(raw)):
        reader = ResponseReader(max_bytes=LIMIT)
        assert reader.feed(raw[:cut]) is None
        assert reader.feed(raw[cut:]) == expected
    assert read(*(raw[at : at + 1] for at in range(len(raw)))) == expected


@pytest.mark.parametrize(
    "raw", [OK + b"Content-Length: 3\r\n\r\nabcmore", CHUNKED + b"3\r\nabc\r\n0\r\n\r\nmore"]
)
def test_a_server_that_says_more_than_its_response_is_not_asked_again(raw: bytes) -> None:
    """The response counts, but nobody knows what the rest belongs to: the connection is given up."""
    assert read(raw) == closed(b"abc")


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """Until the server hangs up nothing is complete; then all of it is."""
    assert read(OK + b"\r\n", b"abc", b"def") is None
    assert read(OK + b"\r\n", b"abc", b"def", ends=True) == closed(b"abcdef")
    assert read(OK + b"\r\n", ends=True) == closed(b"")


def test_a_redirect_tells_where_to() -> None:
    """The location of a redirect is kept, for the log."""
    response = read(b"HTTP/1.1 307 Moved\r\nLocation: /metrics/\r\nContent-Length: 0\r\n\r\n")
    assert response == Response(307, b"", "/metrics/", Connection.KEPT)


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", FailureKind.NOT_HTTP, "SSH-2.0"),
        (b"\x15\x03\x01\x00\x02\x02\x16", FailureKind.NOT_HTTP, "no HTTP"),
        (b"HTTP/2 200\r\n\r\n", FailureKind.NOT_HTTP, "HTTP/2"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", FailureKind.NOT_HTTP, "2000"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", FailureKind.NOT_HTTP, "no colon"),
        (OK + b"Content-Length: -1\r\n\r\n", FailureKind.NOT_HTTP, "content-length"),
        (OK + b"Content-Length: 0x10\r\n\r\n", FailureKind.NOT_HTTP, "content-length"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", FailureKind.NOT_HTTP, "two different"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", FailureKind.NOT_HTTP, "gzip"),
        (CHUNKED + b"xyz\r\n", FailureKind.NOT_HTTP, "xyz"),
        (CHUNKED + b"-1\r\n", FailureKind.NOT_HTTP, "-1"),
        (CHUNKED + b"3\r\nabcd\r\n", FailureKind.NOT_HTTP, "longer than its size"),
        (CHUNKED + b"1" * 300, FailureKind.NOT_HTTP, "without a size"),
        (CHUNKED + b"FFFFFFFF\r\n", FailureKind.TOO_LARGE, "larger than 100000"),
        (OK + b"Content-Length: 100001\r\n\r\n", FailureKind.TOO_LARGE, "larger than 100000"),
        (OK + b"\r\n" + b"x" * LIMIT, FailureKind.TOO_LARGE, "larger than 100000"),
        (OK + b"X: " + b"x" * MAX_HEAD_BYTES, FailureKind.TOO_LARGE, "headers"),
        (OK + b"X: y\r\n" * (MAX_HEAD_BYTES // 6 + 1), FailureKind.TOO_LARGE, "headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, FailureKind.TOO_LARGE, "larger than 100000"),
    ],
)
def test_what_is_no_response_of_a_metrics_page_is_refused(raw: bytes, kind: FailureKind, words: str) -> None:
    """Garbage and excess raise their kind of failure, at once and in pieces, with a bounded message."""
    for size in (len(raw), 1000, 7):
        with pytest.raises(ScrapeFailure, match=words) as caught:
            read(*(raw[at : at + size] for at in range(0, len(raw), size)))
        assert caught.value.kind is kind
        assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.", OK, OK + b"Content-Length: 3\r\n\r\nab", CHUNKED + b"3\r\nabc\r\n"]
)
def test_an_early_end_is_a_failure(raw: bytes) -> None:
    """A server that hangs up in the middle has not answered."""
    with pytest.raises(ScrapeFailure) as caught:
        read(raw, ends=True)
    assert caught.value.kind is FailureKind.CLOSED


def test_nothing_may_follow_a_response() -> None:
    """A reader is for one response."""
    reader = ResponseReader(max_bytes=LIMIT)
    reader.feed(OK + b"Content-Length: 0\r\n\r\n")
    with pytest.raises(ScrapeFailure, match="more than its response"):
        reader.feed(b"x")


@unhurried
@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=10),
    st.lists(st.integers(1, 60), min_size=1, max_size=20),
    st.booleans(),
)
def test_any_body_comes_through(chunks: list[bytes], sizes: list[int], chunked: bool) -> None:
    """Whatever the bytes and however they are cut by the server and by the network, the body is the same."""
    body = b"".join(chunks)
    if chunked:
        framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
        raw = CHUNKED + framed + b"0\r\n\r\n"
    else:
        raw = OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    reader = ResponseReader(max_bytes=LIMIT)
    response = None
    at = turn = 0
    while at < len(raw):
        assert response is None
        size = sizes[turn % len(sizes)]
        response = reader.feed(raw[at : at + size])
        at, turn = at + size, turn + 1
    assert response == kept(body)


@unhurried
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30), st.sampled_from([OK, CHUNKED, b"\r\n", b"0\r\n", b"Content-Length: 2"])
        )
    )
)
def test_garbage_never_raises_anything_else(pieces: list[bytes]) -> None:
    """Any bytes give a response, nothing yet, or a `ScrapeFailure`."""
    reader = ResponseReader(max_bytes=LIMIT)
    with suppress(ScrapeFailure):
        for piece in pieces:
            if reader.feed(piece) is not None:
                return
        reader.end()
