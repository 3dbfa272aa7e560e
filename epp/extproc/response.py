"""The response half of a conversation: passing on what the model server says, and remembering what it said.

Every message is answered at once and changes nothing but a header of ours. No byte of a body is altered: a response to
a request whose model was rewritten names the model that answered, and not the one that was asked for. A name can be
cut in two by any chunk, be part of what the model says, or be covered by a length that has long been sent. What is
worth knowing, the tokens used, is looked for at the very end, in the body's tail.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from epp.core.actions import Reason
from epp.extproc.headers import (
    NOT_TOLD,
    QUEUE_DURATION,
    TEST_SERVED,
    Conformance,
    read_response,
    set_header,
    waited_ms,
)
from epp.extproc.ingress import ResponseFacts, ResponseOutcome
from epp.extproc.metadata import served_endpoint
from epp.extproc.modes import BodyMode
from epp.extproc.request import Unacceptable
from epp.extproc.usage import BodyTail
from epp.extproc.wire import ext_proc_pb2 as wire

_HEADERS_SEEN: Final = wire.ProcessingResponse(
    response_headers=wire.HeadersResponse(response=wire.CommonResponse())
)
_BODY_SEEN: Final = wire.ProcessingResponse(response_body=wire.BodyResponse(response=wire.CommonResponse()))
_TRAILERS_SEEN: Final = wire.ProcessingResponse(response_trailers=wire.TrailersResponse())


class ResponseHalf:
    """One response, from its headers to its end."""

    __slots__ = (
        "_body_bytes",
        "_conformance",
        "_ended_s",
        "_first_byte_s",
        "_mode",
        "_status",
        "_tail",
        "_waited_s",
        "begun",
        "complete",
        "outbox",
    )

    def __init__(
        self, mode: BodyMode, *, waited_s: float, conformance: Conformance = Conformance.OFF
    ) -> None:
        """`waited_s` is what the client is told of the queue.

        Under `conformance` the client is told what the gateway says of the endpoint that served.
        """
        self._mode = mode
        self._conformance = conformance
        self._waited_s = waited_s
        self._tail = BodyTail()
        self._status: int | None = None
        self._body_bytes = 0
        self._first_byte_s: float | None = None
        self._ended_s: float | None = None
        self.begun = False
        """Something of the response has come."""
        self.complete = False
        """Its end has come."""
        self.outbox: deque[wire.ProcessingResponse] = deque()
        """Answers that wait to be sent, first to last."""

    def take_headers(self, message: wire.ProcessingRequest, now: float) -> None:
        """Pass the headers on, with how long the request waited."""
        if self.begun:
            raise _out_of_order("response_headers came after the response had begun")
        self.begun = True
        sent = message.response_headers
        self._status, claimed = read_response(sent.headers.headers)
        answer = _HEADERS_SEEN
        if self._waited_s > 0 or claimed or self._conformance is Conformance.ON:
            answer = wire.ProcessingResponse()
            mutation = answer.response_headers.response.header_mutation
            if self._waited_s > 0:
                set_header(mutation, QUEUE_DURATION, waited_ms(self._waited_s))
            elif claimed:
                mutation.remove_headers.append(QUEUE_DURATION)
            if self._conformance is Conformance.ON:
                set_header(mutation, TEST_SERVED, served_endpoint(message) or NOT_TOLD)
        self.outbox.append(answer)
        if sent.end_of_stream:
            self._end(now)

    def take_body(self, message: wire.ProcessingRequest, now: float) -> None:
        """Pass a message of the body on, and keep the tail. Called for every streamed token: nothing else."""
        if self.complete:
            raise _out_of_order("response_body came after the response had ended")
        self.begun = True
        sent = message.response_body
        chunk = sent.body
        if self._mode is BodyMode.DUPLEX:
            answer = wire.ProcessingResponse()
            streamed = answer.response_body.response.body_mutation.streamed_response
            streamed.body = chunk
            if sent.end_of_stream:
                streamed.end_of_stream = True
            self.outbox.append(answer)
        else:
            self.outbox.append(_BODY_SEEN)
        if chunk:
            if not self._body_bytes:
                self._first_byte_s = now
            self._body_bytes += len(chunk)
            self._tail.add(chunk)
        if sent.end_of_stream:
            self._end(now)

    def take_trailers(self, now: float) -> None:
        """Answer the trailers, which end the response."""
        if self.complete:
            raise _out_of_order("response_trailers came after the response had ended")
        self.begun = True
        self.outbox.append(_TRAILERS_SEEN)
        self._end(now)

    def facts(self, *, otherwise: ResponseOutcome, request_bytes: int, now: float) -> ResponseFacts:
        """The response in a few numbers, and its outcome: completed, or `otherwise`."""
        usage = self._tail.usage()
        return ResponseFacts(
            outcome=ResponseOutcome.COMPLETED if self.complete else otherwise,
            status=self._status,
            request_bytes=request_bytes,
            response_bytes=self._body_bytes,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            first_byte_s=self._first_byte_s,
            ended_s=now if self._ended_s is None else self._ended_s,
        )

    def _end(self, now: float) -> None:
        self.complete = True
        self._ended_s = now


def _out_of_order(message: str) -> Unacceptable:
    return Unacceptable(Reason.MALFORMED, f"The gateway's messages are out of order: {message}.")
