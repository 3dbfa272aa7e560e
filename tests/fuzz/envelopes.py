"""Messages with a piece of a body: read around their bytes, or left to the generated classes, it comes to the same."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from epp.extproc.envelope import (
    REQUEST_BODY,
    REQUEST_BODY_SENT,
    RESPONSE_BODY,
    RESPONSE_BODY_SENT,
    body_answer,
    read_body,
)
from epp.extproc.wire import ext_proc_pb2 as wire

_KINDS = (
    ("request_body", REQUEST_BODY_SENT, REQUEST_BODY),
    ("response_body", RESPONSE_BODY_SENT, RESPONSE_BODY),
)


def one_input(data: bytes) -> None:
    """What is read without the classes is what they read, and is passed on as they would write it."""
    assert_read_as_by_the_classes(data)
    for kind, _, tag in _KINDS:
        for end_of_stream in (False, True):
            answer = wire.ProcessingResponse()
            streamed = getattr(answer, kind).response.body_mutation.streamed_response
            streamed.body, streamed.end_of_stream = data, end_of_stream
            assert body_answer(tag, data, end_of_stream=end_of_stream) == answer.SerializeToString()


def assert_read_as_by_the_classes(message: bytes) -> None:
    """If it is read at all: the classes read the same, find nothing else, and write it so themselves."""
    for kind, tag, _ in _KINDS:
        read = read_body(tag, message)
        usual = _as_by_the_classes(kind, message)
        assert read == usual, f"{message!r}: read as {read!r}, and by the classes as {usual!r}"


def _as_by_the_classes(kind: str, message: bytes) -> tuple[bytes, bool] | None:
    """The same answer the long way: a message that is written as it came, and only says what may be said."""
    try:
        parsed = wire.ProcessingRequest.FromString(message)
    except DecodeError:
        return None
    if [field.name for field, _ in parsed.ListFields()] != [kind]:
        return None
    body = getattr(parsed, kind)
    usual = wire.ProcessingRequest(**{kind: wire.HttpBody(body=body.body, end_of_stream=body.end_of_stream)})
    # What the classes don't know they would keep and write, so the comparison is with a message made anew.
    return (body.body, body.end_of_stream) if usual.SerializeToString() == message else None
