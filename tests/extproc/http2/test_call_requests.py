"""What a request's headers come to, as a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.http2.call import Call, Refusal, Request, read_request, read_timeout_s
from epp.extproc.http2.events import Headers

METHODS = {"/a.Service/Method"}
HEADERS = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": b"/a.Service/Method",
    b":authority": b"epp",
    b"content-type": b"application/grpc",
}


def request(**changed: bytes | None) -> Headers:
    """A good request but for this; `_` in a name stands for `-`, and None leaves it out."""
    fields: dict[bytes, bytes | None] = {**HEADERS}
    for name, value in changed.items():
        key = name.replace("_", "-").encode()
        fields[b":" + key if b":" + key in HEADERS else key] = value
    return tuple((name, value) for name, value in fields.items() if value is not None)


def refused(headers: Headers) -> dict[bytes, bytes]:
    """The answer, which has to be a refusal."""
    answer = read_request(headers, METHODS)
    assert isinstance(answer, Refusal)
    return dict(answer.headers)


def test_a_good_request_is_read() -> None:
    """Path, no timeout, no encoding; `te` isn't asked for."""
    assert read_request(request(), METHODS) == Request("/a.Service/Method", None, is_encoded=False)


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/grpc+proto",
        b"application/grpc;charset=utf-8",
        b"application/grpc ; x",
        b"Application/gRPC",
    ],
)
def test_content_types_of_grpc_are_taken(content_type: bytes) -> None:
    """Subtypes and parameters make no difference, nor does the case."""
    assert isinstance(read_request(request(content_type=content_type), METHODS), Request)


@pytest.mark.parametrize(
    "content_type",
    [None, b"", b"text/plain", b"application/json", b"application/grpc-web", b"application/grpcx"],
)
def test_other_content_types_get_415(content_type: bytes | None) -> None:
    """What isn't gRPC hears so in the words of HTTP, without any status of gRPC's."""
    assert refused(request(content_type=content_type)) == {b":status": b"415"}


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"post", b"CONNECT"])
def test_other_methods_get_405(method: bytes) -> None:
    """Even with a wrong content type and an unknown path, the method comes first, and the right one is named."""
    headers = request(method=method, content_type=None, path=b"/")
    assert refused(headers) == {b":status": b"405", b"allow": b"POST"}


def test_an_unknown_path_is_unimplemented() -> None:
    """In one block, which names the path, however long or strange it is, in a few characters."""
    answer = refused(request(path=b"/a.Service/\xff" + 10_000 * b"x", grpc_timeout=b"malformed"))
    assert answer[b":status"] == b"200"
    assert answer[b"grpc-status"] == b"12"
    assert b"/a.Service/" in answer[b"grpc-message"]
    assert len(answer[b"grpc-message"]) < 300


def test_a_connect_request_without_a_path_is_refused() -> None:
    """Nothing that HTTP/2 allows to be missing is relied on."""
    assert refused(((b":method", b"CONNECT"), (b":authority", b"epp")))[b":status"] == b"405"


@pytest.mark.parametrize(
    ("timeout", "timeout_s"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"30S", 30.0),
        (b"250m", 0.25),
        (b"5000u", 0.005),
        (b"99999999n", 0.099999999),
        (b"99999999H", 359_999_996_400.0),
        (b"0S", 0.0),
    ],
)
def test_timeouts_are_read(timeout: bytes, timeout_s: float) -> None:
    """Each unit, the shortest and the longest."""
    answer = read_request(request(grpc_timeout=timeout), METHODS)
    assert isinstance(answer, Request)
    assert answer.timeout_s == pytest.approx(timeout_s)


@pytest.mark.parametrize(
    "timeout",
    [b"", b"S", b"1", b"1s", b"1X", b"-1S", b"+1S", b"1.5S", b"1_0S", b" 1S", b"1 S", b"123456789S", b"1SS"],
)
def test_malformed_timeouts_are_internal_errors(timeout: bytes) -> None:
    """As gRPC's own servers answer them; the message shows what came and says what may."""
    answer = refused(request(grpc_timeout=timeout))
    assert answer[b"grpc-status"] == b"13"
    assert b"grpc-timeout" in answer[b"grpc-message"]


@given(st.binary(max_size=12))
def test_a_timeout_is_read_or_refused(timeout: bytes) -> None:
    """Whatever it is, nothing raises, and no number is negative."""
    timeout_s = read_timeout_s(timeout)
    assert timeout_s is None or timeout_s >= 0


@pytest.mark.parametrize(("encoding", "is_encoded"), [(b"identity", False), (b"gzip", True)])
def test_encodings_are_noted(encoding: bytes, is_encoded: bool) -> None:
    """A call may name an encoding; what counts is whether its messages are compressed."""
    answer = read_request(request(grpc_encoding=encoding), METHODS)
    assert isinstance(answer, Request)
    assert answer.is_encoded is is_encoded


def test_a_call_holds_nothing_until_it_has_to() -> None:
    """An idle call is one object without a dict, and without any container of its own."""
    call = Call(1, send_window=10, receive_window=10, now=0.0)
    assert not hasattr(call, "__dict__")
    values = [getattr(call, name) for kind in Call.__mro__ for name in getattr(kind, "__slots__", ())]
    assert all(value is None or isinstance(value, bool | int | float) for value in values)
