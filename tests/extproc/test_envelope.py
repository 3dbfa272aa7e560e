"""Body answers made around their bytes are those that the message classes write."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from epp.extproc.envelope import REQUEST_BODY, RESPONSE_BODY, body_answer
from epp.extproc.wire import ext_proc_pb2 as wire

EDGES = [edge - around for edge in (128, 16_384, 2_097_152) for around in range(12)]
"""Where a length, or one of those around it, takes one more byte."""


def written(tag: bytes, body: bytes, *, end_of_stream: bool) -> bytes:
    """The same by way of objects."""
    answer = wire.ProcessingResponse()
    passed = answer.request_body if tag == REQUEST_BODY else answer.response_body
    streamed = passed.response.body_mutation.streamed_response
    streamed.body, streamed.end_of_stream = body, end_of_stream
    return answer.SerializeToString()


@given(
    tag=st.sampled_from([REQUEST_BODY, RESPONSE_BODY]),
    size=st.one_of(st.integers(0, 70_000), st.sampled_from(EDGES)),
    end_of_stream=st.booleans(),
)
@example(tag=RESPONSE_BODY, size=0, end_of_stream=False)
@example(tag=RESPONSE_BODY, size=0, end_of_stream=True)
def test_an_answer_is_what_the_classes_write(tag: bytes, size: int, end_of_stream: bool) -> None:
    """Byte for byte, for both directions, any size, and with or without the end."""
    body = bytes(number % 251 for number in range(min(size, 300))).ljust(size, b"x")
    answer = body_answer(tag, body, end_of_stream=end_of_stream)
    assert answer == written(tag, body, end_of_stream=end_of_stream)
