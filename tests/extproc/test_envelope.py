"""Messages read and made around their bodies are those that the message classes read and write."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import HttpBody, ProcessingRequest
from hypothesis import example, given
from hypothesis import strategies as st

from epp.extproc.envelope import (
    REQUEST_BODY,
    REQUEST_BODY_SENT,
    RESPONSE_BODY,
    RESPONSE_BODY_SENT,
    body_answer,
    read_body,
)
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.extproc import gateway
from tests.fuzz.envelopes import assert_read_as_by_the_classes

EDGES = [edge - around for edge in (128, 16_384, 2_097_152) for around in range(12)]
"""Where a length, or one of those around it, takes one more byte."""
SIZES = st.one_of(st.integers(0, 70_000), st.sampled_from(EDGES))
SENT = {"request_body": REQUEST_BODY_SENT, "response_body": RESPONSE_BODY_SENT}


def a_body(size: int) -> bytes:
    """So many bytes, of which none looks like its neighbour."""
    return bytes(number % 251 for number in range(min(size, 300))).ljust(size, b"x")


def written(tag: bytes, body: bytes, *, end_of_stream: bool) -> bytes:
    """The same by way of objects."""
    answer = wire.ProcessingResponse()
    passed = answer.request_body if tag == REQUEST_BODY else answer.response_body
    streamed = passed.response.body_mutation.streamed_response
    streamed.body, streamed.end_of_stream = body, end_of_stream
    return answer.SerializeToString()


def sent(kind: str, body: bytes, *, end_of_stream: bool) -> bytes:
    """What a gateway sends, by our classes, which is what the other ones write."""
    message = wire.ProcessingRequest(**{kind: wire.HttpBody(body=body, end_of_stream=end_of_stream)})
    return message.SerializeToString()


@given(tag=st.sampled_from([REQUEST_BODY, RESPONSE_BODY]), size=SIZES, end_of_stream=st.booleans())
@example(tag=RESPONSE_BODY, size=0, end_of_stream=False)
@example(tag=RESPONSE_BODY, size=0, end_of_stream=True)
def test_an_answer_is_what_the_classes_write(tag: bytes, size: int, end_of_stream: bool) -> None:
    """Byte for byte, for both directions, any size, and with or without the end."""
    body = a_body(size)
    answer = body_answer(tag, body, end_of_stream=end_of_stream)
    assert answer == written(tag, body, end_of_stream=end_of_stream)


@given(kind=st.sampled_from(sorted(SENT)), size=SIZES, end_of_stream=st.booleans())
@example(kind="response_body", size=0, end_of_stream=False)
@example(kind="response_body", size=0, end_of_stream=True)
def test_what_the_classes_write_is_read_without_them(kind: str, size: int, end_of_stream: bool) -> None:
    """The usual message is never left to the classes, whatever its size."""
    body = a_body(size)
    assert read_body(SENT[kind], sent(kind, body, end_of_stream=end_of_stream)) == (body, end_of_stream)


@given(kind=st.sampled_from(sorted(SENT)), body=st.binary(max_size=300), end_of_stream=st.booleans())
def test_what_another_implementation_writes_is_read_without_the_classes(
    kind: str, body: bytes, end_of_stream: bool
) -> None:
    """And passed on as that implementation reads it, body and end."""
    message = bytes(ProcessingRequest(**{kind: HttpBody(body=body, end_of_stream=end_of_stream)}))
    assert read_body(SENT[kind], message) == (body, end_of_stream)
    tag = REQUEST_BODY if kind == "request_body" else RESPONSE_BODY
    answer = wire.ProcessingResponse.FromString(body_answer(tag, body, end_of_stream=end_of_stream))
    streamed = getattr(answer, kind).response.body_mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (body, end_of_stream)


@st.composite
def nearly_usual(draw: st.DrawFn) -> bytes:
    """A usual message with a few bytes changed, put in, left out, or repeated."""
    message = bytearray(
        sent(
            draw(st.sampled_from(sorted(SENT))),
            draw(st.binary(max_size=140)),
            end_of_stream=draw(st.booleans()),
        )
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(message), 8)) | st.integers(0, len(message)))
        to = at + draw(st.integers(0, 2))
        message[at:to] = draw(
            st.sampled_from([b"", b"\x0a\x00", b"\x10\x01", b"\x10\x00"]) | st.binary(max_size=2)
        )
    return bytes(message)


@given(message=nearly_usual() | st.binary(max_size=12))
@example(b"\xff")
@example(b"\x2a\x02\x0a\x00")
@example(b"\x2a\x02\x10\x00")
@example(b"\x2a\x04\x10\x01\x10\x01")
@example(b"\x2a\x80\x00")
@example(b"\x2a\x00\x2a\x00")
@example(b"\x2a\x04\x0a\x02\x10\x01")
@example(b"\x2a\x05\x10\x01\x0a\x01x")
def test_what_is_read_without_the_classes_is_what_they_read(message: bytes) -> None:
    """Whenever a message is not left to the classes, they read the same in it, and nothing besides."""
    assert_read_as_by_the_classes(message)
    for kind, tag in SENT.items():
        read = read_body(tag, message)
        if read is not None:
            other = ProcessingRequest.parse(message)
            body = getattr(other, kind)
            assert (body.body, body.end_of_stream) == read
            assert bytes(other) == message


UNUSUAL = {
    "empty": b"",
    "a byte short": b"\x2a\x05\x0a\x03ab",
    "a byte long": b"\x2a\x04\x0a\x02abc",
    "the end before the body": b"\x2a\x05\x10\x01\x0a\x01x",
    "an end that is none": b"\x2a\x05\x0a\x01x\x10\x00",
    "a body of no bytes": b"\x2a\x02\x0a\x00",
    "a length of two bytes that needs one": b"\x2a\x83\x00\x0a\x01x",
    "an inner length of two bytes that needs one": b"\x2a\x04\x0a\x81\x00x",
    "two bodies": b"\x2a\x06\x0a\x01x\x0a\x01y",
    "two messages": b"\x2a\x03\x0a\x01x\x2a\x03\x0a\x01y",
    "a field that we don't know": b"\x2a\x05\x0a\x01x\x18\x01",
    "the other direction": b"\x22\x03\x0a\x01x",
    "metadata": bytes(gateway.response_body(b"x")) + b"\x42\x00",
}


@pytest.mark.parametrize("message", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_anything_unusual_is_left_to_the_classes(message: bytes) -> None:
    """What isn't a piece of the body alone, in the one usual form, isn't read as one."""
    assert read_body(RESPONSE_BODY_SENT, message) is None
